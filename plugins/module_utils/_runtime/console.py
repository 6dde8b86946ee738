# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Pseudo-terminals, always of the container's own devpts: never a terminal of the host's, never opened by name.

Source: pts(4), ioctl_tty(2), TIOCGPTPEER in tty_ioctl(4).
"""

from __future__ import annotations

import os
from _struct import Struct
from fcntl import ioctl
from stat import S_ISCHR

from .._base.errors import LaunchError
from .._sys.file_calls import openat2
from .._sys.mount_flags import AT_FDCWD
from .._sys.open_flags import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PTMX = os.makedev(5, 2)
_window = Struct("HHHH")


def open_terminal(rows: int, columns: int) -> tuple[int, int]:
    """(master, slave) of a new pseudo-terminal of the devpts at /dev/pts of the caller's root. Both close on exec."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
    try:
        master = openat2(AT_FDCWD, "/dev/pts/ptmx", flags, resolve=RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
        status = os.fstat(master)
        if not S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            raise LaunchError("tty: /dev/pts/ptmx of the container is not a terminal multiplexer")
        ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
        slave = ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        set_size(master, rows, columns)
    except OSError as error:
        raise LaunchError(f"tty: open a pseudo-terminal: {error.strerror}") from error
    return master, slave


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set the window size; the foreground processes get SIGWINCH. Zeros leave it as it is."""
    if rows > 0 and columns > 0:
        ioctl(terminal, _TIOCSWINSZ, _window.pack(rows, columns, 0, 0))


def take_control(slave: int) -> None:
    """Make the terminal the controlling one of the caller's session, which must be new and have none."""
    ioctl(slave, _TIOCSCTTY, 0)
