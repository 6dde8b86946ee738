# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Directories below `tmp/` that die with their owner.

The owner holds a flock on its directory, which the kernel frees with the last process that has the descriptor. So
whoever gets that lock knows that the directory is an orphan; there is no record of owners that could be wrong.
"""

from __future__ import annotations

import fcntl
import os

from .files import make_private_directory, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .._base.paths import Paths

PREFIX = "owned-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnedDirectory:
    """A new private directory in `tmp/` as a context manager; removed at the end, unless it was moved away.

    `fd` is open on it as long as the context lasts. A child process that inherits `fd` owns the directory too.
    """

    def __init__(self, paths: Paths, purpose: str) -> None:
        self._paths = paths
        self._purpose = purpose
        self.path = ""
        self.fd = -1

    def __enter__(self) -> OwnedDirectory:
        make_private_directory(self._paths.root)
        make_private_directory(self._paths.temporary)
        while True:
            self.path = f"{self._paths.temporary}/{PREFIX}{self._purpose}-{os.urandom(8).hex()}"
            os.mkdir(self.path, 0o700)
            try:
                self.fd = lock_directory(self.path, wait=True)
                return self
            except FileNotFoundError:
                continue  # a sweeper took it between the two calls

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            remove_tree(self.path)
        finally:
            os.close(self.fd)
            self.fd = -1


def lock_directory(path: str, *, wait: bool) -> int:
    """A descriptor of a directory that holds its lock. The caller closes it.

    Raises FileNotFoundError where the directory was removed meanwhile, BlockingIOError where another process holds the
    lock and `wait` is false.
    """
    fd = os.open(path, _DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        here, there = os.fstat(fd), os.lstat(path)
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(fd)
        raise
    return fd
