# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A layer's tar made again from its record and its files: the same bytes, whoever wrote them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.layer_store import bring_layer
from ansible_collections.hull.engine.plugins.module_utils._image.layer_tar import open_layer_tar
from ansible_collections.hull.engine.plugins.module_utils._image.unpack import Unpacked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernel.test_unpack import varied
from tests.support.docker_daemon import Docker
from tests.support.tars import describe, directory, entry, hard_link, make_tar, symlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Store:
    """A state directory of its own that layers are brought into."""

    def __init__(self, directory_path: Path) -> None:
        self.paths = Paths(root=str(directory_path), run=str(directory_path / "run"))

    def bring(self, tar: bytes) -> Unpacked:
        return bring_layer(self.paths, io.BytesIO(tar))

    def again(self, diff_id: str, size: int = 100_000) -> bytes:
        with open_layer_tar(self.paths, diff_id) as stream:
            pieces = []
            while True:
                piece = stream.read(size)
                if not piece:
                    break
                assert len(piece) <= size
                pieces.append(piece)
            result = b"".join(pieces)
            assert len(result) == stream.size_bytes
            return result

    def layer(self, diff_id: str) -> Path:
        return Path(self.paths.layer(diff_id))

    def assert_same(self, tar: bytes) -> Path:
        """Bring a tar and make it again; the layer's directory."""
        unpacked = self.bring(tar)
        assert unpacked.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
        assert self.again(unpacked.diff_id) == tar
        return self.layer(unpacked.diff_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "root")
    fds = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == fds
    assert not os.path.isdir(made.paths.temporary) or os.listdir(made.paths.temporary) == []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied(tmp_path_factory.mktemp("tree"))


