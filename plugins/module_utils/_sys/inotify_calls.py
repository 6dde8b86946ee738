# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Being told of changes in directories. Both raise OSError. Source: inotify(7), include/uapi/linux/inotify.h."""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_uint

from .libc import encoded, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .libc import Path

_inotify_init1 = system_call("inotify_init1", c_int)
_inotify_add_watch = system_call("inotify_add_watch", c_int, c_char_p, c_uint)

IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100


def inotify_init1() -> int:
    """A new queue of events, not blocking and close-on-exec."""
    return _inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)


def inotify_add_watch(fd: int, path: Path, mask: int) -> int:
    """Have the events of the mask queued for a file, or for a directory and what lies directly in it."""
    return _inotify_add_watch(fd, encoded(path), mask)
