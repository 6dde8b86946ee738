# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which bind mounts are refused, told, or nobody's business."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.spec import MountSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.sensitive_mounts import refuse_store, warnings_about


def make_paths(place: Path) -> Paths:
    for name in ("root/volumes/v/_data", "root/layers", "run", "elsewhere", "root-of-others"):
        (place / name).mkdir(parents=True)
    (place / "link").symlink_to(place / "root" / "layers")
    return Paths(str(place / "root"), str(place / "run"), str(place / "etc"))


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("root", True),
        ("root/", True),
        ("root/layers", True),
        ("elsewhere/../root/layers", True),
        ("link", True),
        ("run", True),
        ("root/volumes", True),
        ("root/volumes/v/_data", False),
        ("elsewhere", False),
        ("root-of-others", False),
        (".", False),
    ],
)
def test_s45_the_engines_own_directories_are_no_source(tmp_path: Path, source: str, refused: bool) -> None:
    paths = make_paths(tmp_path)
    mounts = [MountSpec("bind", "/x", f"{tmp_path}/{source}"), MountSpec("volume", "/y", "root")]
    if refused:
        with pytest.raises(Denied, match="the engine's own"):
            refuse_store(paths, mounts)
    else:
        refuse_store(paths, mounts)


@pytest.mark.parametrize(
    ("source", "read_only", "part"),
    [
        ("/", False, "whole host"),
        ("/", True, ""),
        ("//", False, "whole host"),
        ("/dev", False, "devices"),
        ("/dev/null", False, ""),
        ("/sys", False, "kernel settings"),
        ("/sys", True, ""),
        ("/proc", False, "processes"),
        ("/proc", True, "processes"),
        ("/proc/1", True, "processes"),
        ("/proc/../proc", True, "processes"),
        ("/run/docker.sock", True, "socket"),
        ("/var/run/docker.sock", False, "socket"),
        ("/run/containerd/containerd.sock", False, "socket"),
        ("/run/podman/podman.sock", False, "socket"),
        ("/run/crio/crio.sock", False, "socket"),
        (os.path.dirname(os.__file__), False, "Python"),
        (os.path.dirname(os.__file__), True, ""),
        (sys.executable, False, "Python"),
        ("/srv", False, ""),
        ("/home", True, ""),
    ],
)
def test_s45_a_mount_that_gives_power_over_the_host_is_told(source: str, read_only: bool, part: str) -> None:
    found = warnings_about(Paths(), [MountSpec("bind", "/x", source, read_only), MountSpec("tmpfs", "/y", "/")])
    assert len(found) == bool(part)
    assert all(part in warning and source in warning for warning in found)


def test_s45_a_directory_above_the_engines_own_is_told(tmp_path: Path) -> None:
    paths = make_paths(tmp_path)
    assert "engine's own" in warnings_about(paths, [MountSpec("bind", "/x", str(tmp_path))])[0]
    assert warnings_about(paths, [MountSpec("bind", "/x", str(tmp_path), True)]) == []
