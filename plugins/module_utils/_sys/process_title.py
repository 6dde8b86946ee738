# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What `ps` shows of a process: its command line, overwritten in place.

A forked child shows its parent's arguments otherwise, in a container also the host's paths that they name.
Source: proc_pid_cmdline(5); proc_pid_stat(5), fields 48 and 49 (arg_start, arg_end); proc_pid_mem(5).
"""

from __future__ import annotations

import os

_ARG_START, _ARG_END = 45, 46  # counted from the third field


def title_place() -> tuple[int, int]:
    """Where the arguments of this process are, and of what it forks: address and size; 0 where /proc does not tell."""
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            line = file.read(4096)
    except OSError:
        return 0, 0
    fields = line[line.rindex(b")") + 2 :].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    return (start, end - start) if start and end - start > 1 else (0, 0)


def fitted(title: str, room: int) -> bytes:
    """A title as it is written into so much room."""
    return title.encode("utf-8", "replace")[: max(room - 1, 0)].ljust(room, b"\0")


def set_title(title: str) -> None:
    """Show this title, cut to the room that the original arguments take, where that is possible."""
    start, room = title_place()
    try:
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.pwrite(fd, fitted(title, room), start)
    except OSError:
        pass
    finally:
        os.close(fd)
