# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Garbage is collected in the middle of a pull, which neither loses a layer nor fetches one twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image import pull as pulling
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import collect, list_blobs
from ansible_collections.hull.engine.plugins.module_utils._store.layers import list_layers

from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import digest_of, make_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

SHARED, OLD, NEW, LAST = ({f"{name}/file": name.encode() * 1000} for name in ("shared", "old", "new", "last"))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"), config=str(tmp_path / "etc"))


@pytest.fixture
def database(paths: Paths) -> Iterator[Database]:
    made = open_database(paths, create=True)
    assert made is not None
    yield made
    made.close()


def remove_all(paths: Paths) -> None:
    """What `hull rmi` of every image does, as another process would."""
    other = open_database(paths, create=False)
    assert other is not None
    with other.transaction():
        for image in other.images():
            other.delete_image(image.id)
    collect(paths, other)
    other.close()


def test_a_pull_keeps_what_it_found_and_what_it_brought(paths: Paths, database: Database) -> None:
    first, second = make_image([SHARED, OLD]), make_image([SHARED, NEW, LAST])
    server = FaultyRegistry()
    references = [server.add("a", tag, image) for tag, image in (("1", first), ("2", second))]
    collections = []

    def interfere(event: str, _subject: str, _done: int, _total: int) -> None:
        if event in ("exists", "done"):
            remove_all(paths)
            collections.append(event)

    with server:
        for reference, progress in zip(references, (None, interfere)):
            pulling.pull(
                *(paths, database, parse_reference(reference), None),
                config=RegistrySettings(),
                progress=progress,
            )
        asked = [request.path for request in server.requests("/blobs/")]
    assert sorted(collections) == ["done", "done", "exists"]
    for layer in (*first.layers, *second.layers):
        assert asked.count(f"/v2/a/blobs/{digest_of(layer.blob)}") == 1
    assert list_layers(paths) == sorted(layer.diff_id for layer in second.layers)
    assert list_blobs(paths) == sorted(digest_of(layer.blob) for layer in second.layers)
    remove_all(paths)
    assert list_layers(paths) == [] == list_blobs(paths) and os.listdir(paths.trash) == []
