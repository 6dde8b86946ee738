# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Writing to this process's own files of proc where /proc may be somebody else's: inside a container's root.

Root in a container could have mounted anything over /proc or below it, and a write meant to confine this process would
go nowhere (CVE-2019-16884, CVE-2025-52881). So what /proc is, is checked, and nothing that is mounted below is entered.
"""

from __future__ import annotations

import os
from errno import EXDEV

from .._sys.file_calls import fstatfs_type, openat2
from .._sys.mount_flags import AT_FDCWD
from .._sys.open_flags import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV

_PROC_SUPER_MAGIC = 0x9FA0
_PROC_ROOT_INODE = 1
_PLAIN = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS


def open_proc() -> int:
    """A descriptor of the root of a real proc at /proc, the caller's. Raises OSError EXDEV for anything else."""
    fd = openat2(AT_FDCWD, "/proc", os.O_PATH | os.O_DIRECTORY, resolve=_PLAIN)
    if fstatfs_type(fd) != _PROC_SUPER_MAGIC or os.fstat(fd).st_ino != _PROC_ROOT_INODE:
        os.close(fd)
        raise OSError(EXDEV, "/proc is not proc")
    return fd


def write_attribute(name: str, content: bytes) -> None:
    """Write a file of this process, such as `attr/apparmor/exec`. Raises OSError."""
    proc = open_proc()
    try:
        path = f"{os.getpid()}/{name}"
        fd = openat2(proc, path, os.O_WRONLY, resolve=_PLAIN | RESOLVE_BENEATH | RESOLVE_NO_XDEV)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
    finally:
        os.close(proc)
