# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which process has a local port, for the message that a port is taken. Reads /proc only; a guess, never a decision.

Source: proc(5), /proc/net/tcp and /proc/[pid]/fd.
"""

from __future__ import annotations

import os

_LOCAL = 1
_STATE = 3
_INODE = 9
_TIME_WAIT = "06"


def find_holder(port: int, protocol: str, proc: str = "/proc") -> str:
    """`process 123 (nginx)`, or empty where none is found: in another pid namespace, or gone meanwhile."""
    inodes = {inode for name in (protocol, protocol + "6") for inode in _inodes(f"{proc}/net/{name}", port)}
    pid = _owner(proc, {f"socket:[{inode}]" for inode in inodes}) if inodes else 0
    if not pid:
        return ""
    try:
        with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"process {pid} ({file.read().strip()})"
    except OSError:
        return f"process {pid}"


def _inodes(path: str, port: int) -> set[str]:
    """The inodes of the sockets bound to a local port, in one of the tables of /proc/net."""
    suffix = f":{port:04X}"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return set()
    return {
        row[_INODE]
        for row in rows[1:]
        if len(row) > _INODE and row[_LOCAL].endswith(suffix) and row[_STATE] != _TIME_WAIT and row[_INODE] != "0"
    }


def _owner(proc: str, targets: set[str]) -> int:
    """The first process that has one of these sockets open."""
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with os.scandir(f"{proc}/{name}/fd") as entries:
                if any(os.readlink(entry.path) in targets for entry in entries):
                    return int(name)
        except OSError:
            continue
    return 0
