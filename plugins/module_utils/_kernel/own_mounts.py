# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A mount namespace of one's own to mount in: a child that hands descriptors over, and a root that is the host's."""

from __future__ import annotations

import os
from errno import EINTR, EINVAL, ENOENT

from .._base.errors import HullError, NotFound, SyscallError
from .._sys import mount_flags as m
from .._sys.mount_calls import mount
from .._sys.process_calls import clone3, setns
from .._sys.sched_flags import CLONE_FILES, CLONE_NEWNS
from .failures import syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = 4096


def own_root() -> None:
    """Stand at the root of the caller's own, new mount namespace, and make all its mounts private.

    In a process that was under chroot(2), `/` is a directory within that namespace, which can be neither made private
    nor pivoted away. Joining the namespace that one is in already leads out to its root; paths mean the host's then.
    Source: setns(2), fs/namespace.c mntns_install.
    """
    try:
        _make_private()
    except SyscallError as error:
        if error.errno != EINVAL:
            raise
        fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, CLONE_NEWNS)
        finally:
            os.close(fd)
        _make_private()


def _make_private() -> None:
    try:
        mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    except OSError as error:
        raise syscall_error("make / rprivate", error) from error


def in_child(namespaces: int, make: Callable[[], int]) -> int:
    """The descriptor that `make` opens in a child, which shares this process's descriptors and nothing else.

    What the child does to its credentials and its mount namespace ends with it. Raises OSError.
    """
    read_end, write_end = os.pipe()
    try:
        pid, pid_fd = clone3(namespaces | CLONE_FILES)
        if pid == 0:
            _answer(write_end, make)
        os.close(pid_fd)
        os.waitpid(pid, 0)
        os.set_blocking(read_end, False)
        number, fd, text = os.read(read_end, _PAGE).decode("utf-8", "replace").split(" ", 2)
    except BlockingIOError as error:
        raise OSError(EINTR, "clone3: the child that mounts was killed") from error
    finally:
        os.close(read_end)
        os.close(write_end)
    if fd != "-1":
        return int(fd)
    raise OSError(int(number), text)


def _answer(write_end: int, make: Callable[[], int]) -> None:
    """In the child: tell the parent the descriptor or the error."""
    answer = f"{EINVAL} -1 the child failed"
    try:
        answer = f"0 {make()} "
    except OSError as error:
        answer = f"{error.errno} -1 {error.strerror}"
    except SyscallError as error:
        answer = f"{error.errno} -1 {error.message}"
    except NotFound as error:
        answer = f"{ENOENT} -1 {error.message}"
    except HullError as error:
        answer = f"{EINVAL} -1 {error.message}"
    finally:
        os.write(write_end, answer.encode()[:_PAGE])
        os._exit(0)
