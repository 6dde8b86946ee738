# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What `ps` shows of a process: its command line, overwritten in place.

A forked child shows its parent's arguments otherwise, in a container also the host's paths that they name.
Source: proc_pid_cmdline(5); proc_pid_stat(5), fields 48 and 49 (arg_start, arg_end).
"""

from __future__ import annotations

from ctypes import memmove

_ARG_START, _ARG_END = 45, 46  # counted from the third field


def set_title(title: str) -> None:
    """Show this title, cut to the room that the original arguments take. Nothing happens where /proc does not tell."""
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            line = file.read(4096)
    except OSError:
        return
    fields = line[line.rindex(b")") + 2 :].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    room = end - start
    if start and room > 1:
        text = title.encode("utf-8", "replace")[: room - 1]
        memmove(start, text.ljust(room, b"\0"), room)
