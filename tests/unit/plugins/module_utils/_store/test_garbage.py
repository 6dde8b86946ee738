# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What nothing needs goes, what something needs or has claimed stays, and the bytes are those that `du` counts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store.claims import chain, claim
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import (
    Collected,
    collect,
    empty_trash,
    empty_trash_later,
    list_blobs,
    list_settled,
)
from ansible_collections.hull.engine.plugins.module_utils._store.layers import (
    LayerDescription,
    list_layers,
    stage_layer,
)
from ansible_collections.hull.engine.plugins.module_utils._store.records import (
    BlobRecord,
    ContainerRecord,
    ImageRecord,
    LayerRecord,
)

ONE, TWO, THREE = (f"sha256:{digit * 64}" for digit in "123")
BLOB_ONE, BLOB_TWO = (f"sha256:{digit * 64}" for digit in "ab")


class Store:
    """A state directory of its own with its records."""

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(root=str(directory / "root"), run=str(directory / "run"))
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def layer(self, diff_id: str) -> None:
        with stage_layer(self.paths) as staged:
            Path(staged.fs, "file").write_bytes(b"x" * 10_000)
            os.link(staged.fs + "/file", staged.fs + "/same")
            os.mkdir(staged.fs + "/directory")
            staged.publish(LayerDescription(diff_id, 10_000, 1))

    def settled(self, chain_id: str) -> None:
        os.makedirs(self.paths.settled_layer(chain_id) + "/fs")

    def blob(self, digest: str, size_bytes: int = 5000) -> None:
        os.makedirs(os.path.dirname(self.paths.blob(digest)), exist_ok=True)
        Path(self.paths.blob(digest)).write_bytes(b"z" * size_bytes)

    def image(self, *diff_ids: str, stack: tuple[str, ...] = (), blob: str = "") -> str:
        image_id = "sha256:" + os.urandom(32).hex()
        directories = tuple(f"layers/{diff_id[7:]}" for diff_id in diff_ids) + stack
        with self.database.transaction():
            for diff_id in diff_ids:
                self.database.put_layer(LayerRecord(diff_id, 10_000, 1))
            self.database.put_image(ImageRecord(image_id, "{}", "{}", ONE, diff_ids, 1, 1, directories))
            if blob:
                self.database.put_blob(BlobRecord(blob, diff_ids[0], "type", 5000))
        return image_id

    def collect(self) -> Collected:
        return collect(self.paths, self.database)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()


def disk_usage(*paths: str) -> int:
    """What `du` says, hard links counted once."""
    output = subprocess.run(["du", "-c", "-B1", *paths], stdout=subprocess.PIPE, check=True).stdout
    return int(output.split(b"\n")[-2].split()[0])


def test_what_no_record_needs_goes_and_its_bytes_are_counted(store: Store) -> None:
    for diff_id in (ONE, TWO):
        store.layer(diff_id)
    store.settled(ONE)
    store.settled(TWO)
    store.blob(BLOB_ONE)
    store.blob(BLOB_TWO)
    store.image(ONE, stack=(f"settled/{ONE[7:]}",), blob=BLOB_ONE)
    paths = store.paths
    expected = disk_usage(paths.layer(TWO), paths.settled_layer(TWO), paths.blob(BLOB_TWO))
    assert store.collect() == Collected((TWO,), (TWO,), (BLOB_TWO,), expected)
    assert (list_layers(paths), list_settled(paths), list_blobs(paths)) == ([ONE], [ONE], [BLOB_ONE])
    assert os.listdir(paths.trash) == [] and store.collect() == Collected()


def test_with_its_last_image_a_layer_and_its_blobs_go(store: Store) -> None:
    store.layer(ONE)
    store.blob(BLOB_ONE)
    first, second = store.image(ONE, blob=BLOB_ONE), store.image(ONE)
    for image_id, layers in ((first, [ONE]), (second, [])):
        with store.database.transaction():
            store.database.delete_image(image_id)
        store.collect()
        assert list_layers(store.paths) == layers
    assert list_blobs(store.paths) == [] == store.database.blobs()
    assert store.database.layer(ONE) is None


