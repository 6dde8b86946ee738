# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images brought into a store of their own: what is there afterwards, and what is not there after a failure."""

from __future__ import annotations

import glob
import os
import random
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, HullError, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import pull
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.layers import has_layer, list_layers
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

from tests.support.faulty_registry import Fault, FaultyRegistry, cut, flip, replace_body, stall, status
from tests.support.images import (
    DOCKER,
    OCI,
    File,
    Image,
    Layer,
    digest_of,
    directory,
    hard_link,
    make_image,
    symlink,
    tar_of,
)
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

ENTRIES: dict[str, File | bytes] = {
    "etc": directory(),
    "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
    "bin": directory(),
    "bin/tool": File(b"#!/bin/sh\n" * 1000, 0o4755, 10, 20),
    "bin/alias": symlink("tool"),
    "bin/link": hard_link("bin/tool"),
    "var": directory(0o700),
}
UPPER: dict[str, File | bytes] = {"etc": directory(), "etc/hosts": b"127.0.0.1 localhost\n"}


class Store:
    """A state directory of its own, and the pull into it."""

    def __init__(self, directory_path: Path) -> None:
        self.paths = Paths(
            root=f"{directory_path}/root", run=f"{directory_path}/run", config=f"{directory_path}/config"
        )
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database
        self.events: list[tuple[str, str, int, int]] = []
        self.processes: set[int] = set()

    def pull(self, text: str, platform: str = "", progress: Callable[..., None] | None = None) -> ImageRecord:
        wanted = parse_platform(platform) if platform else None
        self.processes = set(_children())
        return pull(
            self.paths,
            self.database,
            parse_reference(text),
            wanted,
            config=RegistrySettings(),
            progress=progress or (lambda *event: self.events.append(event)),
        )

    def path(self, diff_id: str, name: str) -> str:
        return f"{self.paths.layer(diff_id)}/fs/{name}"

    def assert_nothing_half_made(self) -> None:
        temporary = self.paths.temporary
        assert not os.path.exists(temporary) or os.listdir(temporary) == []
        assert self.database.images() == []
        assert self.database.tags() == []
        assert set(_children()) <= self.processes


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()


def _assert_layer(store: Store, layer: Layer, entries: dict[str, File | bytes]) -> None:
    """The layer on disk is what its tar says, entry by entry, and nothing else."""
    for name, entry in entries.items():
        file = entry if isinstance(entry, File) else File(entry)
        path = store.path(layer.diff_id, name)
        found = os.lstat(path)
        if file.kind == b"2":
            assert os.readlink(path) == file.target
        elif file.kind == b"1":
            assert os.path.samefile(path, store.path(layer.diff_id, file.target))
        else:
            assert stat.S_IMODE(found.st_mode) == file.mode
            assert (found.st_uid, found.st_gid) == (file.uid, file.gid)
            assert stat.S_ISDIR(found.st_mode) == (file.kind == b"5")
        if file.kind == b"0":
            with open(path, "rb") as stream:
                assert stream.read() == file.content
    root = store.path(layer.diff_id, "")
    seen = {os.path.relpath(os.path.join(top, name), root) for top, d, f in os.walk(root) for name in [*d, *f]}
    assert seen == set(entries)


def _assert_image(store: Store, record: ImageRecord, image: Image) -> None:
    assert record.id == image.id
    assert record.config.encode() == image.config
    assert record.manifest.encode() == image.manifest
    assert record.manifest_digest == image.digest
    assert record.layers == image.diff_ids
    assert all(has_layer(store.paths, diff_id) for diff_id in image.diff_ids)


