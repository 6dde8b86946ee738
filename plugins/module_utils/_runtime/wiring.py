# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The pipes between a process in a container and the one that serves its streams. Terminals are console.py's."""

from __future__ import annotations

import os

from .launch_plan import ProcessPlan


class Wiring:
    """Both ends of a process's standard streams. `child` holds descriptors for 0, 1, 2 (-1: the null device)."""

    def __init__(self, process: ProcessPlan) -> None:
        self.child = (-1, -1, -1)
        self.stdin = self.stdout = self.stderr = -1
        self.terminal = -1
        if not process.tty:
            stdin_child, self.stdin = os.pipe() if process.open_stdin else (-1, -1)
            self.stdout, stdout_child = os.pipe()
            self.stderr, stderr_child = os.pipe()
            self.child = (stdin_child, stdout_child, stderr_child)
            for fd in (self.stdin, self.stdout, self.stderr):
                if fd >= 0:
                    os.set_blocking(fd, False)

    def give_to(self, owner: int) -> None:
        """Make the pipes the host's id `owner`'s, a container's root: who may open /dev/stdout there, or hand it on."""
        for fd in self.child:
            if fd >= 0:
                os.fchown(fd, owner, owner)

    def close_child_ends(self) -> None:
        """After the clone: only the child has them now."""
        for fd in self.child:
            if fd >= 0:
                os.close(fd)
        self.child = (-1, -1, -1)

    def close(self) -> None:
        """Close everything that is still open."""
        self.close_child_ends()
        for fd in (self.stdin, self.stdout, self.stderr, self.terminal):
            if fd >= 0:
                os.close(fd)
        self.stdin = self.stdout = self.stderr = self.terminal = -1
