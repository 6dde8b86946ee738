# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Layers unpacked on a real file system: the same as GNU tar and umoci make of them, and never outside."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import stat
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, SyscallError
from ansible_collections.hull.engine.plugins.module_utils._image import tree
from ansible_collections.hull.engine.plugins.module_utils._image import unpack as unpack_module
from ansible_collections.hull.engine.plugins.module_utils._image.unpack import Unpacked, UnpackLimits, unpack
from ansible_collections.hull.engine.plugins.module_utils._kernel import overlay

from tests.support.isolated import run_isolated
from tests.support.tars import MTIME, describe, device, directory, entry, hard_link, make_tar, symlink, xattrs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep
OPAQUE = "trusted.overlay.opaque"


class Place:
    """A directory to unpack into, beside a canary that has to stay as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fs = path / "layer" / "fs"
        self.canary = path / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text("untouched")
        self.before = describe(self.canary)

    def unpack(self, tar: bytes, **options: Any) -> Unpacked:
        shutil.rmtree(self.fs.parent, ignore_errors=True)
        self.fs.mkdir(parents=True)
        return unpack(io.BytesIO(tar), str(self.fs), **options)

    def take(self, *entries: tuple[tarfile.TarInfo, bytes], **options: Any) -> Unpacked:
        return self.unpack(make_tar(*entries), **options)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.fs)) for path in self.fs.rglob("*"))

    def is_whiteout(self, name: str) -> bool:
        found = os.lstat(self.fs / name)
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0

    def is_opaque(self, name: str) -> bool:
        return OPAQUE in os.listxattr(self.fs / name) and os.getxattr(self.fs / name, OPAQUE) == b"y"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    fds = len(os.listdir("/proc/self/fd"))
    yield made
    assert describe(made.canary) == made.before
    assert sorted(path.name for path in tmp_path.iterdir()) in (["canary"], ["canary", "layer"])
    assert len(os.listdir("/proc/self/fd")) == fds


def varied(place: Path) -> Path:
    """A tree with one of everything that a layer may contain."""
    root = place / "source"
    root.mkdir(mode=0o711)
    (root / "usr/bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    os.chmod(root / "tmp", 0o1777)
    (root / "shared").mkdir()
    os.chown(root / "shared", 7, 50)
    os.chmod(root / "shared", 0o2775)
    (root / "shared/file").write_bytes(b"x" * 700_000)
    os.chown(root / "shared/file", 3_000_000, 4_000_000_000)
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    os.chown(root / "usr/bin/tool", 0, 8)
    os.chmod(root / "usr/bin/tool", 0o6755)
    os.setxattr(root / "usr/bin/tool", "security.capability", CAPABILITY)
    os.setxattr(root / "usr/bin/tool", "user.note", b"a\nb=c\0d")
    os.link(root / "usr/bin/tool", root / "usr/bin/alias")
    os.symlink("../usr/bin", root / "tmp/link")
    os.chown(root / "tmp/link", 5, 6, follow_symlinks=False)
    os.utime(root / "tmp/link", ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.symlink("/" + "x" * 200 + "/" + "y" * 200, root / "long-target")
    os.mkfifo(root / "fifo", 0o622)
    os.chmod(root / "fifo", 0o622)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    os.chown(root / "disk", 0, 6)
    deep = root / ("d" * 120) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "file with space\nand line").write_text("odd")
    with open(os.fsencode(root) + b"/caf\xe9-\\", "w") as file:
        file.write("not UTF-8")
    with open(root / "sparse", "wb") as file:
        for offset in range(64):
            file.seek(offset * 1_000_000)
            file.write(b"data%d" % offset)
        file.truncate(80_000_000)
    (root / "empty").touch()
    os.chmod(root / "empty", 0)
    for number, path in enumerate(sorted(root.rglob("*"))):
        if not path.is_symlink():
            os.utime(path, ns=(0, (MTIME + number) * 10**9 + 123_456_789))
    os.utime(root, ns=(0, MTIME * 10**9 + 1))
    return root


@pytest.mark.parametrize("sparse", ["", "0.0", "0.1", "1.0"])
def test_the_tree_is_the_one_that_gnu_tar_packed(place: Place, tmp_path_factory: Any, sparse: str) -> None:
    source = varied(tmp_path_factory.mktemp("tree"))
    options = ["--sparse", f"--sparse-version={sparse}"] if sparse else []
    command = ["tar", "-C", source, "--format=posix", "--xattrs", "--xattrs-include=*", *options, "-c", "."]
    tar = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    unpacked = place.unpack(tar)
    assert describe(place.fs) == describe(source)
    assert unpacked.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert unpacked.deferred == () and unpacked.skipped_devices == unpacked.skipped_xattrs == 0
    if sparse:
        assert os.stat(place.fs / "sparse").st_blocks * 512 < 2_000_000


def test_old_gnu_sparse_files_and_long_names_are_read(place: Place, tmp_path_factory: Any) -> None:
    source = varied(tmp_path_factory.mktemp("tree"))
    command = ["tar", "-C", source, "--format=gnu", "--sparse", "-c", "."]
    place.unpack(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    def whole_seconds(tree: dict[bytes, tuple[Any, ...]]) -> dict[bytes, tuple[Any, ...]]:
        return {name: (*fields[:4], fields[4] // 10**9, *fields[5:7]) for name, fields in tree.items()}

    assert whole_seconds(describe(place.fs)) == whole_seconds(describe(source))


def test_umoci_unpacks_the_same(place: Place, tmp_path_factory: Any) -> None:
    scratch = tmp_path_factory.mktemp("umoci")
    source = varied(scratch)
    os.remove(source / "sparse")
    os.remove(source / "null")  # umoci without whiteouts in its way
    for command in (
        ["umoci", "init", "--layout", "layout"],
        ["umoci", "new", "--image", "layout:x"],
        ["umoci", "insert", "--image", "layout:x", "source", "/"],
        ["umoci", "raw", "unpack", "--image", "layout:x", "theirs"],
    ):
        subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    blobs = scratch / "layout/blobs"
    index = json.loads((scratch / "layout/index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    layer = blobs / manifest["layers"][0]["digest"].replace(":", "/")
    place.unpack(layer.read_bytes())
    assert describe(place.fs) == describe(scratch / "theirs")


def test_the_umask_neither_matters_nor_changes(place: Place) -> None:
    entries = [
        directory("d", mode=0o777),
        entry("d/f", b"x", mode=0o666),
        entry("i/f", b"x", mode=0o777),
        entry("k/f", b"x"),
        directory("k", mode=0o700),
        directory("e", mode=0o755),
        entry("p", type=tarfile.FIFOTYPE, mode=0o666),
        device("n", tarfile.CHRTYPE, 1, 3, mode=0o666),
    ]
    before = os.umask(0o077)
    try:
        place.take(*entries)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE(os.lstat(place.fs / name).st_mode) for name in ("d", "d/f", "e", "i", "i/f", "k", "p", "n")
    }
    assert list(modes.values()) == [0o777, 0o666, 0o755, 0o755, 0o777, 0o700, 0o666, 0o666]


def test_the_root_takes_its_own_entry(place: Place) -> None:
    place.take(directory("./", mode=0o711, uid=7, gid=8), entry("./a", b"a"))
    found = os.stat(place.fs)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime) == (0o711, 7, 8, MTIME)


def test_a_directory_s_time_and_group_are_not_its_children_s(place: Place) -> None:
    place.take(directory("d", mode=0o2755, gid=50), entry("d/f", b"x"), directory("d/e"), entry("d/e/g", b"x"))
    assert os.stat(place.fs / "d").st_mtime == MTIME
    assert {os.stat(place.fs / name).st_gid for name in ("d/f", "d/e", "d/e/g")} == {0}
    assert stat.S_IMODE(os.stat(place.fs / "d").st_mode) == 0o2755


def test_times_outside_of_what_file_systems_hold_are_clamped(place: Place) -> None:
    place.take(
        entry("early", pax_headers={"mtime": "-100.5"}),
        entry("late", pax_headers={"mtime": "1099511627776"}),
        entry("fine", pax_headers={"mtime": "1700000000.000000001"}),
    )
    assert os.stat(place.fs / "early").st_mtime_ns == 0
    assert os.stat(place.fs / "late").st_mtime == (1 << 33) - 1
    assert os.stat(place.fs / "fine").st_mtime_ns == 1_700_000_000 * 10**9 + 1


def test_attributes_that_would_steer_the_host_are_dropped(place: Place) -> None:
    names = ("trusted__overlay__redirect", "trusted__overlay__opaque", "trusted__foo", "user__overlay__opaque")
    unwanted = dict.fromkeys((*names, "security__selinux", "system__foo"), "/etc")
    place.take(
        directory("d", pax_headers=xattrs(**unwanted)),
        entry("f", b"x", pax_headers=xattrs(user__kept="yes", user__empty="", **unwanted)),
        symlink("l", "f", pax_headers=xattrs(user__note="x")),
    )
    assert os.listxattr(place.fs / "d") == []
    assert os.listxattr(place.fs / "f") == ["user.kept"]
    assert os.listxattr(place.fs / "l", follow_symlinks=False) == []


# what overlayfs is told


LOWER = [
    directory("d"),
    entry("d/old", b"old"),
    directory("d/sub"),
    entry("d/sub/deep", b"deep"),
    entry("x", b"old"),
    directory("etc"),
    entry("etc/conf", b"old"),
]

WHITEOUT_CASES: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], dict[str, bytes | None]]] = {
    "file": ([entry(".wh.x")], {"x": None}),
    "file in a directory": ([entry("d/.wh.old")], {"d/old": None, "d/sub/deep": b"deep"}),
    "directory": ([entry(".wh.d")], {"d": None}),
    "then made again": ([entry(".wh.x"), entry("x", b"new")], {"x": b"new"}),
    "made before": ([entry("x", b"new"), entry(".wh.x")], {"x": b"new"}),
    "opaque first": ([directory("d"), entry("d/.wh..wh..opq"), entry("d/new", b"n")], {"d/new": b"n", "d/old": None}),
    "opaque last": ([directory("d"), entry("d/new", b"n"), entry("d/.wh..wh..opq")], {"d/new": b"n", "d/sub": None}),
    "opaque without entry": ([entry("d/.wh..wh..opq")], {"d": b"", "d/old": None, "d/sub": None}),
    "directory again": (
        [entry(".wh.d"), directory("d"), entry("d/new", b"n")],
        {"d/new": b"n", "d/old": None, "d/sub": None},
    ),
    "directory again, implicitly": ([entry(".wh.d"), entry("d/new", b"n")], {"d/new": b"n", "d/old": None}),
    "directory before": (
        [directory("d"), entry("d/new", b"n"), entry(".wh.d")],
        {"d/new": b"n", "d/old": None, "d/sub": None},
    ),
    "directory and below": ([entry(".wh.d"), entry("d/.wh.old")], {"d": None}),
    "below and directory": ([entry("d/.wh.old"), entry("d/sub/.wh.deep"), entry(".wh.d")], {"d": None}),
    "below an opaque one": (
        [entry("d/.wh.old"), entry("d/sub/.wh.deep"), entry("d/.wh..wh..opq"), entry("d/.wh.more")],
        {"d": b"", "d/old": None, "d/sub": None, "d/more": None},
    ),
    "as a symbolic link": ([symlink(".wh.x", "/etc")], {"x": None, "etc/conf": b"old"}),
    "as a directory": ([directory("d/.wh.sub")], {"d/sub": None, "d/old": b"old"}),
    "twice": ([entry(".wh.x"), entry(".wh.x")], {"x": None}),
    "directory becomes file": ([entry("d", b"file")], {"d": b"file"}),
    "file becomes directory": ([directory("x"), entry("x/y", b"y")], {"x/y": b"y"}),
    "aufs bookkeeping": ([entry(".wh..wh.plnk/1"), directory(".wh..wh.orph"), entry(".wh..wh.aufs")], {"x": b"old"}),
    "file, then directory of one name": (
        [entry("d", b"f"), directory("d"), entry("d/n", b"n")],
        {"d/n": b"n", "d/old": None},
    ),
}


@pytest.mark.parametrize("case", WHITEOUT_CASES)
def test_overlayfs_shows_what_the_layer_means(tmp_path: Path, case: str) -> None:
    entries, expected = WHITEOUT_CASES[case]
    for name, layer in (("lower", LOWER), ("upper", entries)):
        (tmp_path / name).mkdir()
        unpack(io.BytesIO(make_tar(*layer)), str(tmp_path / name))
    fd = overlay.overlay_mount([str(tmp_path / "upper"), str(tmp_path / "lower")], "", "")
    try:
        merged = Path(f"/proc/self/fd/{fd}")
        for name, content in expected.items():
            path = merged / name
            if content is None:
                assert not os.path.lexists(path), name
                assert path.name not in os.listdir(path.parent), f"{name} is a ghost"
            elif path.is_dir():
                assert content == b""
            else:
                assert path.read_bytes() == content
        assert not any(".wh." in name for _place, names, files in os.walk(merged) for name in [*names, *files])
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", [".wh.", "d/.wh..", "d/.wh...", ".wh.x/below"])
def test_whiteouts_of_nothing_are_refused_before_anything_is_deleted(place: Place, name: str) -> None:
    with pytest.raises(Damaged, match="wh"):
        place.take(directory("d"), entry("d/f", b"x"), entry(name))
    assert place.names() == ["d", "d/f"]


def test_an_image_can_t_bring_whiteouts_as_devices(place: Place) -> None:
    with pytest.raises(Damaged, match="0:0"):
        place.take(device("x", tarfile.CHRTYPE, 0, 0))


def test_implicit_parents_are_told(place: Place) -> None:
    unpacked = place.take(entry("a/b/c", b"x"), directory("e"), entry("e/f", b"x"), directory("a/b"))
    assert told(unpacked) == [("implicit-parent", b""), ("implicit-parent", b"a")]
    assert [os.stat(place.fs / name).st_mtime_ns for name in (".", "a")] == [0, 0]


def told(unpacked: Unpacked) -> list[tuple[str, bytes]]:
    return [(item.kind, item.path) for item in unpacked.deferred]


def test_directories_that_the_layer_deletes_before_ask_for_nothing(place: Place) -> None:
    unpacked = place.take(
        directory("."),
        entry(".wh.a"),
        entry("a/b/c", b"x"),
        entry("d/e/f", b"x"),
        entry(".wh.d"),
        directory("g"),
        entry("g/.wh..wh..opq"),
        entry("g/h/i", b"x"),
        entry("j/.wh..wh..opq"),
        entry("k", b"x"),
        directory("k"),
    )
    assert told(unpacked) == [("hollow", b"j"), ("whiteouts", b"")]


def test_directories_with_nothing_but_whiteouts_are_told(place: Place) -> None:
    unpacked = place.take(
        directory("."),
        entry("a/b/.wh.c"),
        entry("d/e/.wh.f"),
        entry("d/g", b"x"),
        entry("h/.wh.i"),
        directory("h"),
        entry("j/.wh.k"),
        hard_link("j/l", "elsewhere"),
    )
    assert told(unpacked) == [
        ("hollow", b"a"),
        ("hollow", b"a/b"),
        ("implicit-parent", b"d"),
        ("hollow", b"d/e"),
        ("implicit-parent", b"j"),
        ("hard-link", b"j/l\0elsewhere"),
        ("whiteouts", b""),
    ]


def test_hard_links_to_what_a_lower_layer_may_have_are_told(place: Place) -> None:
    unpacked = place.take(
        directory("."),
        hard_link("a", "etc/file"),
        hard_link("b", "./a"),
        hard_link("gone", "a"),
        entry("a", b"another"),
        symlink("usr", "etc"),
        hard_link("c", "usr/x"),
        directory("d"),
        hard_link("d/e", "f"),
        entry("gone", b"x"),
        entry("g", b"x"),
        hard_link("g", "b"),
        directory("h"),
        hard_link("h/i", "j"),
        entry("h", b"x"),
    )
    assert told(unpacked) == [
        ("hard-link", b"b\0etc/file"),
        ("hard-link", b"c\0etc/x"),
        ("hard-link", b"d/e\0f"),
        ("hard-link", b"g\0etc/file"),
    ]
    assert [stat.S_IMODE(os.stat(place.fs / name).st_mode) for name in ("b", "c", "g")] == [0, 0, 0]
    assert [os.stat(place.fs / name).st_size for name in ("a", "b", "c", "g")] == [7, 0, 0, 0]


# entries that come twice


def test_the_last_entry_of_a_name_wins(place: Place) -> None:
    place.take(
        entry("f", b"one", mode=0o600),
        entry("./f", b"two", mode=0o644),
        directory("was-dir"),
        entry("was-dir/x", b"x"),
        symlink("was-dir", "f"),
        entry("was-file", b"x"),
        directory("was-file", mode=0o700),
        directory("d", mode=0o700, uid=1),
        entry("d/kept", b"k"),
        directory("d", mode=0o750, uid=2),
        entry("fifo", type=tarfile.FIFOTYPE),
        entry("fifo", type=tarfile.FIFOTYPE, mode=0o600),
        device("dev", tarfile.CHRTYPE, 1, 3),
        device("dev", tarfile.CHRTYPE, 1, 5),
        hard_link("d/kept", "f"),
        hard_link("d/kept", "d/kept"),
    )
    assert (place.fs / "f").read_bytes() == b"two" == (place.fs / "d/kept").read_bytes()
    assert os.readlink(place.fs / "was-dir") == "f"
    assert os.stat(place.fs / "was-file").st_mode == stat.S_IFDIR | 0o700
    assert os.stat(place.fs / "d").st_uid == 2 and os.stat(place.fs / "d").st_mode & 0o777 == 0o750
    assert os.stat(place.fs / "dev").st_rdev == os.makedev(1, 5)
    assert os.stat(place.fs / "f").st_nlink == 2


# what climbs out


def outside(place: Place) -> str:
    return str(place.canary)


@pytest.mark.parametrize("name", ["../canary/new", "a/../../canary/new", "..", "a/..", "/../canary/x", "./../x"])
def test_names_that_climb_are_refused(place: Place, name: str) -> None:
    for made in (entry(name, b"evil"), directory(name), symlink(name, "x"), hard_link(name, "ok")):
        with pytest.raises(Damaged, match=r"climbs out"):
            place.take(entry("ok", b"x"), made)


@pytest.mark.parametrize("target", ["../canary/file", "../../canary/file", "ok/../../canary/file"])
def test_hard_links_that_climb_are_refused(place: Place, target: str) -> None:
    with pytest.raises(Damaged):
        place.take(entry("ok", b"x"), hard_link("stolen", target))


def test_absolute_names_lie_in_the_layer(place: Place) -> None:
    place.take(entry("/etc/passwd", b"mine"), entry("//x//./y", b"y"), hard_link("/link", "/etc/passwd"))
    assert place.names() == ["etc", "etc/passwd", "link", "x", "x/y"]


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_writing_through_a_symbolic_link_stays_inside(place: Place, depth: int) -> None:
    target = "/".join([".."] * depth) + outside(place) if depth else outside(place)
    place.take(symlink("out", target), entry("out/new", b"x"), directory("out/dir"), symlink("out/l", "x"))
    assert (place.fs / outside(place).lstrip("/") / "new").read_bytes() == b"x"


def test_modes_and_owners_never_reach_through_a_symbolic_link(place: Place) -> None:
    file = outside(place) + "/file"
    place.take(
        symlink("a", file, uid=1, mode=0o4777),
        hard_link("b", "a", uid=1, mode=0o4777),
        directory("c", mode=0o777, uid=3),
        symlink("c", outside(place), uid=3),
        device("a", tarfile.CHRTYPE, 1, 3, mode=0o6777),
        symlink("a", file, pax_headers=xattrs(user__x="1")),
    )
    assert os.readlink(place.fs / "a") == file


def test_a_hard_link_to_a_symbolic_link_links_the_link(place: Place) -> None:
    place.take(symlink("l", outside(place) + "/file"), hard_link("h", "l"))
    assert os.readlink(place.fs / "h") == outside(place) + "/file"


def test_a_hard_link_through_a_link_to_the_outside_finds_nothing(place: Place) -> None:
    unpacked = place.take(symlink("out", outside(place)), hard_link("stolen", "out/file"))
    inside = os.fsencode(outside(place)).lstrip(b"/") + b"/file"
    assert told(unpacked)[1:] == [("hard-link", b"stolen\0" + inside)]
    assert (place.fs / "stolen").read_bytes() == b""


def test_whiteouts_through_a_symbolic_link_stay_inside(place: Place) -> None:
    place.take(symlink("out", outside(place)), entry("out/.wh.file"), entry("out/.wh..wh..opq"))
    assert place.is_opaque(outside(place).lstrip("/"))


def test_a_directory_replaced_by_a_link_is_not_entered_by_its_old_name(place: Place) -> None:
    place.take(
        directory("d"),
        entry("d/a", b"a"),
        symlink("d", outside(place)),
        entry("d/file", b"evil"),
        entry("d/b/c", b"evil"),
    )
    assert (place.fs / outside(place).lstrip("/") / "file").read_bytes() == b"evil"


def test_links_inside_the_layer_are_followed_to_where_they_lead(place: Place) -> None:
    place.take(
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("lib64", "/lib"),
        symlink("usr/x", "../../../lib64/../lib"),
        entry("lib/one", b"1"),
        entry("lib64/two", b"2"),
        entry("usr/x/three", b"3"),
        symlink("usr/y", "/srv"),
        entry("usr/y/four", b"4"),
        symlink("run", "var/run"),
        entry("run/pid", b"4"),
        directory("lib/sub", mode=0o700),
    )
    assert sorted(os.listdir(place.fs / "usr/lib")) == ["one", "sub", "three", "two"]
    assert os.listdir(place.fs / "srv") == ["four"]
    assert (place.fs / "var/run/pid").read_bytes() == b"4"
    assert os.readlink(place.fs / "lib") == "usr/lib"
    assert stat.S_IMODE(os.stat(place.fs / "usr/lib/sub").st_mode) == 0o700


def test_a_loop_of_links_is_refused(place: Place) -> None:
    with pytest.raises(Damaged, match="too many symbolic links"):
        place.take(symlink("a", "b"), symlink("b", "a"), entry("a/x"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("f"), entry("f/below")], "f is not a directory"),
        ([symlink("./", "/etc")], "root is not a directory"),
        ([entry(".wh.x"), hard_link("a", "x")], "hard link to x, which the same layer deletes"),
        ([entry(".wh.x"), hard_link("a", "x/y")], "hard link to x/y, which the same layer deletes"),
        ([directory("d"), entry("d/.wh..wh..opq"), hard_link("a", "d/x")], "which the same layer deletes"),
        ([hard_link("a", "b"), entry("a/c")], "a is not a directory"),
        ([directory("d"), hard_link("a", "d")], "hard link to the directory"),
        ([hard_link("a", "/")], "hard link to the directory"),
        ([symlink("a", "")], "symbolic link"),
        ([symlink("a", "x" * 5000)], "symbolic link"),
        ([entry("n" * 256)], "too long"),
        ([entry("/".join(["d"] * 300))], "deeper than"),
        ([device("a", tarfile.CHRTYPE, 4096, 1)], "no device"),
        ([entry("a", type=b"Z")], "unknown type"),
        ([entry("a\0b", pax_headers={"path": "a\0b"})], "NUL"),
        ([entry("f", b"x", pax_headers=xattrs(security__capability="nonsense"))], "invalid"),
        ([entry("f", b"x", pax_headers=xattrs(user__big="x" * 70_000))], "70000 bytes"),
    ],
)
def test_what_no_layer_may_say_is_refused_with_the_entry_s_name(
    place: Place, entries: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    with pytest.raises(Damaged, match=message):
        place.take(*entries)


# limits, damage, side by side


def test_too_many_entries_are_refused(place: Place) -> None:
    with pytest.raises(Damaged, match="more than 3 entries"):
        place.take(*[entry(str(number)) for number in range(4)], limits=UnpackLimits(max_entries=3))


def test_a_bomb_ends_at_the_limit(place: Place) -> None:
    bomb = gzip.compress(make_tar(entry("zeros", bytes(64 << 20))), 9)
    assert len(bomb) < 100_000
    with pytest.raises(Damaged, match="limit of 1000000 bytes"):
        place.unpack(bomb, limits=UnpackLimits(max_bytes=1_000_000))
    assert sum(path.stat().st_size for path in place.fs.rglob("*")) <= 1_000_000


def test_a_bomb_after_the_end_of_the_archive_ends_at_the_limit(place: Place) -> None:
    bomb = gzip.compress(make_tar(entry("f", b"x")) + bytes(64 << 20), 9)
    with pytest.raises(Damaged, match="limit"):
        place.unpack(bomb, limits=UnpackLimits(max_bytes=1_000_000))


def test_a_bomb_ends_where_it_is_far_larger_than_what_came(place: Place) -> None:
    zeros = make_tar(entry("zeros", bytes(16 << 20)))
    limits = UnpackLimits(max_ratio=200, ratio_from_bytes=1 << 20)
    with pytest.raises(Damaged, match="bytes and more come out of"):
        place.unpack(gzip.compress(zeros, 9), limits=limits)
    assert sum(path.stat().st_size for path in place.fs.rglob("*")) < 8 << 20
    assert place.unpack(zeros, limits=limits).size_bytes == 16 << 20
    assert place.unpack(gzip.compress(zeros, 9)).size_bytes == 16 << 20


def hole(name: str, size: int) -> tuple[tarfile.TarInfo, bytes]:
    """A file that is a hole and nothing else."""
    headers = {"major": "1", "minor": "0", "name": name, "realsize": str(size)}
    return entry(name, b"0\n" + bytes(510), pax_headers={f"GNU.sparse.{key}": value for key, value in headers.items()})


def test_files_with_holes_count_with_their_whole_size(place: Place) -> None:
    place.take(hole("a", 900_000), hole("b", 90_000), limits=UnpackLimits(max_bytes=1_000_000))
    with pytest.raises(Damaged, match="larger than the limit of 1000000 bytes"):
        place.take(hole("a", 900_000), hole("b", 200_000), limits=UnpackLimits(max_bytes=1_000_000))
    with pytest.raises(Damaged, match="larger than the limit"):
        place.take(hole("a", (1 << 63) - 1))


def test_what_the_stream_does_not_say_is_measured_on_the_disk(tmp_path: Path) -> None:
    """Attributes and directories take space of their own: the reserve stays free."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-N", "20000", "-m", "0", image], check=True)
    tar = make_tar(*[directory(f"d{number}") for number in range(14_000)])

    def fill() -> tuple[str, int]:
        place = tmp_path / "mounted"
        place.mkdir()
        subprocess.run(["mount", "-o", "loop", image, place], check=True)
        (place / "fs").mkdir()
        try:
            unpack(io.BytesIO(tar), str(place / "fs"))
        except SyscallError as error:
            free = os.statvfs(place)
            return str(error), free.f_bavail * free.f_frsize
        return "", 0

    message, free = run_isolated(fill)
    assert "no space left" in message and free > 400_000


