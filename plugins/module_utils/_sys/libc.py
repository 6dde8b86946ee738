# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How a system call is reached: by number, through libc's `syscall`, with every argument's type declared.

libc's own wrappers are not used: hosts with an older libc lack half of them, and one mechanism is easier to trust than
two. A call that this machine's table does not know gets the number -1, which the kernel answers with ENOSYS.
Source: syscall(2), arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import os
import sys
from ctypes import PyDLL, c_long, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Path = str | bytes

# (x86_64, asm-generic: aarch64, riscv64, loongarch64). Since 5.1 new calls have the same number everywhere.
_NUMBERS = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "setns": (308, 268),
    "unshare": (272, 97),
    "capget": (125, 90),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "prlimit64": (302, 261),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "execveat": (322, 281),
    "rt_sigaction": (13, 134),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "syncfs": (306, 267),
    "fstatfs": (138, 44),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
}

MACHINE = os.uname().machine if sys.maxsize > 2**32 else "32 bit"
_COLUMNS = {"x86_64": 0, "aarch64": 1, "riscv64": 1, "loongarch64": 1}

# PyDLL keeps the interpreter's lock during the call: a child that clone3 makes must not find it released.
_libc = PyDLL(None, use_errno=True)


def system_call(name: str, *argument_types: Any) -> Callable[..., int]:
    """A function for one system call that takes exactly these ctypes types, returns its result or raises OSError.

    Variadic calls truncate undeclared integers to 32 bits, so nothing is left undeclared.
    """
    column = _COLUMNS.get(MACHINE, -1)
    number = _NUMBERS[name][column] if column >= 0 else -1
    function = _libc["syscall"]  # a new object each time, unlike the attribute, so that argtypes are not shared
    function.argtypes = (c_long, *argument_types)
    function.restype = c_long

    def invoke(*arguments: Any) -> int:
        result: int = function(number, *arguments)
        if result == -1:
            raise call_error(name, get_errno())
        return result

    return invoke


def call_error(name: str, error: int, path: Path | None = None) -> OSError:
    """The OSError of a failed call, of the subclass that Python has for the errno; its text names the call."""
    return OSError(error, f"{name}: {os.strerror(error)}", *(() if path is None else (path,)))


def encoded(path: Path | None) -> bytes | None:
    """A path as the kernel takes it. Raises ValueError for a NUL byte, which the kernel would read as the end."""
    if path is None:
        return None
    raw = os.fsencode(path)
    if 0 in raw:
        raise ValueError("embedded null byte")
    return raw