@pytest.mark.parametrize("types", [OCI, DOCKER])
@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
def test_an_image_is_stored_exactly(
    registry: RunningRegistry, store: Store, types: dict[str, str], compression: str
) -> None:
    layers = [Layer(tar_of(ENTRIES), compression), Layer(tar_of(UPPER), compression)]
    image = make_image([*layers], types=types)
    reference = registry.push(f"pull/{compression}", "1", image)
    record = store.pull(reference)
    _assert_image(store, record, image)
    _assert_layer(store, layers[0], ENTRIES)
    _assert_layer(store, layers[1], UPPER)
    tag = store.database.tag(reference)
    assert tag is not None
    assert (tag.image_id, tag.digest) == (image.id, image.digest)
    assert record.size_bytes == sum(
        len(entry.content) if isinstance(entry, File) else len(entry) for entry in [*ENTRIES.values(), *UPPER.values()]
    )


@pytest.mark.parametrize(
    ("options", "media_type"),
    [
        (["--format", "v2s2"], "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        (["--format", "oci"], "application/vnd.oci.image.layer.v1.tar+gzip"),
        (
            ["--format", "oci", "--dest-compress-format", "zstd"],
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ],
)
def test_what_skopeo_pushed_is_stored(
    registry: RunningRegistry, store: Store, options: list[str], media_type: str
) -> None:
    layer = Layer(tar_of({**ENTRIES, "variant": " ".join(options).encode()}), "plain")
    image = make_image([layer])
    record = store.pull(registry.skopeo_push("pull/skopeo", "-".join(options).strip("-"), image, *options))
    assert media_type in record.manifest
    assert record.layers == image.diff_ids
    _assert_layer(store, layer, {**ENTRIES, "variant": " ".join(options).encode()})


def test_an_index_brings_the_image_of_the_platform(registry: RunningRegistry, store: Store) -> None:
    images = {name: make_image([{"arch": name.encode()}], platform=name) for name in ("linux/arm64", "linux/s390x")}
    reference = registry.push_index("pull/index", "1", images, OCI)
    _assert_image(store, store.pull(reference, "linux/s390x"), images["linux/s390x"])
    _assert_image(store, store.pull(reference, "linux/arm64"), images["linux/arm64"])
    tag = store.database.tag(reference)
    assert tag is not None
    assert tag.image_id == images["linux/arm64"].id
    assert tag.digest not in (images["linux/arm64"].digest, images["linux/s390x"].digest)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_any_number_of_layers_is_stored(registry: RunningRegistry, store: Store, count: int) -> None:
    image = make_image([{f"file{number}": str(number).encode()} for number in range(count)])
    _assert_image(store, store.pull(registry.push("pull/count", str(count), image)), image)


def test_a_layer_that_is_there_twice_is_fetched_once(store: Store) -> None:
    image = make_image([ENTRIES, UPPER, ENTRIES])
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    with server:
        _assert_image(store, store.pull(reference), image)
        assert len(server.requests("/blobs/")) == 3


def test_a_second_pull_is_one_head_request(store: Store) -> None:
    image = make_image([ENTRIES])
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    with server:
        first = store.pull(reference)
        before = len(server.requests())
        assert store.pull(reference) == first
        assert [request.method for request in server.requests()[before:]] == ["HEAD"]


def test_a_digest_that_is_here_needs_no_request(store: Store) -> None:
    image = make_image([ENTRIES])
    server = FaultyRegistry()
    server.add("a", "1", image)
    with server:
        first = store.pull(f"{server.host}/a@{image.digest}")
    assert store.pull(f"{server.host}/a:1@{image.digest}") == first


def test_a_tag_that_moved_brings_only_what_is_new(registry: RunningRegistry, store: Store) -> None:
    old, new = make_image([ENTRIES]), make_image([ENTRIES, UPPER])
    store.pull(registry.push("pull/moves", "1", old))
    store.events.clear()
    reference = registry.push("pull/moves", "1", new)
    _assert_image(store, store.pull(reference), new)
    kinds = {(event, subject) for event, subject, *_ in store.events}
    blobs = [digest_of(layer.blob) for layer in new.layers]
    assert ("exists", blobs[0]) in kinds
    assert ("done", blobs[1]) in kinds
    assert ("done", blobs[0]) not in kinds
    tag = store.database.tag(reference)
    assert tag is not None
    assert tag.image_id == new.id
    assert store.database.image(old.id) is not None


def test_a_layer_that_vanished_is_fetched_again(registry: RunningRegistry, store: Store) -> None:
    image = make_image([ENTRIES, UPPER])
    reference = registry.push("pull/vanished", "1", image)
    store.pull(reference)
    os.rename(store.paths.layer(image.diff_ids[0]), f"{store.paths.root}/elsewhere")
    _assert_image(store, store.pull(reference), image)


def test_progress_tells_every_layer_up_to_its_size(store: Store) -> None:
    content = random.Random(1).randbytes(2_000_000)
    image = make_image([{"big": content}, UPPER])
    server = FaultyRegistry()
    with_reference = server.add("a", "1", image)
    with server:
        store.pull(with_reference)
    for layer in image.layers:
        size, subject = len(layer.blob), digest_of(layer.blob)
        told = [(event, done, total) for event, found, done, total in store.events if found == subject]
        assert told[-1] == ("done", size, size)
        assert all(total == size for _, _, total in told)
        assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len([event for event in store.events if event[0] == "download"]) >= 4


def _pull_with(store: Store, image: Image, *faults: tuple[str, Fault, int]) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    for part, fault, times in faults:
        server.fault("GET", part, fault, times=times)
    with server:
        store.pull(reference)


BIG = Layer(tar_of({"big": random.Random(2).randbytes(1_000_000)}))


def test_broken_transfers_are_resumed(store: Store) -> None:
    image = make_image([BIG, UPPER])
    faults = [("/blobs/", status(429, Retry_After="0"), 1), (digest_of(BIG.blob), cut(400_000), 2)]
    _pull_with(store, image, *faults)
    _assert_image(store, store.database.images()[0], image)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (flip(500_000), Damaged, "it has the digest sha256:"),
        (replace_body(_half(BIG.blob)), Damaged, "bytes, the manifest says"),
        (status(404), NotFound, "not found in the registry"),
        (status(403), HullError, "denies access"),
    ],
)
def test_a_bad_layer_leaves_nothing_half_made(store: Store, fault: Fault, kind: type[HullError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        _pull_with(store, make_image([BIG, UPPER]), (digest_of(BIG.blob), fault, -1))
    assert digest_of(BIG.blob) in str(caught.value)
    store.assert_nothing_half_made()
    assert BIG.diff_id not in list_layers(store.paths)


def test_content_that_is_not_what_the_configuration_says_is_refused(store: Store) -> None:
    lie = "sha256:" + "1" * 64
    with pytest.raises(Damaged, match=f"has the diff ID {BIG.diff_id}, the image says {lie}"):
        _pull_with(store, make_image([BIG], diff_ids=[lie]))
    store.assert_nothing_half_made()
    assert list_layers(store.paths) == []


@pytest.mark.parametrize("blob", [b"no tar at all" * 100, BIG.blob[:-20], BIG.blob[: len(BIG.blob) // 2]])
def test_a_layer_that_is_no_archive_is_refused(store: Store, blob: bytes) -> None:
    image = make_image([Layer(blob, "plain")], diff_ids=[BIG.diff_id])
    with pytest.raises(Damaged):
        _pull_with(store, image)
    store.assert_nothing_half_made()
    assert list_layers(store.paths) == []


def test_an_unknown_image_leaves_nothing(registry: RunningRegistry, store: Store) -> None:
    with pytest.raises(NotFound, match="^image 127.0.0.1:[0-9]+/x:tag: not found in the registry.*; check the name"):
        store.pull(f"{registry.host}/x:tag")
    store.assert_nothing_half_made()


def test_an_interruption_ends_the_workers_and_leaves_nothing(store: Store) -> None:
    def interrupt(event: str, *_: Any) -> None:
        if event == "download":
            raise KeyboardInterrupt

    server = FaultyRegistry()
    reference = server.add("a", "1", make_image([BIG, UPPER]))
    server.fault("GET", digest_of(BIG.blob), stall(500_000))
    with server:
        with pytest.raises(KeyboardInterrupt):
            store.pull(reference, progress=interrupt)
        store.assert_nothing_half_made()


def test_the_first_failure_ends_the_other_workers_at_once(store: Store) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", make_image([BIG, UPPER]))
    server.fault("GET", digest_of(BIG.blob), stall(500_000))
    server.fault("GET", digest_of(Layer(tar_of(UPPER)).blob), status(404))
    started = time.monotonic()
    with server, pytest.raises(NotFound):
        store.pull(reference)
    assert time.monotonic() - started < 20  # not the stall timeout
    store.assert_nothing_half_made()


def _in_child(work: Callable[[], object]) -> int:
    """Fork, do the work, end; the child's pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def _wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


def test_a_killed_pull_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    image = make_image([BIG, UPPER])
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    server.fault("GET", digest_of(BIG.blob), stall(600_000), times=1)
    with server:
        pid = _in_child(lambda: Store(tmp_path).pull(reference))
        temporary = Paths(root=f"{tmp_path}/root").temporary
        _wait_for(lambda: os.path.isdir(temporary) and os.listdir(temporary), "nothing is staged")
        workers = _wait_for(lambda: _children_of(pid), "no workers")
        _wait_for(lambda: server.requests(digest_of(BIG.blob)), "the layer is not asked for")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for worker in workers:
            _kill(worker)
        store = Store(tmp_path)
        _assert_image(store, store.pull(reference), image)
        assert os.listdir(temporary) == []
        store.database.close()


def _children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    """Kill a process that may be gone, and wait until it is."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), f"process {pid} lives on")


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_workers_end_by_themselves_when_the_pull_is_killed(tmp_path: Path) -> None:
    layer = Layer(tar_of({"big": random.Random(3).randbytes(8_000_000)}))
    server = FaultyRegistry()
    reference = server.add("a", "1", make_image([layer]))
    with server:

        def stop_at_progress(event: str, *_: Any) -> None:
            if event == "download":
                os.kill(os.getpid(), signal.SIGKILL)

        pid = _in_child(lambda: Store(tmp_path).pull(reference, progress=stop_at_progress))
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        temporary = Paths(root=f"{tmp_path}/root").temporary
        layers = f"{temporary}/owned-layer-*"
        _wait_for(lambda: glob.glob(layers) == [], "the worker leaves its directory")
        store = Store(tmp_path)
        store.pull(reference)
        assert os.listdir(temporary) == []  # what the killed one claimed too
        store.database.close()


def test_pulls_at_the_same_time_fetch_each_layer_once(tmp_path: Path) -> None:
    image = make_image([BIG, ENTRIES, UPPER])
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    store = Store(tmp_path)
    store.database.close()
    with server:
        pids = [_in_child(lambda: Store(tmp_path).pull(reference)) for _ in range(8)]
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 8
        asked = [request.path for request in server.requests("/blobs/")]
        for layer in image.layers:
            assert asked.count(f"/v2/a/blobs/{digest_of(layer.blob)}") == 1
    store = Store(tmp_path)
    _assert_image(store, store.database.images()[0], image)
    store.database.close()


def test_what_an_image_says_of_blobs_that_nobody_read_is_not_believed(store: Store) -> None:
    base, other = Layer(tar_of(ENTRIES)), Layer(tar_of(UPPER))
    lie = make_image([other, other], diff_ids=[base.diff_id, base.diff_id])
    server = FaultyRegistry()
    names = [server.add("team/app", str(tag), image) for tag, image in enumerate((make_image([base]), lie))]
    true = server.add("team/app", "true", make_image([other, other], diff_ids=[other.diff_id, base.diff_id]))
    with server:
        store.pull(names[0])
        store.pull(names[1])
        assert [blob.digest for blob in store.database.blobs_of(base.diff_id)] == [digest_of(base.blob)]
        assert store.database.blob_places(digest_of(other.blob)) == [f"{server.host}/team/app"]
        store.pull(true)
        assert [blob.digest for blob in store.database.blobs_of(other.diff_id)] == [digest_of(other.blob)]
        assert [blob.digest for blob in store.database.blobs_of(base.diff_id)] == [digest_of(base.blob)]