def test_a_file_that_has_another_name_elsewhere_frees_nothing(store: Store) -> None:
    store.layer(ONE)
    os.link(store.paths.layer(ONE) + "/fs/file", store.paths.root + "/elsewhere")
    file_bytes = disk_usage(store.paths.root + "/elsewhere")
    expected = disk_usage(store.paths.layer(ONE)) - file_bytes
    assert store.collect().freed_bytes == expected


def test_what_a_container_was_made_to_stack_stays(store: Store) -> None:
    store.settled(TWO)
    store.layer(ONE)
    image_id = store.image(ONE)
    settled, plain = store.paths.settled_layer(TWO) + "/fs", store.paths.layer(ONE) + "/fs"
    launch = json.dumps({"plan": {"layers": [settled], "mounts": [{"kind": "image", "layers": [plain]}]}})
    with store.database.transaction():
        store.database.put_container(ContainerRecord("c" * 64, "web", image_id, "", 1, "{}", launch))
        store.database.delete_image(image_id)
    assert store.collect() == Collected()
    with store.database.transaction():
        store.database.delete_container("c" * 64)
    assert store.collect().settled == (TWO,) and list_layers(store.paths) == []


def test_what_is_claimed_stays_as_long_as_the_claim(store: Store) -> None:
    for diff_id in (ONE, TWO, THREE):
        store.layer(diff_id)
    above = chain([ONE, TWO])[1]
    for chain_id in (ONE, above, THREE):
        store.settled(chain_id)
    store.blob(BLOB_ONE)
    store.blob(BLOB_TWO)
    with claim(store.paths, store.database, [[ONE, TWO]], blobs=[BLOB_ONE]):
        found = store.collect()
        assert (found.layers, found.settled, found.blobs) == ((THREE,), (THREE,), (BLOB_TWO,))
    found = store.collect()
    assert (found.layers, sorted(found.settled), found.blobs) == ((ONE, TWO), sorted([ONE, above]), (BLOB_ONE,))
    assert os.listdir(store.paths.temporary) == []


def test_a_claim_on_everything_keeps_what_no_record_knows(store: Store) -> None:
    store.layer(ONE)
    store.blob(BLOB_ONE)
    with claim(store.paths, store.database):
        assert store.collect() == Collected()
    assert store.collect().layers == (ONE,)


def test_chain_ids_are_those_of_the_specification() -> None:
    second = "sha256:" + hashlib.sha256(f"{ONE} {TWO}".encode()).hexdigest()
    assert chain([ONE, TWO]) == [ONE, second] and chain([]) == []


def test_the_claim_of_a_killed_process_is_none(store: Store) -> None:
    store.layer(ONE)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        database = open_database(store.paths, create=False)
        assert database is not None
        claim(store.paths, database, [[ONE]]).__enter__()
        os.write(told, b"x")
        signal.pause()
    assert os.read(ready, 1) == b"x"
    try:
        assert store.collect() == Collected()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(told)
    assert store.collect().layers == (ONE,) and os.listdir(store.paths.temporary) == []


def children_of_this_process() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_a_large_trash_is_deleted_without_anybody_waiting(store: Store) -> None:
    grave = Path(store.paths.trash, "large")
    for number in range(12):
        (grave / str(number)).mkdir(parents=True)
        for file in range(100):
            (grave / str(number) / str(file)).touch()
    children = children_of_this_process()
    empty_trash_later(store.paths)
    deadline = time.monotonic() + 20
    while os.path.exists(grave) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.listdir(store.paths.trash) == []
    assert children_of_this_process() == children  # nobody has to reap it


def test_a_small_trash_is_deleted_at_once(store: Store) -> None:
    Path(store.paths.trash, "small").mkdir(parents=True)
    empty_trash_later(store.paths)
    assert os.listdir(store.paths.trash) == [] and empty_trash(store.paths) == 0