SLOW_CASES: dict[str, Any] = {
    "opaque directories": lambda n: [entry(f"d{i}/.wh..wh..opq") for i in range(n)],
    "whiteouts": lambda n: [entry(f"d{i}/.wh.x") for i in range(n)],
    "whiteouts, then opaque": lambda n: [*[entry(f"d/d{i}/.wh.x") for i in range(n)], entry("d/.wh..wh..opq")],
    "directories replaced": lambda n: [
        item for i in range(n // 3) for item in (directory(f"d{i}"), entry(f"d{i}/x"), entry(f"d{i}"))
    ],
    "one directory": lambda n: [entry(f"d/{i}") for i in range(n)],
    "two deep paths": lambda n: [entry(("a/" if i % 2 else "b/") * 120 + str(i)) for i in range(n // 4)],
    "to and fro": lambda n: [directory("d/x"), symlink("d/x", "y")] * (n // 2),
    "hard links to elsewhere": lambda n: [hard_link(f"l{i}", "low/f") for i in range(n)],
    "opaque inside out": lambda n: [
        *[entry("a/" * 100 + str(i)) for i in range(n // 4)],
        *[entry("a/" * depth + ".wh..wh..opq") for depth in range(100, 0, -1)],
    ],
}


@pytest.mark.parametrize("case", SLOW_CASES)
def test_nothing_gets_slower_the_more_there_is(case: str) -> None:
    """Four times the entries take about four times as long, as the process's own clock has it."""

    def seconds(count: int) -> float:
        tar = make_tar(*SLOW_CASES[case](count))
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            start = time.process_time()
            unpack(io.BytesIO(tar), place)
            return time.process_time() - start

    assert seconds(2400) < 10 * seconds(600) + 0.1


def test_ways_through_links_have_an_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_MOST_STEPS", 50_000)
    far = [directory("d"), symlink("l", "d/../" * 800 + "d")]
    with pytest.raises(Damaged, match="ways through symbolic links are too long"):
        place.take(*far, *[entry(f"l/{number}") for number in range(100)])


@pytest.mark.parametrize("kind", ["plain", "gzip"])
def test_a_truncated_layer_is_refused_wherever_it_is_cut(place: Place, kind: str) -> None:
    tar = make_tar(directory("d"), entry("d/f", os.urandom(3000)), symlink("l", "d/f"))
    content = len(tar.rstrip(b"\0"))
    data = gzip.compress(tar, 1) if kind == "gzip" else tar[:content]
    padding = range(1024 + 3000, 1024 + 3072) if kind == "plain" else ()
    for length in range(1, len(data) - 1, 97):
        if length in padding:
            continue
        with pytest.raises(Damaged):
            place.unpack(data[:length])


def test_the_diff_id_covers_what_follows_the_archive(place: Place) -> None:
    tar = make_tar(entry("f", b"x")) + b"junk after the end"
    assert place.unpack(tar).diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()


def test_a_layer_without_entries_is_a_layer(place: Place) -> None:
    assert place.unpack(bytes(1024)).diff_id == "sha256:" + hashlib.sha256(bytes(1024)).hexdigest()
    assert place.unpack(b"").entries == 0


def test_more_directories_than_descriptors(place: Place) -> None:
    names = [f"d{number}/e" for number in range(400)]
    entries = [entry(f"{name}/{file}", b"x") for file in range(2) for name in names]
    links = [hard_link(f"d{number}/link", f"d{(number * 7 + 3) % 400}/e/1") for number in range(400)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        place.take(*entries, *links)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sum(len(files) for _place, _names, files in os.walk(place.fs)) == 1200


def test_threads_unpack_side_by_side(tmp_path: Path) -> None:
    tar = make_tar(*[entry(f"d{n % 7}/{n}", b"x" * n, mode=0o666) for n in range(200)])
    for number in range(4):
        (tmp_path / str(number)).mkdir()
    threads = [
        threading.Thread(target=unpack, args=(io.BytesIO(tar), str(tmp_path / str(number)))) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trees = [describe(tmp_path / str(number), times=False) for number in range(4)]
    assert trees[0] == trees[1] == trees[2] == trees[3] and len(trees[0]) == 208


@pytest.mark.parametrize(
    "what",
    [
        lambda number: directory(f"d{number}", pax_headers=xattrs(user__x="a" * 40_000)),
        lambda number: directory("./" * 20_000 + f"d{number}"),
        lambda number: directory(f"d{number}", pax_headers={"linkpath": "x" * 40_000}),
        lambda number: directory(f"d{number}", pax_headers=xattrs(security__selinux="x" * 40_000)),
        lambda number: hard_link(f"l{number}", "missing/" + "x" * 40_000),
    ],
)
def test_what_is_kept_until_the_end_is_limited(place: Place, monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    monkeypatch.setattr(unpack_module, "_MOST_HELD", 200_000)
    tracemalloc.start()
    tar = make_tar(*map(what, range(100)))
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    with contextlib.suppress(Damaged):
        place.unpack(tar)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 3_000_000


def test_directories_that_no_entry_describes_count_as_entries(place: Place) -> None:
    deep = [entry(f"{number}/" + "a/" * 50 + "f") for number in range(10)]
    assert place.take(*deep).entries == 10
    with pytest.raises(Damaged, match="more than 400 entries"):
        place.take(*deep, limits=UnpackLimits(max_entries=400))
