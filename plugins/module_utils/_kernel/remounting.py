# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What mount_setattr(2) does, for kernels before 5.12: mount(2), which reaches only mounts that are attached.

A detached mount is attached in a child's mount namespace, changed there, and copied; the copy takes the place of the
descriptor, so the caller sees no difference but in time (about a millisecond). Of several mounts on one place only the
uppermost is changed: nothing leads to the others. A mount that can't be reached for another reason is an error: who can
rename what lies in the tree, by another mount of it, could bring it to light later.

Source: mount(2), fs/namespace.c do_reconfigure_mnt; proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import stat
from errno import EBUSY, EINVAL

from .._sys import mount_flags as m
from .._sys.mount_calls import mount, move_mount, open_tree
from .._sys.sched_flags import CLONE_NEWNS
from .mount_options import attribute_masks, is_attribute
from .mount_table import unescape
from .own_mounts import in_child, own_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SAME_BITS = m.MS_RDONLY | m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
_ATIME = {m.MOUNT_ATTR_RELATIME: m.MS_RELATIME, m.MOUNT_ATTR_NOATIME: m.MS_NOATIME}


def change_attributes(mount_fd: int, *, set_: int, clear: int, recursive: bool) -> None:
    """Set and clear MOUNT_ATTR_ bits of a mount, or of its whole tree. Raises OSError."""
    _change(mount_fd, lambda: _remount_tree(mount_fd, set_, clear, recursive))


def change_propagation(where: int | str, flag: int, *, recursive: bool) -> None:
    """Set the propagation (MS_SLAVE ...) of a mount given by descriptor or path. Raises OSError."""
    flags = flag | (m.MS_REC if recursive else 0)
    if isinstance(where, str):
        mount(None, where, None, flags)
        return
    _change(where, lambda: mount(None, _magic(where), None, flags))


def _change(mount_fd: int, change: Callable[[], None]) -> None:
    """Change the mount where it is attached, or else in a namespace of a child's."""
    try:
        change()
    except OSError as error:
        if error.errno != EINVAL:
            raise
        in_child(CLONE_NEWNS, lambda: _change_apart(mount_fd, change))


def _change_apart(mount_fd: int, change: Callable[[], None]) -> int:
    """In a child: the changed mount takes the place of the descriptor, which both processes share."""
    own_root()
    is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
    move_mount(mount_fd, m.AT_FDCWD, "/" if is_directory else "/dev/null")
    try:
        change()
    finally:  # what it was moved to ends with this child
        copy = open_tree(mount_fd, "", m.OPEN_TREE_CLONE | m.AT_RECURSIVE | m.AT_EMPTY_PATH)
        os.dup2(copy, mount_fd, inheritable=False)
        os.close(copy)
    return mount_fd


def _remount_tree(mount_fd: int, set_: int, clear: int, recursive: bool) -> None:
    table = _mount_table()
    top = _mount_id(mount_fd)
    if top not in table:
        raise OSError(EINVAL, "the mount is not attached here")
    base = table[top][1].rstrip("/")
    for identity in _reachable(table, top) if recursive else [top]:
        _, path, options = table[identity]
        fd = _open_below(mount_fd, path[len(base) :].strip("/"))
        try:
            if _mount_id(fd) == identity:
                _remount(fd, set_, clear, options)
            elif identity in _mount_table():
                raise OSError(EBUSY, f"the mount at {path} was moved meanwhile, or another hides it")
        finally:
            os.close(fd)


def _open_below(mount_fd: int, path: str) -> int:
    """What lies there now; where nothing does, the mount itself."""
    if not path:
        return os.dup(mount_fd)
    try:
        return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=mount_fd)
    except (FileNotFoundError, NotADirectoryError):
        return os.dup(mount_fd)


def _remount(fd: int, set_: int, clear: int, options: str) -> None:
    present = attribute_masks(word for word in options.split(",") if is_attribute(word))[0]
    if not {"noatime", "relatime"}.intersection(options.split(",")):
        present |= m.MOUNT_ATTR_STRICTATIME
    mount(None, _magic(fd), None, m.MS_REMOUNT | m.MS_BIND | mount_flags_of(present & ~clear | set_))


def mount_flags_of(attributes: int) -> int:
    """The MS_ flags of mount(2) that say what these MOUNT_ATTR_ bits say. Pure."""
    flags = attributes & _SAME_BITS
    flags |= _ATIME.get(attributes & m.MOUNT_ATTR__ATIME, m.MS_STRICTATIME)
    if attributes & m.MOUNT_ATTR_NODIRATIME:
        flags |= m.MS_NODIRATIME
    if attributes & m.MOUNT_ATTR_NOSYMFOLLOW:
        flags |= m.MS_NOSYMFOLLOW
    return flags


def _magic(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _mount_table() -> dict[int, tuple[int, str, str]]:
    """The mounts of this namespace by number: the parent's number, the path, the mount's own options."""
    table = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            table[int(fields[0])] = (int(fields[1]), unescape(fields[4]), fields[5])
    return table


def _reachable(table: dict[int, tuple[int, str, str]], top: int) -> list[int]:
    """The mount and all that are mounted below it; not what lies under another one's root, which covers it for good."""
    found, pending = [], [top]
    for identity in pending:
        below = [child for child, (parent, _, _) in table.items() if parent == identity and child != identity]
        covers = [child for child in below if table[child][1] == table[identity][1] and identity != top]
        if not covers:
            found.append(identity)
        pending += covers or below
    return found
