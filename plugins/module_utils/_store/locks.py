# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Locks between processes: flock on a file per object, freed by the kernel with its holder.

Order, for who takes more than one: task, container, image, network, volume, layer; within a kind by name. No lock is
held while waiting for a container to stop by itself for longer than its stop timeout.
"""

from __future__ import annotations

import fcntl
import os
import time

from .._base.errors import Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .._base.paths import Paths

KINDS = ("task", "container", "image", "network", "volume", "layer", "spawner")
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1


class Lock:
    """An exclusive lock as a context manager. Not reentrant.

    The holder removes the file before it lets go. Whoever then gets the lock of a file that has no name any more, or
    another file's name, opens anew.
    """

    def __init__(self, path: str, what: str, timeout_s: float) -> None:
        self._path = path
        self._what = what
        self._timeout_s = timeout_s
        self._fd = -1

    def __enter__(self) -> Lock:
        deadline = time.monotonic() + self._timeout_s
        pause_s = _FIRST_PAUSE_S
        while not self._try():
            if time.monotonic() >= deadline:
                raise Timeout(
                    f"lock {self._what}: process {self._holder()} has held it for over {self._timeout_s:g} s",
                    hint="wait for that process, or end it if it hangs",
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        try:
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError:  # a full disk: who waits is not told who holds the lock, and what frees space goes on
            pass
        return self

    def _try(self) -> bool:
        """Take the lock if it is free now."""
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == os.stat(self._path).st_ino:
                self._fd, fd = fd, -1
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if fd >= 0:
                os.close(fd)
        return False

    def _holder(self) -> str:
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                return file.read(20).strip() or "unknown"
        except FileNotFoundError:
            return "unknown"

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.unlink(self._path)
        os.close(self._fd)


def lock(paths: Paths, kind: str, name: str, *, timeout_s: float = 60) -> Lock:
    """The lock of one object, to be used with `with`. The name may hold any character but NUL.

    Raises Timeout, naming the process that holds it.
    """
    if kind not in KINDS:
        raise RuntimeError(f"no such kind of lock: {kind}")
    os.makedirs(paths.locks, mode=0o700, exist_ok=True)
    return Lock(_path(paths, kind, name), f"{kind} {name}", timeout_s)


def is_locked(paths: Paths, kind: str, name: str) -> bool:
    """Whether somebody holds the lock of an object at this moment. Makes nothing."""
    return is_held(_path(paths, kind, name))


def is_held(path: str) -> bool:
    """Whether somebody has the lock of this file or directory; of what is not there, or is no such thing, nobody."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _path(paths: Paths, kind: str, name: str) -> str:
    safe = name.replace("%", "%25").replace("/", "%2f")
    return f"{paths.locks}/{kind}-{safe[:200]}"
