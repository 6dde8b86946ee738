# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Writable layers as no container of ours makes them, and files that change while they are read; checked by GNU tar."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Unsupported
from ansible_collections.hull.engine.plugins.module_utils._engine.tree_views import TreeView
from ansible_collections.hull.engine.plugins.module_utils._image.changeset import UpperLayer
from ansible_collections.hull.engine.plugins.module_utils._image.packing import Packer, pack_tree

from tests.support.tars import describe

MTIME = 1_700_000_000


class Layers:
    """A lower and an upper directory."""

    def __init__(self, place: Path) -> None:
        self.lower, self.upper = place / "lower", place / "upper"
        for directory in (self.lower, self.upper):
            directory.mkdir()

    @contextmanager
    def read(self, *places: bytes) -> Iterator[UpperLayer]:
        with ExitStack() as stack:
            upper, lower = (stack.enter_context(TreeView((str(path),))) for path in (self.upper, self.lower))
            yield UpperLayer(upper, lower, places)

    def tar(self, *places: bytes) -> bytes:
        def refuse(path: bytes) -> None:
            raise AssertionError(path)

        with self.read(*places) as layer:
            return b"".join(layer.pieces(leave_out=refuse))

    def names(self, *places: bytes) -> list[str]:
        tar = self.tar(*places)
        if not tar:
            return []
        listed = subprocess.run(["tar", "-tf", "-"], input=tar, capture_output=True, check=True)
        return listed.stdout.decode().split("\n")[:-1]

    def changes(self, *places: bytes) -> list[tuple[str, bytes]]:
        with self.read(*places) as layer:
            return [(change.kind, change.path) for change in layer.changes()]


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_whiteouts_that_share_an_inode_are_no_hard_links(layers: Layers) -> None:
    for name in ("a", "b"):
        (layers.lower / name).write_text("x")
    os.mknod(layers.upper / "a", stat.S_IFCHR, 0)
    os.link(layers.upper / "a", layers.upper / "b")
    assert layers.names() == [".wh.a", ".wh.b"]
    with tarfile.open(fileobj=io.BytesIO(layers.tar())) as tar:
        assert {(member.type, member.mode, member.mtime, member.linkname) for member in tar} == {(b"0", 0, 0, "")}
    assert layers.changes() == [("D", b"a"), ("D", b"b")]


def test_whiteouts_by_attribute_are_deletions(layers: Layers) -> None:
    """As Linux 6.7 and newer know them, where a file system has no character devices to offer."""
    for directory in (layers.lower, layers.upper):
        (directory / "d").mkdir()
    (layers.lower / "d/gone").write_text("x")
    (layers.upper / "d/gone").touch()
    (layers.upper / "d/empty").touch()
    os.setxattr(layers.upper / "d/gone", "trusted.overlay.whiteout", b"y")
    os.setxattr(layers.upper / "d", "trusted.overlay.opaque", b"x")
    assert layers.names() == ["d/", "d/.wh.gone", "d/empty"]
    assert layers.changes() == [("C", b"d"), ("A", b"d/empty"), ("D", b"d/gone")]


def test_deletions_come_first_and_directories_before_their_entries(layers: Layers) -> None:
    for name in ("a", "z"):
        (layers.lower / name).write_text("x")
    os.mknod(layers.upper / "z", stat.S_IFCHR, 0)
    (layers.upper / "d").mkdir()
    os.setxattr(layers.upper / "d", "trusted.overlay.opaque", b"y")
    for name in ("a", "d/file", "d.d"):
        (layers.upper / name).write_text("x")
    assert layers.names() == [".wh.z", "a", "d/", "d/.wh..wh..opq", "d/file", "d.d"]


@pytest.mark.parametrize("attribute", ["trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.redirect"])
@pytest.mark.parametrize("name", ["directory", "file"])
def test_what_depends_on_lower_layers_is_refused(layers: Layers, attribute: str, name: str) -> None:
    (layers.upper / "directory").mkdir()
    (layers.upper / "file").write_text("x")
    os.setxattr(layers.upper / name, attribute, b"/elsewhere")
    with pytest.raises(Unsupported, match=f"read {name}: it refers to a lower layer .*; export the container"):
        layers.tar()


def test_the_engines_own_places_are_left_out_unless_they_are_used(layers: Layers) -> None:
    places = (b"proc", b"etc/hosts", b"dev/shm", b"dev")
    for name in ("proc", "etc", "dev", "dev/shm"):
        (layers.upper / name).mkdir()
    (layers.upper / "etc/hosts").touch()
    assert layers.names(*places) == [] and layers.changes(*places) == [] and layers.tar(*places) == b""
    (layers.lower / "etc").mkdir(mode=0o755)
    os.utime(layers.lower / "etc", (MTIME, MTIME))
    assert layers.names(*places) == []
    (layers.upper / "etc/hosts").write_text("127.0.0.1 me\n")
    (layers.upper / "dev/shm/file").touch()
    assert layers.names(*places) == ["dev/", "dev/shm/", "dev/shm/file", "etc/", "etc/hosts"]
    os.chmod(layers.upper / "etc", 0o700)
    (layers.upper / "etc/hosts").write_text("")
    assert layers.names(*places)[-1] == "etc/"


