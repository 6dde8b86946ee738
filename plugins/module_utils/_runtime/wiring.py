# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The pipes between a process in a container and the one that serves its streams. Terminals are console.py's."""

from __future__ import annotations

import os
from fcntl import fcntl

from .launch_plan import ProcessPlan

_F_SETPIPE_SZ = 1031
PIPE_BYTES = 1024 * 1024  # the most that one holds, and what a process may make it hold
_NOBODY_ELSE = 0xFFFFFFF0  # a user id that no process has


class Wiring:
    """Both ends of a process's standard streams. `child` holds descriptors for 0, 1, 2 (-1: the null device)."""

    def __init__(self, process: ProcessPlan | None = None, *, lasting: bool = False) -> None:
        """Make the pipes of a process; without one, an object to be filled. `lasting` are those of a container."""
        self.child = (-1, -1, -1)
        self.stdin = self.stdout = self.stderr = -1
        self.terminal = -1
        if process is not None and not process.tty:
            stdin_child, self.stdin = os.pipe() if process.open_stdin else (-1, -1)
            make = _lasting_pipe if lasting else os.pipe
            self.stdout, stdout_child = make()
            self.stderr, stderr_child = make()
            self.child = (stdin_child, stdout_child, stderr_child)
            for fd in (self.stdin, self.stdout, self.stderr):
                if fd >= 0:
                    os.set_blocking(fd, False)

    def pipe_ids(self) -> list[int]:
        """The inode numbers of the pipes of standard output and error, by which `reopen_output` knows them again."""
        return [os.fstat(fd).st_ino if fd >= 0 else 0 for fd in (self.stdout, self.stderr)]

    def reopen_output(self, pid: int, pipe_ids: list[int]) -> None:
        """Take over the output of a process whose monitor is dead: what its descriptors 1 and 2 still are."""
        self.stdout, self.stderr = (_reopen(f"/proc/{pid}/fd/{number}", pipe_ids[number - 1]) for number in (1, 2))

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


def _lasting_pipe() -> tuple[int, int]:
    """A pipe for a container's output that outlives its monitor: (end to read, end to write).

    The container's end can be read too. So there is always a reader, and a program that writes while its monitor has
    been killed gets no SIGPIPE; the next monitor goes on reading. A megabyte fits in while nobody reads, where the
    kernel allows that.
    """
    counted = _count_for(_NOBODY_ELSE)
    try:
        read_end, write_end = os.pipe()
        if counted:
            fcntl(read_end, _F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:
        pass
    finally:
        _count_for(0)
    try:
        return read_end, os.open(f"/proc/self/fd/{write_end}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(write_end)


def _count_for(user: int) -> bool:
    """Whose new pipes are. The kernel adds up what all pipes of a user may hold, by the real user id, and gives its
    unprivileged processes tiny ones beyond a limit: thirty containers with our pipes, counted for root, would do that
    to root in every container. Source: pipe(7), pipe-user-pages-soft."""
    try:
        os.setresuid(user, -1, -1)
    except OSError:  # in a user namespace without that id
        return False
    return True


def _reopen(path: str, pipe_id: int) -> int:
    """The reading end of a pipe that another process has open; -1 if that is another file by now. Opens nothing else:
    the container chooses what its descriptors are."""
    try:
        seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        link = f"/proc/self/fd/{seen}"
        if os.readlink(link) != f"pipe:[{pipe_id}]":
            return -1
        return os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(seen)
