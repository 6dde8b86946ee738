# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.version import VERSION
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.info import engine_info, operating_system, warning
from ansible_collections.hull.engine.plugins.module_utils._kernel.features import Lack
from ansible_collections.hull.engine.plugins.module_utils._store.records import (
    ContainerRecord,
    ImageRecord,
    VolumeRecord,
)

ROOT = os.path.join(os.path.dirname(__file__), *[".."] * 5)


def test_info_before_first_use_counts_nothing_and_makes_nothing(tmp_path):
    paths = Paths(root=f"{tmp_path}/root", run=f"{tmp_path}/run", config=f"{tmp_path}/etc")
    info = engine_info(Engine(paths))
    assert info["Containers"] == info["Images"] == info["Volumes"] == 0
    assert info["RootDir"] == f"{tmp_path}/root"
    assert info["KernelVersion"] == os.uname().release
    assert len(info["Warnings"]) == len(info["Lacks"])
    assert "lacks" not in info["Features"]
    assert os.listdir(tmp_path) == []


def test_objects_are_counted_and_a_container_that_never_ran_is_stopped(tmp_path):
    paths = Paths(root=f"{tmp_path}/root", run=f"{tmp_path}/run", config=f"{tmp_path}/etc")
    with Engine(paths) as engine:
        image = ImageRecord("sha256:" + "1" * 64, "{}", "{}", "sha256:" + "2" * 64, (), 0, 1)
        with engine.records.transaction():
            engine.records.put_image(image)
            engine.records.put_volume(VolumeRecord("data", 1))
            for digit in "ab":
                engine.records.put_container(ContainerRecord(digit * 64, digit, image.id, "image", 1, "{}", "{}"))
        info = engine_info(engine)
    assert (info["Images"], info["Volumes"], info["Containers"]) == (1, 1, 2)
    assert (info["ContainersRunning"], info["ContainersPaused"], info["ContainersStopped"]) == (0, 0, 2)


def test_a_lack_reads_as_one_line():
    text = warning(Lack("overlayfs", "images can't be stacked", "install it", True))
    assert text == "no overlayfs: images can't be stacked; install it"


def test_the_operating_systems_name(tmp_path):
    (tmp_path / "os-release").write_text('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    assert operating_system(f"{tmp_path}/os-release") == "Debian GNU/Linux 12 (bookworm)"
    assert operating_system(f"{tmp_path}/none") == "Linux"


def test_the_version_is_that_of_the_collection():
    with open(os.path.join(ROOT, "galaxy.yml"), encoding="utf-8") as galaxy:
        assert f"version: {VERSION}\n" in galaxy.read()
