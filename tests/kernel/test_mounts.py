# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Mounts, targets and masks against the real kernel, in mount namespaces of their own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Denied,
    Invalid,
    NotFound,
    SyscallError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel import mounts, namespaces, own_mounts, probes, targets
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.isolated import mount_table, mounts_below, run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(autouse=True, params=["mount_setattr", "before Linux 5.12"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with and without the call that came with Linux 5.12."""
    if request.param != "mount_setattr":
        if "idmapped" in request.node.name:
            pytest.skip("came with the same call")
        monkeypatch.setattr(mounts, "mount_setattr", no_such_call)
    elif probes.release_numbers(os.uname().release) < (5, 12):
        pytest.skip("this kernel has no mount_setattr")


def no_such_call(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in ("proc", "sys", "dev", "etc", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "hostname").write_text("image\n")
    return str(tmp_path)


def open_root(root: str) -> int:
    """A private bind of the directory on itself, as a container's root is a mount."""
    fd = mounts.clone_tree(root)
    mounts.attach_at(fd, root)
    return fd


def mount_line(path: str) -> list[str]:
    return [line for line in mounts_below(path) if line[4] == path][-1]


def options_of(path: str) -> set[str]:
    return set(mount_line(path)[5].split(","))


def test_a_new_tmpfs_has_the_options_of_mount_and_file_system(root: str) -> None:
    def act() -> list[str]:
        fd = open_root(root)
        targets.mount_inside(fd, "tmpfs", "/data", options="nosuid,nodev,noexec,size=64k,mode=1777,nr_inodes=7")
        assert os.stat(root + "/data").st_mode & 0o7777 == 0o1777
        return mount_line(root + "/data")

    line = run_isolated(act)
    assert {"nosuid", "nodev", "noexec"} <= set(line[5].split(","))
    assert "size=64k" in line[-1] and "nr_inodes=7" in line[-1]
    assert line[line.index("-") + 1] == "tmpfs"


def test_nothing_shows_in_the_mount_table_before_it_is_attached() -> None:
    def act() -> set[str]:
        before = mount_table()
        fd = mounts.new_filesystem("tmpfs")
        os.mkdir("x", dir_fd=fd)
        return mount_table() - before

    assert run_isolated(act) == set()


def test_a_bad_option_names_the_file_system_and_what_it_said() -> None:
    with pytest.raises(SyscallError, match=r"mount tmpfs \(size=lots\): EINVAL; .*[sS]ize"):
        mounts.new_filesystem("tmpfs", options="size=lots")


def test_an_unknown_file_system_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="no file system nosuchfs"):
        mounts.new_filesystem("nosuchfs")


def test_proc_sysfs_mqueue_and_devpts_can_be_mounted(root: str) -> None:
    def act() -> Any:
        fd = open_root(root)
        targets.mount_inside(fd, "proc", "/proc", flags=("nosuid", "nodev", "noexec"))
        targets.mount_inside(fd, "sysfs", "/sys", flags=("ro",))
        targets.mount_inside(fd, "tmpfs", "/dev", options="mode=755,size=64k")
        targets.mount_inside(fd, "devpts", "/dev/pts", options="newinstance,ptmxmode=0666,mode=0620,gid=5")
        targets.mount_inside(fd, "mqueue", "/dev/mqueue")
        return os.listdir(root + "/dev/pts"), os.readlink(root + "/proc/self"), [m[4] for m in mounts_below(root)]

    pts, pid, points = run_isolated(act, namespaces=("mount", "pid", "ipc", "net"))
    assert pts == ["ptmx"] and pid == "1"
    assert {root + "/proc", root + "/sys", root + "/dev/pts", root + "/dev/mqueue"} <= set(points)


def test_a_read_only_bind_is_read_only_for_the_whole_tree(root: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "below").mkdir()

    def act() -> Any:
        mounts.attach_at(mounts.new_filesystem("tmpfs"), str(source / "below"))
        fd = open_root(root)
        targets.bind(fd, str(source), "/data/new/place", flags=("ro", "nosuid", "nodev"))
        with pytest.raises(OSError, match="Read-only"):
            open(root + "/data/new/place/below/x", "w")
        (source / "below" / "x").write_text("the source itself stays writable")
        return [options_of(root + "/data/new/place" + end) for end in ("", "/below")]

    for options in run_isolated(act):
        assert {"ro", "nosuid", "nodev"} <= options


def test_a_missing_bind_source_is_named(root: str) -> None:
    def act() -> None:
        with pytest.raises(NotFound, match="mount /no/such/source: no such file"):
            targets.bind(open_root(root), "/no/such/source", "/data")

    run_isolated(act)


def test_a_file_is_bound_on_a_file_that_is_made(root: str) -> None:
    def act() -> str:
        fd = open_root(root)
        Path(root, "data", "f").write_text("host")
        targets.bind(fd, root + "/data/f", "/etc/deep/f")
        return Path(root, "etc/deep/f").read_text()

    assert run_isolated(act) == "host"
    assert Path(root, "etc/deep/f").read_text() == ""


def test_a_directory_can_not_be_bound_on_a_file(root: str) -> None:
    def act() -> None:
        with pytest.raises(Invalid, match="mount on /etc/hostname: a directory"):
            targets.bind(open_root(root), root + "/data", "/etc/hostname")

    run_isolated(act)


@pytest.mark.parametrize("link", ["/", "../../../../..", "/proc/self/root", "/etc"])
def test_links_in_the_image_never_lead_out_of_the_root(root: str, link: str) -> None:
    outside = "/escaped-by-a-link"
    os.symlink(link, root + "/data/link")

    def act() -> Any:
        fd = open_root(root)
        target = targets.open_target(fd, "/data/link/escaped-by-a-link/a/b", directory=True)
        return targets.path_inside(fd, target), os.path.exists(outside), os.path.exists("/etc" + outside)

    inside, escaped, escaped_to_etc = run_isolated(act)
    assert inside.endswith("/escaped-by-a-link/a/b") and not escaped and not escaped_to_etc
    assert any(files for _, _, files in os.walk(root)) and os.path.isdir(root + inside)


def test_a_dangling_link_is_completed_inside_the_root(root: str) -> None:
    os.symlink("../run/resolve/stub.conf", root + "/etc/resolv.conf")
    fd = os.open(root, os.O_PATH)
    try:
        os.close(targets.open_target(fd, "/etc/resolv.conf", directory=False))
    finally:
        os.close(fd)
    assert os.path.isfile(root + "/run/resolve/stub.conf")


def test_a_loop_of_links_is_refused(root: str) -> None:
    os.symlink("loop", root + "/loop")
    fd = os.open(root, os.O_PATH)
    try:
        with pytest.raises(Denied, match="links"):
            targets.open_target(fd, "/loop/x", directory=True)
    finally:
        os.close(fd)


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/data/link/self", "/"])
def test_nothing_is_mounted_over_proc_or_the_root(root: str, target: str) -> None:
    os.symlink("../proc", root + "/data/link")

    def act() -> int:
        fd = open_root(root)
        targets.mount_inside(fd, "proc", "/proc")
        before = len(mounts_below(root))
        with pytest.raises((Denied, Invalid)):
            targets.mount_inside(fd, "tmpfs", target)
        return len(mounts_below(root)) - before

    assert run_isolated(act, namespaces=("mount", "pid")) == 0


def test_proc_is_not_mounted_through_a_link(root: str) -> None:
    os.rmdir(root + "/proc")
    os.symlink("data", root + "/proc")

    def act() -> None:
        with pytest.raises(Denied, match="a link in the image leads to /data"):
            targets.mount_inside(open_root(root), "proc", "/proc")

    run_isolated(act, namespaces=("mount", "pid"))


def test_masks_hide_files_and_directories_and_skip_what_is_missing(root: str) -> None:
    for name in ("a", "b"):
        os.mkdir(f"{root}/data/{name}")
        Path(root, "data", name, "secret").write_text("secret")

    def act() -> Any:
        fd = open_root(root)
        with targets.Masks(fd) as masks:
            for path in ("/etc/hostname", "/data/a", "/data/b", "/data/missing", "/etc/hostname/below"):
                masks.hide(path)
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir(root + "/data/b/x")
        return Path(root, "etc/hostname").read_bytes(), os.listdir(root + "/data/a"), os.listdir(root + "/data/b")

    fds_before = len(os.listdir("/proc/self/fd"))
    assert run_isolated(act) == (b"", [], [])
    assert len(os.listdir("/proc/self/fd")) == fds_before


def test_a_mask_is_refused_where_the_null_device_is_not_one_or_a_link_is_in_the_way(root: str) -> None:
    Path(root, "dev", "null").write_text("not null")
    os.symlink("hostname", root + "/etc/link")

    def act() -> None:
        fd = open_root(root)
        with pytest.raises(Denied, match="not the null device"):
            targets.Masks(fd, root + "/dev/null")
        with targets.Masks(fd) as masks, pytest.raises(Denied, match="link"):
            masks.hide("/etc/link")

    run_isolated(act)


def test_a_protected_path_is_read_only_with_all_below_and_keeps_its_other_options(root: str) -> None:
    def act() -> Any:
        fd = open_root(root)
        targets.mount_inside(fd, "tmpfs", "/data", options="nosuid,noexec")
        targets.mount_inside(fd, "tmpfs", "/data/below")
        targets.protect(fd, "/data")
        targets.protect(fd, "/data/missing")
        return [options_of(root + "/data" + end) for end in ("", "/below")]

    above, below = run_isolated(act)
    assert {"ro", "nosuid", "noexec"} <= above and "ro" in below and "noexec" not in below


def test_pivot_leaves_the_new_root_alone_in_the_namespace(root: str) -> None:
    def act() -> Any:
        fd = mounts.new_filesystem("tmpfs", options="mode=755")
        mounts.cover_root(fd)
        os.mkdir("proc", dir_fd=fd)
        targets.bind(fd, root + "/etc", "/etc")
        targets.mount_inside(fd, "proc", "/proc")
        mounts.pivot(fd)
        return sorted(os.listdir("/")), os.getcwd(), [line[4] for line in mounts_below("/")], os.listdir("/etc")

    listing, cwd, points, etc = run_isolated(act, namespaces=("mount", "pid"))
    assert listing == ["etc", "proc"] and cwd == "/" and etc == ["hostname"]
    assert sorted(points) == ["/", "/etc", "/proc"]


def test_a_user_namespace_keeps_locked_attributes_and_sets_stricter_ones(root: str) -> None:
    def inner() -> set[str]:
        fd = mounts.clone_tree(root)
        mounts.set_attributes(fd, ("rw", "suid", "noexec"))
        mounts.attach_at(fd, root)
        return options_of(root)

    def act() -> set[str]:
        fd = mounts.clone_tree(root)
        mounts.set_attributes(fd, ("ro", "nosuid"))
        mounts.attach_at(fd, root)
        user_fd = namespaces.make_user_namespace([(0, 0, 65536)], [(0, 0, 65536)])
        calls.setns(user_fd)
        options: set[str] = run_isolated(inner, namespaces=("mount",))
        return options

    assert {"ro", "nosuid", "noexec"} <= run_isolated(act)


def test_an_idmapped_copy_shows_shifted_owners(root: str) -> None:
    Path(root, "data", "f").write_text("x")

    def act() -> tuple[int, int]:
        user_fd = namespaces.make_user_namespace([(0, 100000, 65536)], [(0, 200000, 65536)])
        fd = mounts.clone_tree(root + "/data")
        mounts.idmap(fd, user_fd)
        status = os.stat("f", dir_fd=fd)
        return status.st_uid, status.st_gid

    assert run_isolated(act) == (100000, 200000)


def test_a_file_system_that_can_not_be_idmapped_is_unsupported() -> None:
    def act() -> None:
        user_fd = namespaces.make_user_namespace([(0, 100000, 65536)], [(0, 200000, 65536)])
        with pytest.raises(Unsupported, match="can't be idmapped"):
            mounts.idmap(mounts.new_filesystem("proc"), user_fd)

    run_isolated(act)


def test_a_root_is_pivoted_to_from_below_a_chroot(root: str) -> None:
    def act() -> tuple[list[str], bool]:
        os.mkdir(f"{root}/jail")
        os.mkdir(f"{root}/jail/proc")
        tree = mounts.clone_tree(root, recursive=False)
        calls.mount("proc", f"{root}/jail/proc", "proc", 0)
        os.chroot(f"{root}/jail")  # not a mount point
        os.chdir("/")
        own_mounts.own_root()
        mounts.cover_root(tree)
        mounts.pivot(tree)
        return sorted(os.listdir("/")), os.path.exists(root)

    names, host_seen = run_isolated(act)
    assert names == ["data", "dev", "etc", "jail", "proc", "sys"]
    assert not host_seen


@pytest.mark.parametrize(("word", "tags"), [("rprivate", ()), ("rslave", ("master",)), ("rshared", ("shared",))])
def test_a_mount_has_the_propagation_that_it_was_given(root: str, word: str, tags: tuple[str, ...]) -> None:
    def act() -> list[str]:
        mounts.attach_at(mounts.new_filesystem("tmpfs"), root + "/etc")
        mounts.set_propagation(root + "/etc", "shared")
        fd = mounts.clone_tree(root + "/etc")
        mounts.set_attributes(fd, ("ro", "nosuid"), recursive=True)
        mounts.set_propagation(fd, word)
        mounts.attach_at(fd, root + "/data")
        return mount_line(root + "/data")

    line = run_isolated(act)
    assert {"ro", "nosuid"} <= set(line[5].split(","))
    assert tuple(tag.partition(":")[0] for tag in line[6 : line.index("-")]) == tags


def test_attributes_that_are_not_named_stay_as_they_are_on_each_mount_of_a_tree(root: str) -> None:
    def act() -> list[set[str]]:
        for place, words in (("/data", "noexec,noatime"), ("/data/a b", "nodev"), ("/data/a b/c", "nosuid")):
            os.makedirs(root + place, exist_ok=True)
            mounts.attach_at(mounts.new_filesystem("tmpfs", options=words), root + place)
        fd = mounts.clone_tree(root + "/data")
        mounts.set_attributes(fd, ("ro", "exec"), recursive=True)
        os.mkdir(root + "/copy")
        mounts.attach_at(fd, root + "/copy")
        return [options_of(root + "/copy" + end) for end in ("", r"/a\040b", r"/a\040b/c")] + [
            options_of(root + "/data")
        ]

    shown = run_isolated(act)
    wanted = ["ro,noatime", "ro,nodev,relatime", "ro,nosuid,relatime", "rw,noexec,noatime"]
    assert shown == [set(words.split(",")) for words in wanted]