def packed(source: Path, *options: str) -> bytes:
    command = ["tar", "-C", str(source), *options, "-c", "."]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=oldgnu"],
        ["--format=posix", "--xattrs", "--xattrs-include=*"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
        ["--format=posix", "--blocking-factor=1"],
        ["--format=ustar", "--exclude=e*", "--exclude=file", "--exclude=long-target", "--exclude=d*"],
        ["--format=v7", "--exclude=d*", "--exclude=file", "--exclude=long-target", "--exclude=null", "--exclude=fifo"],
    ],
    ids=" ".join,
)
def test_what_gnu_tar_wrote_is_made_again(store: Store, source: Path, options: list[str]) -> None:
    layer = store.assert_same(packed(source, *options))
    assert not (layer / "replaced").exists()
    if "--sparse" in options:
        assert os.stat(layer / "fs/sparse").st_blocks * 512 < 2_000_000


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_pythons_tarfile_wrote_is_made_again(store: Store, source: Path, format: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name in ("usr", "tmp", "shared/file" if format != tarfile.USTAR_FORMAT else "usr/bin", "empty"):
            tar.add(source / name, "x/" + name)
    store.assert_same(buffer.getvalue())


def test_what_bsdtar_wrote_is_made_again(store: Store, source: Path) -> None:
    if not shutil.which("bsdtar"):
        pytest.skip("bsdtar is not installed")
    for format in ("pax", "gnutar", "ustar"):
        command = ["bsdtar", "-C", str(source), f"--format={format}", "-cf", "-", "usr", "tmp", "shared"]
        store.assert_same(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def test_what_umoci_wrote_is_made_again(store: Store, source: Path, tmp_path: Path) -> None:
    image, bundle = f"{tmp_path}/image:1", f"{tmp_path}/bundle"
    for command in (
        ["init", "--layout", f"{tmp_path}/image"],
        ["new", "--image", image],
        ["unpack", "--image", image, bundle],
    ):
        subprocess.run(["umoci", *command], check=True, stderr=subprocess.DEVNULL)
    for name in ("usr", "tmp", "shared", "empty", "fifo", "null"):
        subprocess.run(["cp", "-a", source / name, f"{bundle}/rootfs/{name}"], check=True)
    subprocess.run(["umoci", "repack", "--image", image, bundle], check=True, stderr=subprocess.DEVNULL)
    blobs = [path.read_bytes() for path in Path(tmp_path, "image/blobs/sha256").iterdir()]
    (layer,) = [blob for blob in blobs if blob.startswith(b"\x1f\x8b")]
    store.assert_same(gzip.decompress(layer))


def test_what_docker_saved_is_made_again(store: Store, source: Path, docker: Docker) -> None:
    tar = packed(source, "--exclude=sparse")
    image_id = docker("import", "-", "record:1", stdin=tar).decode().strip()
    saved = tarfile.open(fileobj=io.BytesIO(docker("save", image_id)))
    member = saved.extractfile("manifest.json")
    assert member is not None
    (name,) = json.load(member)[0]["Layers"]
    layer = saved.extractfile(name)
    assert layer is not None
    store.assert_same(layer.read())


BIG = os.urandom(700_000)


def test_what_a_later_entry_replaces_is_kept_beside(store: Store) -> None:
    tar = make_tar(
        entry("a", b"first"),
        entry("a", BIG),
        entry("a", b"third"),
        directory("d"),
        entry("d/x", b"one"),
        entry("d/x", b"two"),
        hard_link("d/y", "d/x"),
        entry("d/.wh.gone"),
        entry("d", b"a file now"),
        directory("d"),
        entry("d/x", b"three"),
        symlink("l", "d"),
        entry("l/x", b"four, through the link"),
        entry("l", b"five"),
        hard_link("h", "a"),
        entry("a", b"six"),
        entry("empty"),
        symlink("empty", "a"),
    )
    layer = store.assert_same(tar)
    assert (layer / "fs/d/x").read_bytes() == b"four, through the link"
    assert (layer / "fs/h").read_bytes() == b"third" and (layer / "fs/a").read_bytes() == b"six"
    assert len(os.listdir(layer / "replaced")) == 8


def test_whiteouts_and_data_that_become_no_file_are_in_the_record(store: Store) -> None:
    layer = store.assert_same(
        make_tar(
            directory("d"),
            entry("d/.wh..wh..opq", b"nobody reads this"),
            entry(".wh.gone", b"nor this"),
            entry(".wh..wh.aufs", BIG),
            entry("d/file", b"but this"),
        )
    )
    assert (layer / "headers").stat().st_size > 700_000  # random bytes don't get smaller


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"junk" * 100_000, b"\0" * 512 + b"x"])
def test_what_follows_the_end_is_made_again(store: Store, tail: bytes) -> None:
    whole = make_tar(entry("a", b"x" * 1000), entry("b", b"y" * 100))
    store.assert_same(whole + tail)


@pytest.mark.parametrize("cut", [10240 - 1024, 10240 - 2048, 2500])
def test_an_archive_without_its_end_is_made_again(store: Store, cut: int) -> None:
    whole = make_tar(entry("a", b"x" * 1000), entry("b", b"y" * 100))
    assert len(whole) == 10240
    last = 3 * 512 + 512 + 100  # after the last byte of b
    store.assert_same(whole[: max(cut, last)])


def test_the_tar_comes_in_pieces_of_any_size(store: Store) -> None:
    tar = make_tar(entry("a", BIG), entry("b", b"y" * 100))
    diff_id = store.bring(tar).diff_id
    for size in (1000, 4096, 1 << 20):
        assert store.again(diff_id, size) == tar


def test_the_record_changes_nothing_in_what_is_unpacked_alone_makes_them(store: Store, source: Path) -> None:
    layer = store.assert_same(packed(source, "--format=posix", "--xattrs", "--xattrs-include=*"))
    assert describe(str(layer / "fs")) == describe(str(source))


def test_changed_files_are_noticed_before_the_end(store: Store) -> None:
    diff_id = store.bring(make_tar(entry("d/a", BIG), entry("b", b"y" * 100))).diff_id
    file = store.layer(diff_id) / "fs/d/a"
    changes = [
        lambda: file.write_bytes(b"X" + BIG[1:]),
        lambda: file.write_bytes(BIG[:1000]),
        lambda: file.unlink(),
        lambda: file.symlink_to("/etc/passwd"),
        lambda: (file.unlink(), os.mkfifo(file)),
        lambda: (shutil.rmtree(file.parent), file.parent.symlink_to("/etc")),
    ]
    for change in changes:
        change()
        with pytest.raises(Damaged):
            store.again(diff_id)


