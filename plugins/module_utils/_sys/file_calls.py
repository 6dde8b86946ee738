# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Calls on files that `os` lacks: openat2, sealed memory files, close_range, syncfs, fstatfs. All raise OSError.

Source: openat2(2), memfd_create(2), close_range(2), syncfs(2), statfs(2).
"""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_size_t, c_uint, create_string_buffer
from errno import EINVAL
from struct import pack, unpack_from

from .libc import encoded, system_call
from .open_flags import (
    CLOSE_RANGE_CLOEXEC,
    F_ADD_SEALS,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .libc import Path

_openat2 = system_call("openat2", c_int, c_char_p, c_char_p, c_size_t)
_memfd_create = system_call("memfd_create", c_char_p, c_uint)
_close_range = system_call("close_range", c_uint, c_uint, c_uint)
_syncfs = system_call("syncfs", c_int)
_fstatfs = system_call("fstatfs", c_int, c_char_p)

_LAST_FD = 0xFFFFFFFF
_LOW_FDS = 1024


def openat2(dir_fd: int, path: Path, flags: int, *, resolve: int = 0, mode: int = 0) -> int:
    """Open with RESOLVE_ restrictions on how the path is walked. The descriptor is close-on-exec."""
    how = pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    return _openat2(dir_fd, encoded(path), how, len(how))


def memfd_create(name: str, flags: int = MFD_CLOEXEC) -> int:
    """An anonymous file in memory."""
    return _memfd_create(encoded(name), flags)


def sealed_memory_file(name: str, content: bytes) -> int:
    """A memory file with this content that nobody can change any more, positioned at its start. Close-on-exec."""
    from fcntl import fcntl

    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)
    try:
        written = 0
        while written < len(content):
            written += os.write(fd, content[written:])
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def close_range(first: int, last: int = _LAST_FD, flags: int = 0) -> None:
    """Close all descriptors from `first` to `last`, or mark them with CLOSE_RANGE_CLOEXEC."""
    try:
        _close_range(first, last, flags)
    except OSError as error:
        if error.errno != EINVAL or flags != CLOSE_RANGE_CLOEXEC or last != _LAST_FD:
            raise
        _mark_low_ones(first)


def _mark_low_ones(first: int) -> None:
    """Before Linux 5.11 there is no such mark. Who wants all of them marked has few, and they have low numbers."""
    for fd in range(first, _LOW_FDS):
        try:
            os.set_inheritable(fd, False)
        except OSError:  # not open
            pass
    _close_range(max(first, _LOW_FDS), _LAST_FD, 0)


def syncfs(fd: int) -> None:
    """Write what is dirty in the file system of the descriptor to its disk. Since 5.8 it tells write errors."""
    _syncfs(fd)


def fstatfs_type(fd: int) -> int:
    """The magic number of the file system that a descriptor is in; `os.fstatvfs` does not tell it."""
    buffer = create_string_buffer(120)
    _fstatfs(fd, buffer)
    kind: int = unpack_from("=q", buffer)[0]
    return kind
