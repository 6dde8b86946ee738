# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The spawners that an engine has running, to end them at once where its directories are to go.

Nothing else needs this: a spawner ends by itself when it is idle, or when its launch code has gone.

Any process can call itself a spawner and be given a spawner's arguments. What it can't do is sit in the cgroup of an
engine's supervisors: only root moves a process there, and containers see no cgroup but their own. So the kernel is
asked for that, in words that mean the same from every mount namespace: a spawner may have come from a unit that has
one of its own. Of a user to whom systemd gave a tree of cgroups no process is believed, as it is not root's.
"""

from __future__ import annotations

import os

from .._kernel.cgroup_host import detect
from .._kernel.processes import has_ended, open_process, send_signal, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths

_NAME = b"hull-spawner\n"
_ROOT = b"\nUid:\t0\t0\t0\t0\n"
_SIGTERM, _SIGKILL = 15, 9
_PATIENCE_MS = 2000


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError:
        return b""


def find_spawners(paths: Paths) -> list[int]:
    """The pids of this engine's spawners. One that has only just been started is not among them yet."""
    return list(_spawners(paths))


def cgroups_of_spawners(paths: Paths) -> set[str]:
    """The engine's own cgroup as its spawners were told of it: the file that says so may have changed since."""
    return set(_spawners(paths).values())


def _spawners(paths: Paths) -> dict[int, str]:
    """The spawners' pids, and the engine's cgroup that each was told of and is in.

    This engine's are those that were told to serve a socket in its run-time directory.
    """
    socket = os.fsencode(paths.run) + b"/spawner."
    found = {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if _read(f"/proc/{pid}/comm") != _NAME or _ROOT not in _read(f"/proc/{pid}/status"):
            continue
        words = _read(f"/proc/{pid}/cmdline").split(b"\0")
        if not any(word.startswith(socket) for word in words) or len(words) < 2:
            continue
        place = os.fsdecode(words[-2])
        if os.path.basename(place) == paths.cgroup and pid in _supervisors(place):
            found[pid] = place
    return found


def _supervisors(place: str) -> set[int]:
    """Who is in the supervisors' cgroup below this place, in any hierarchy: version 1 may have it in one only."""
    if not {"", ".", ".."}.isdisjoint(place.split("/")):
        return set()
    host = detect()
    roots = {*host.mounts.values(), *([host.unified] if host.unified else [])}
    return {int(pid) for root in roots for pid in _read(f"{root}/{place}/supervisor/cgroup.procs").split()}


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