def test_attributes_of_the_root_are_a_change(layers: Layers) -> None:
    os.utime(layers.upper, (MTIME, MTIME))
    assert layers.names() == []
    os.chmod(layers.upper, 0o711)
    assert layers.names() == ["./"] and layers.changes() == [("C", b"")]


def test_attributes_are_kept_as_images_have_them(layers: Layers) -> None:
    version_3 = b"\1\0\0\3" + bytes(16) + b"\0\0\1\0"
    path = layers.upper / "file"
    path.write_text("x")
    for name, value in (
        ("user.kept", b"1"),
        ("user.overlay.origin", b"1"),
        ("user.with=sign", b"1"),
        ("user.empty", b""),
        ("trusted.dropped", b"1"),
        ("security.other", b"1"),
    ):
        os.setxattr(path, name, value)
    os.setxattr(path, "security.capability", version_3)
    with tarfile.open(fileobj=io.BytesIO(layers.tar())) as tar:
        headers = tar.next().pax_headers  # type: ignore[union-attr]
    assert {name for name in headers if name.startswith("SCHILY")} == {
        "SCHILY.xattr.user.kept",
        "SCHILY.xattr.security.capability",
    }
    assert headers["SCHILY.xattr.security.capability"].encode() == b"\1\0\0\2" + bytes(16)


def test_holes_are_zeros_and_quick(layers: Layers, tmp_path: Path) -> None:
    with open(layers.upper / "sparse", "wb") as file:
        for offset in (0, 10_000_000, 70_000_000):
            os.pwrite(file.fileno(), b"data", offset)
        file.truncate(90_000_001)
    (layers.upper / "hole").touch()
    os.truncate(layers.upper / "hole", 3_000_000)
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", tmp_path / "tree"], input=layers.tar(), check=True)
    for name in ("sparse", "hole"):
        assert (tmp_path / "tree" / name).read_bytes() == (layers.upper / name).read_bytes()


def test_a_file_that_shrinks_or_grows_meanwhile_keeps_the_tar_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    directory = os.open(tmp_path, os.O_RDONLY)
    pieces = Packer().file(directory, b"file", b"file", os.lstat(path))
    first = [next(pieces), next(pieces)]
    os.truncate(path, 1_500_000)
    data = b"".join([*first, *pieces])
    os.close(directory)
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024))) as tar:
        content = tar.extractfile("file").read()  # type: ignore[union-attr]
    assert content == b"x" * 1_500_000 + bytes(1_500_000)


def test_a_device_or_a_fifo_in_a_files_place_is_not_opened(tmp_path: Path) -> None:
    """What was a file when it was looked at: opening a FIFO would hang, opening a device would do something."""
    (tmp_path / "file").write_text("x")
    found = os.lstat(tmp_path / "file")
    (tmp_path / "file").unlink()
    with TreeView((str(tmp_path),)) as view:
        os.mkfifo(tmp_path / "file")
        assert list(Packer().file(view, b"file", b"file", found)) == []
        (tmp_path / "file").unlink()
        os.mknod(tmp_path / "file", stat.S_IFCHR | 0o600, os.makedev(10, 130))
        with pytest.raises(PermissionError):
            list(Packer().file(view, b"file", b"file", found))
        (tmp_path / "file").unlink()
        os.symlink("/etc/passwd", tmp_path / "file")
        with pytest.raises(OSError, match="ymbolic"):
            list(Packer().file(view, b"file", b"file", found))


def test_a_tree_is_as_deep_as_one_that_is_unpacked_or_refused(layers: Layers) -> None:
    for path in (layers.lower, layers.upper):
        for _ in range(256):
            path = path / "d"
            os.mkdir(path)
    (path.parent / "file").write_text("x")
    assert len(layers.names()) == 257 and layers.changes()[-1] == ("A", b"d/" * 255 + b"file")
    os.mkdir(path / "d")
    with pytest.raises(Unsupported, match="deeper than 256 directories"):
        layers.tar()


def test_a_tree_is_packed_as_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    tree.mkdir(mode=0o750)
    other.mkdir()
    (tree / "d").mkdir(mode=0o1777)
    (tree / "d/file").write_bytes(b"x" * 100_000)
    os.link(tree / "d/file", tree / "a-link")
    os.symlink("d/file", tree / "symlink")
    os.mkfifo(tree / "fifo", 0o640)
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(tree / "d", "user.name", b"value")
    os.chown(tree / "d", 3_000_000, 7)
    with TreeView((str(tree),)) as view:
        data = b"".join(pack_tree(view))
    command = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "-", "-C", str(other)]
    subprocess.run(command, input=data, check=True)
    assert describe(other) == describe(tree)
