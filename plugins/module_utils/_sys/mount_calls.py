# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The calls that make, change, move and remove mounts. No policy: every flag is the caller's.

File descriptors that are returned belong to the caller and are close-on-exec. All raise OSError.
Source: mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2),
mount_setattr(2).
"""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_ulong
from struct import pack

from .libc import encoded, system_call
from .mount_flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_CMD_RECONFIGURE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_PATH,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .libc import Path

_mount = system_call("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = system_call("umount2", c_char_p, c_int)
_pivot_root = system_call("pivot_root", c_char_p, c_char_p)
_open_tree = system_call("open_tree", c_int, c_char_p, c_uint)
_move_mount = system_call("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = system_call("fsopen", c_char_p, c_uint)
_fsconfig = system_call("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = system_call("fsmount", c_int, c_uint, c_uint)
_mount_setattr = system_call("mount_setattr", c_int, c_char_p, c_uint, c_char_p, c_size_t)


def mount(source: Path | None, target: Path, kind: str | None, flags: int, data: Path | None = None) -> None:
    """mount(2); `data` is the file system's options, at most a page."""
    _mount(encoded(source), encoded(target), encoded(kind), flags, encoded(data))


def umount2(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    _umount2(encoded(target), flags)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """pivot_root(2); both may be `.`, then the old root lies over the new one until it is unmounted."""
    _pivot_root(encoded(new_root), encoded(put_old))


def open_tree(dir_fd: int, path: Path, flags: int) -> int:
    """open_tree(2): an O_PATH descriptor, of a detached copy of the mount with OPEN_TREE_CLONE."""
    return _open_tree(dir_fd, encoded(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(from_fd: int, to_fd: int = AT_FDCWD, to_path: Path = b"", flags: int = 0) -> None:
    """move_mount(2) of the mount that `from_fd` itself is. An empty `to_path` needs MOVE_MOUNT_T_EMPTY_PATH."""
    _move_mount(from_fd, b"", to_fd, encoded(to_path), flags | MOVE_MOUNT_F_EMPTY_PATH)


def fsopen(kind: str) -> int:
    """fsopen(2): a context in which a file system of this kind is configured."""
    return _fsopen(encoded(kind), FSOPEN_CLOEXEC)


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set an option that has no value."""
    _fsconfig(fs_fd, FSCONFIG_SET_FLAG, encoded(key), None, 0)


def fsconfig_string(fs_fd: int, key: str, value: Path) -> None:
    """Set an option to a string of at most 255 bytes (the kernel's limit; longer is EINVAL)."""
    _fsconfig(fs_fd, FSCONFIG_SET_STRING, encoded(key), encoded(value), 0)


def fsconfig_path(fs_fd: int, key: str, path: Path, dir_fd: int = AT_FDCWD) -> None:
    """Set an option to what a path names; only file systems that ask for paths take it."""
    _fsconfig(fs_fd, FSCONFIG_SET_PATH, encoded(key), encoded(path), dir_fd)


def fsconfig_fd(fs_fd: int, key: str, value_fd: int) -> None:
    """Set an option to an open file."""
    _fsconfig(fs_fd, FSCONFIG_SET_FD, encoded(key), None, value_fd)


def fsconfig_create(fs_fd: int) -> None:
    """Make the super block from the options set so far."""
    _fsconfig(fs_fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsconfig_reconfigure(fs_fd: int) -> None:
    """Apply the options set so far to an existing super block."""
    _fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, None, None, 0)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount of the created super block, with MOUNT_ATTR_ flags."""
    return _fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes)


def fscontext_log(fs_fd: int) -> str:
    """What the file system itself said about a context that went wrong, one message per line; empty if nothing."""
    lines = []
    while True:
        try:
            line = os.read(fs_fd, 4096)
        except OSError:  # ENODATA: read to the end
            break
        lines.append(line.decode("utf-8", "replace").rstrip("\n"))
    return "\n".join(lines)


def mount_setattr(
    dir_fd: int, path: Path, flags: int, *, set_: int = 0, clear: int = 0, propagation: int = 0, userns_fd: int = 0
) -> None:
    """mount_setattr(2); an empty path means `dir_fd` itself. `flags` may hold AT_RECURSIVE."""
    attributes = pack("=4Q", set_, clear, propagation, userns_fd)
    empty = 0 if path else AT_EMPTY_PATH
    _mount_setattr(dir_fd, encoded(path), flags | empty, attributes, len(attributes))
