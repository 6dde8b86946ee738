# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The spawners that an engine has running, to end them at once where its directories are to go.

Nothing else needs this: a spawner ends by itself when it is idle, or when its launch code has gone.
"""

from __future__ import annotations

import os

from .._kernel.processes import has_ended, open_process, send_signal, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths

_NAME = b"hull-spawner\n"
_SIGTERM, _SIGKILL = 15, 9
_PATIENCE_MS = 2000


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError:
        return b""


def find_spawners(paths: Paths) -> list[int]:
    """The pids of this engine's spawners: by their name and by the socket that they were told to serve."""
    socket = os.fsencode(paths.run) + b"/spawner."
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and _read(f"/proc/{entry}/comm") == _NAME and socket in _read(f"/proc/{entry}/cmdline")
    ]


def cgroups_of_spawners(paths: Paths) -> set[str]:
    """The engine's own cgroup as its spawners were told of it: the file that says so may have changed since."""
    commands = [_read(f"/proc/{pid}/cmdline").split(b"\0") for pid in find_spawners(paths)]
    return {os.fsdecode(words[-2]) for words in commands if len(words) > 1}


def end_spawners(paths: Paths) -> int:
    """End them and wait until they are gone; how many there were. Containers that they started run on."""
    pids = find_spawners(paths)
    for pid in pids:
        _end(pid)
    return len(pids)


def _end(pid: int) -> None:
    fd = open_process(pid, start_time(pid))
    if fd is None:
        return
    try:
        for signal in (_SIGTERM, _SIGKILL):
            if not send_signal(fd, signal) or has_ended(fd, _PATIENCE_MS):
                return
    finally:
        os.close(fd)
