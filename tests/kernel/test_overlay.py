# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Overlays against the real kernel: many layers, whiteouts, idmapped layers, both ways of mounting, errors."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Invalid,
    NotFound,
    SyscallError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel import mounts, namespaces, overlay
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.idmapping import tmpfs_can_be_idmapped
from tests.support.isolated import mount_table, run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Store:
    """Layers and a writable directory on a tmpfs of the test's own mount namespace, or on what is there."""

    def __init__(self, place: Path, *, layers: int = 2, name_length: int = 8, tmpfs: bool = True) -> None:
        if tmpfs:
            mounts.attach_at(mounts.new_filesystem("tmpfs"), str(place))
        self.place = place
        self.upper, self.work = str(place / "upper"), str(place / "work")
        os.mkdir(self.upper)
        os.mkdir(self.work)
        self.layers = [str(place / f"{number:0{name_length}}" / "fs") for number in range(layers)]
        for number, layer in enumerate(self.layers):
            os.makedirs(layer)
            Path(layer, f"file{number}").write_text(str(number))
            Path(layer, "same").write_text(f"layer {number}")

    def stack(self, **options: Any) -> int:
        return overlay.overlay_mount(self.layers, self.upper, self.work, **options)

    def stack_old(self, idmap_fd: int = -1) -> int:
        return overlay.stack_by_option_string(self.layers, self.upper, self.work, idmap_fd)


def read(directory_fd: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory_fd)
    with os.fdopen(fd) as file:
        return file.read()


def write(directory_fd: int, name: str, text: str) -> None:
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory_fd), "w") as file:
        file.write(text)


def listing(directory_fd: int) -> list[str]:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory_fd)
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


@pytest.mark.parametrize("way", ["stack", "stack_old"])
def test_the_topmost_layer_wins_and_writes_go_to_upper(tmp_path: Path, way: str) -> None:
    def act() -> Any:
        store = Store(tmp_path)
        fd = getattr(store, way)()
        before = read(fd, "same")
        write(fd, "same", "written")
        return (
            before,
            read(fd, "same"),
            Path(store.upper, "same").read_text(),
            Path(store.layers[0], "same").read_text(),
        )

    assert run_isolated(act) == ("layer 0", "written", "written", "layer 0")


@pytest.mark.parametrize("way", ["stack", "stack_old"])
@pytest.mark.parametrize("count", [127, 500])
def test_many_layers_with_long_names_are_all_seen(tmp_path: Path, way: str, count: int) -> None:
    def act() -> list[str]:
        return listing(getattr(Store(tmp_path, layers=count, name_length=64), way)())

    assert run_isolated(act) == sorted(["same", *(f"file{number}" for number in range(count))])


def test_more_layers_than_the_kernel_stacks_are_counted_in_the_error(tmp_path: Path) -> None:
    def act() -> None:
        store = Store(tmp_path, layers=501)
        with pytest.raises(SyscallError, match=r"upper: EINVAL; 501 lower layers, this kernel's limit is 500"):
            store.stack()

    run_isolated(act)


def test_paths_longer_than_an_option_and_with_odd_characters_work(tmp_path: Path) -> None:
    def act() -> list[str]:
        place = tmp_path
        mounts.attach_at(mounts.new_filesystem("tmpfs"), str(place))
        deep = place / ("x" * 200) / ("y" * 200)
        odd = place / "a:b,c\\d"
        for layer, name in ((deep, "deep"), (odd, "odd")):
            layer.mkdir(parents=True)
            (layer / name).write_text("")
        for name in ("up\\per", "work"):
            (odd / "..").joinpath(name).resolve().mkdir()
        return listing(overlay.overlay_mount([str(deep), str(odd)], str(place / "up\\per"), str(place / "work")))

    assert run_isolated(act) == ["deep", "odd"]


@pytest.mark.parametrize("way", ["stack", "stack_old"])
def test_whiteouts_and_opaque_directories_hide_lower_layers(tmp_path: Path, way: str) -> None:
    def act() -> Any:
        store = Store(tmp_path, layers=3)
        top, bottom = store.layers[0], store.layers[2]
        os.mknod(top + "/file2", stat.S_IFCHR, 0)
        for layer in (top, bottom):
            os.mkdir(layer + "/dir")
        Path(bottom, "dir", "hidden").write_text("")
        Path(top, "dir", "shown").write_text("")
        os.setxattr(top + "/dir", "trusted.overlay.opaque", b"y")
        fd = getattr(store, way)()
        inner = os.open("dir", os.O_RDONLY, dir_fd=fd)
        seen = listing(fd), listing(inner)
        os.unlink("file1", dir_fd=fd)
        status = os.lstat(store.upper + "/file1")
        return seen, stat.S_ISCHR(status.st_mode), status.st_rdev, listing(fd)

    seen, is_device, number, after = run_isolated(act)
    assert seen == (["dir", "file0", "file1", "same"], ["shown"])
    assert is_device and number == 0 and "file1" not in after