def test_a_damaged_record_is_noticed(store: Store) -> None:
    tar = make_tar(entry("a", BIG), *(entry(f"f{n}", b"y") for n in range(200)))
    diff_id, noticed = store.bring(tar).diff_id, 0
    headers = store.layer(diff_id) / "headers"
    whole = headers.read_bytes()
    for number in range(0, len(whole), 37):
        headers.write_bytes(whole[:number] + bytes([whole[number] ^ 0x10]) + whole[number + 1 :])
        try:
            assert store.again(diff_id) == tar  # some bits say the same in another way
        except Damaged:
            noticed += 1
    assert noticed > 20
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"x"):
        headers.write_bytes(damaged)
        with pytest.raises(Damaged):
            store.again(diff_id)


def test_without_a_record_a_kept_blob_serves(store: Store) -> None:
    tar = make_tar(entry("a", BIG))
    blob = gzip.compress(tar)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    unpacked = bring_layer(store.paths, io.BytesIO(blob), keep_blob_digest=digest)
    assert Path(store.paths.blob(digest)).read_bytes() == blob
    os.unlink(store.layer(unpacked.diff_id) / "headers")
    with pytest.raises(NotFound, match="without a record"):
        open_layer_tar(store.paths, unpacked.diff_id)
    with open_layer_tar(store.paths, unpacked.diff_id, blobs=[digest]) as stream:
        assert stream.size_bytes == len(tar) and stream.read(1 << 30)[:100] == tar[:100]
    with pytest.raises(NotFound, match="not in the store"):
        open_layer_tar(store.paths, "sha256:" + "0" * 64)


def test_what_the_caller_refuses_leaves_nothing(store: Store) -> None:
    def refuse(_unpacked: Unpacked) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        bring_layer(store.paths, io.BytesIO(make_tar(entry("a"))), check=refuse)
    with pytest.raises(Damaged, match="has the diff ID"):
        bring_layer(store.paths, io.BytesIO(make_tar(entry("a"))), diff_id="sha256:" + "0" * 64)
    assert not os.path.isdir(store.paths.layers) or os.listdir(store.paths.layers) == []


NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/f", "l/x", "l", ".wh.a", "d/.wh.e", "d/.wh..wh..opq"])
CONTENTS = st.one_of(st.just(b""), st.binary(max_size=2000), st.integers(0, 255).map(lambda n: bytes([n]) * 300_000))
ENTRIES = st.one_of(
    st.tuples(st.just("file"), NAMES, CONTENTS),
    st.tuples(st.just("directory"), NAMES, st.none()),
    st.tuples(st.just("symlink"), NAMES, st.sampled_from(["a", "d", "/d/e", "..", "l"])),
    st.tuples(st.just("link"), NAMES, st.sampled_from(["a", "b", "d/a"])),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRIES, max_size=12), tail=st.binary(max_size=600), pax=st.booleans())
def test_whatever_can_be_unpacked_is_made_again(tmp_path: Path, entries: list, tail: bytes, pax: bool) -> None:
    makers = {"file": entry, "directory": lambda name, _: directory(name), "symlink": symlink, "link": hard_link}
    made = [makers[kind](name, argument) for kind, name, argument in entries]
    tar = make_tar(*made, format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + tail
    with_store = Store(tmp_path / os.urandom(8).hex())
    try:
        unpacked = with_store.bring(tar)
    except Damaged:
        return
    assert with_store.again(unpacked.diff_id) == tar


def test_a_name_that_was_replaced_many_times_takes_no_longer(store: Store) -> None:
    def seconds(*names: str) -> float:
        tar = make_tar(*[entry(name, b"%d" % number) for number, name in enumerate(names)])
        diff_id = store.bring(tar).diff_id
        start = time.process_time()
        assert store.again(diff_id) == tar
        return time.process_time() - start

    count = 10_000
    assert seconds(*["a"] * count) < 5 * seconds(*[f"a{number}" for number in range(count)])
