# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container_image module decides, on a store of its own and archives with several images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.plan import Outcome
from ansible_collections.hull.engine.plugins.module_utils._engine import containers, images
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.image_source import ImageRequest
from ansible_collections.hull.engine.plugins.module_utils._engine.image_task import ensure
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec

from tests.support.images import busybox_layer, make_image, make_index, write_layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(Paths(f"{tmp_path}/root", f"{tmp_path}/run", f"{tmp_path}/etc"))
    yield engine
    engine.close()


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """An OCI layout of two images, one:1 and two:1."""
    path = tmp_path / "layout"
    pair = [make_image([busybox_layer()], config={"Cmd": ["sh"], "Labels": {"n": name}}) for name in ("one", "two")]
    write_layout(pair[0], str(path))
    for digest, data in {**pair[1].blobs, pair[1].digest: pair[1].manifest}.items():
        (path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
    descriptors = [
        image.descriptor(annotations={"org.opencontainers.image.ref.name": f"{name}:1"})
        for image, name in zip(pair, ("one", "two"))
    ]
    (path / "index.json").write_bytes(make_index(descriptors)[0])
    return str(path)


def load(engine: Engine, layout: str, name: str) -> Outcome:
    return ensure(engine, ImageRequest(name=name, source="load", load_path=layout))


def test_of_an_archive_of_several_images_the_named_one_is_meant(engine: Engine, layout: str) -> None:
    outcome = load(engine, layout, "two:1")
    assert outcome.changed and outcome.facts is not None
    assert outcome.facts["Config"]["Labels"] == {"n": "two"}
    assert not load(engine, layout, "two:1").changed


def test_a_name_that_is_not_among_several_leaves_nothing_behind(engine: Engine, layout: str) -> None:
    with pytest.raises(NotFound, match=r"three:1: not in .*; it holds one:1, two:1"):
        load(engine, layout, "three:1")
    assert images.list_images(engine) == []
    assert not os.path.exists(engine.paths.layers) or os.listdir(engine.paths.layers) == []


def test_check_mode_tells_that_an_image_in_use_can_t_be_removed(engine: Engine, layout: str) -> None:
    load(engine, layout, "one:1")
    spec = container_spec({"name": "user", "image": "one:1", "network_mode": "none"})
    record = containers.find(engine, containers.create(engine, spec))
    absent = ImageRequest(name="one:1", state="absent")
    for check in (True, False):
        with pytest.raises(Conflict, match="container user uses it"):
            ensure(engine, absent, check=check)
    containers.remove(engine, record)
    told = ensure(engine, absent, check=True)
    done = ensure(engine, absent)
    assert told.actions == done.actions and [action.verb for action in done.actions] == ["untagged", "deleted"]
    assert not ensure(engine, absent).changed