def test_no_extension_makes_the_upper_directory_depend_on_its_layers(tmp_path: Path) -> None:
    def act() -> str:
        fd = Store(tmp_path).stack()
        mounts.attach_at(fd, "/mnt")
        os.mkdir("/mnt/d")
        return next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " /mnt " in line)

    line = run_isolated(act)
    assert "redirect_dir=on" not in line and "metacopy=on" not in line and "index=on" not in line


def test_the_mount_table_does_not_show_the_overlay_and_no_descriptor_stays(tmp_path: Path) -> None:
    def act() -> Any:
        store = Store(tmp_path, layers=20)
        table, descriptors = mount_table(), len(os.listdir("/proc/self/fd"))
        fds = [store.stack(), store.stack_old()]
        shown = mount_table() - table
        for fd in fds:
            os.close(fd)
        return shown, len(os.listdir("/proc/self/fd")) - descriptors

    assert run_isolated(act) == (set(), 0)


@pytest.mark.parametrize("upper", [True, False])
def test_a_read_only_overlay_refuses_writes(tmp_path: Path, upper: bool) -> None:
    def act() -> Any:
        store = Store(tmp_path)
        if not upper:
            store.upper = store.work = ""
        fd = store.stack(read_only=upper)
        with pytest.raises(OSError, match="Read-only"):
            write(fd, "x", "x")
        return listing(fd)

    assert run_isolated(act) == ["file0", "file1", "same"]


@pytest.mark.parametrize(("layers", "upper"), [(1, False), (0, True), (1, True)])
def test_few_directories_make_a_root_too(tmp_path: Path, layers: int, upper: bool) -> None:
    def act() -> list[str]:
        store = Store(tmp_path, layers=layers)
        if upper:
            Path(store.upper, "own").write_text("")
        else:
            store.upper = store.work = ""
        return listing(store.stack())

    assert run_isolated(act) == [*(["file0"] * layers), *(["own"] * upper), *(["same"] * layers)]


@pytest.mark.parametrize("way", ["stack", "stack_old"])
def test_owners_are_shifted_on_layers_and_upper_and_stored_unshifted(tmp_path: Path, way: str) -> None:
    def inner(fd: int) -> Any:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        write(fd, "new", "x")
        write(fd, "same", "copied up")
        status = os.stat("file0", dir_fd=fd)
        return status.st_uid, os.stat("new", dir_fd=fd).st_uid

    tmpfs = tmpfs_can_be_idmapped(tmp_path)

    def act() -> Any:
        store = Store(tmp_path, tmpfs=tmpfs)
        user_fd = namespaces.make_user_namespace([(0, 100000, 65536)], [(0, 100000, 65536)])
        fd = getattr(store, way)(idmap_fd=user_fd)
        outside = os.stat("file1", dir_fd=fd).st_uid

        def enter() -> Any:
            calls.setns(user_fd)
            return inner(fd)

        inside = run_isolated(enter, namespaces=())
        return outside, inside, os.stat(store.upper + "/new").st_uid, os.stat(store.upper + "/same").st_uid

    assert run_isolated(act) == (100000, (0, 0), 0, 0)


@pytest.mark.parametrize("way", ["stack", "stack_old"])
def test_a_missing_layer_is_named(tmp_path: Path, way: str) -> None:
    def act() -> None:
        store = Store(tmp_path)
        store.layers.insert(1, "/no/such/layer")
        with pytest.raises((NotFound, FileNotFoundError)) as caught:
            getattr(store, way)()
        if way == "stack":
            assert "/no/such/layer does not exist" in str(caught.value)

    run_isolated(act)


def test_a_writable_directory_on_an_overlay_is_refused_with_a_hint(tmp_path: Path) -> None:
    def act() -> None:
        store = Store(tmp_path)
        mounts.attach_at(store.stack(), "/mnt")
        for name in ("u", "w"):
            os.mkdir("/mnt/" + name)
        with pytest.raises(SyscallError, match="must be on ext4"):
            overlay.overlay_mount(store.layers, "/mnt/u", "/mnt/w")

    run_isolated(act)


def test_an_overlay_of_nothing_is_invalid() -> None:
    with pytest.raises(Invalid, match="neither layers nor"):
        overlay.overlay_mount([], "", "")


def test_a_kernel_without_overlayfs_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel's own ENODEV, in both ways of mounting.
    monkeypatch.setattr(overlay, "fsopen", lambda _kind: calls.fsopen("nooverlay"))
    monkeypatch.setattr(overlay, "mount", lambda source, at, _kind, *rest: calls.mount(source, at, "nooverlay", *rest))
    with pytest.raises(Unsupported, match="no overlayfs.*modprobe overlay"):
        overlay.overlay_mount(["/usr", "/etc"], "", "")


def test_the_kernel_s_log_has_no_complaint_about_a_mount_that_succeeds(tmp_path: Path) -> None:
    def messages() -> int:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as log:
            count = 0
            while True:
                try:
                    record = os.read(log.fileno(), 8192)
                except BlockingIOError:
                    return count
                except BrokenPipeError:  # overwritten meanwhile; the next one is there
                    continue
                count += b"overlayfs: unrecognized" in record

    before = messages()
    run_isolated(lambda: os.close(Store(tmp_path).stack()))
    assert messages() <= before
