# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Namespaces by name: their flags, their id maps, and how to enter those of another process."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from .._base.errors import Conflict, Invalid, NotFound, SyscallError
from .._sys import sched_flags
from .._sys.process_calls import clone3, setns
from .failures import syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    IdMap = Sequence[tuple[int, int, int]]

FLAGS = {
    "user": sched_flags.CLONE_NEWUSER,
    "mount": sched_flags.CLONE_NEWNS,
    "pid": sched_flags.CLONE_NEWPID,
    "net": sched_flags.CLONE_NEWNET,
    "ipc": sched_flags.CLONE_NEWIPC,
    "uts": sched_flags.CLONE_NEWUTS,
    "cgroup": sched_flags.CLONE_NEWCGROUP,
    "time": sched_flags.CLONE_NEWTIME,
}
_PROC_NAMES = {"mount": "mnt"}
_LOCK_PAUSE_S = 0.005


def namespace_flags(names: Iterable[str]) -> int:
    """The CLONE_NEW* flags of namespaces by name. Raises Invalid for a name that is none."""
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise Invalid(f"{name!r} is not a namespace", hint="one of " + ", ".join(FLAGS))
        flags |= FLAGS[name]
    return flags


def _proc_path(pid: int | str, name: str) -> str:
    return f"/proc/{pid}/ns/{_PROC_NAMES.get(name, name)}"


def open_namespace(pid: int | str, name: str) -> int:
    """A descriptor of a process's namespace (`self` for one's own), which keeps it alive. The caller closes it."""
    try:
        return os.open(_proc_path(pid, name), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound(f"open the {name} namespace of process {pid}: no such process or namespace") from error


def lock_namespace(name: str, longest_s: float = 5.0) -> int:
    """A descriptor of this process's namespace with a lock that one process has at a time; closing it lets go.

    It is for whoever decides by what all engines of a host have made there, and have no file in common. Any user can
    take it, so it only advises: who has waited for `longest_s` gets the descriptor without the lock.
    """
    fd = open_namespace("self", name)
    deadline = monotonic() + longest_s
    while True:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            return fd
        except BlockingIOError:
            if monotonic() > deadline:
                return fd
            sleep(_LOCK_PAUSE_S)
        except BaseException:
            os.close(fd)
            raise


def namespace_id(pid: int | str, name: str) -> int:
    """The inode number by which two processes' namespaces can be compared."""
    try:
        return os.stat(_proc_path(pid, name)).st_ino
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound(f"look at the {name} namespace of process {pid}: no such process or namespace") from error


def enter(pid_fd: int, names: Iterable[str]) -> None:
    """Enter these namespaces of the process that the pidfd means, all or none. Only children are in the pid namespace.

    Name `user` only where it differs from the caller's: entering one's own is refused by the kernel. The process must
    have one thread for `user` and `mount`. Source: setns(2).
    """
    names = tuple(names)
    try:
        setns(pid_fd, namespace_flags(names))
    except ProcessLookupError as error:
        raise Conflict("enter namespaces: the process has ended") from error
    except OSError as error:
        raise syscall_error(f"enter namespaces {', '.join(names)}", error) from error


def write_id_maps(pid: int | str, uid_map: IdMap, gid_map: IdMap, *, allow_setgroups: bool = True) -> None:
    """Say which ids a process's new user namespace has: (first inside, first outside, how many) per range.

    Possible once per namespace. `allow_setgroups=False` is what an unprivileged caller needs. Source:
    user_namespaces(7).
    """
    if not allow_setgroups:
        _write_proc(pid, "setgroups", b"deny")
    _write_proc(pid, "gid_map", _map_text(gid_map))
    _write_proc(pid, "uid_map", _map_text(uid_map))


def _map_text(ranges: IdMap) -> bytes:
    return b"".join(b"%d %d %d\n" % entry for entry in ranges)


def _write_proc(pid: int | str, name: str, content: bytes) -> None:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, content)  # the kernel takes a map in one write or not at all
        finally:
            os.close(fd)
    except OSError as error:
        raise syscall_error(f"write {name} of process {pid}", error) from error


def make_user_namespace(uid_map: IdMap, gid_map: IdMap) -> int:
    """A descriptor of a new user namespace that no process is in, for idmapped mounts. The caller closes it."""
    read_end, write_end = os.pipe()
    try:
        pid, pid_fd = clone3(sched_flags.CLONE_NEWUSER)
        if pid == 0:
            _hold_until_closed(read_end, write_end)
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        raise _no_user_namespace(error) from error
    os.close(read_end)
    os.close(pid_fd)
    try:
        write_id_maps(pid, uid_map, gid_map)
        return open_namespace(pid, "user")
    finally:
        os.close(write_end)
        os.waitpid(pid, 0)


def _hold_until_closed(read_end: int, write_end: int) -> None:
    """In the child: keep the namespace alive until the parent has opened it, or has died."""
    try:
        os.close(write_end)
        os.read(read_end, 1)
    finally:
        os._exit(0)


def _no_user_namespace(error: OSError) -> SyscallError:
    hint = "user namespaces may be limited by user.max_user_namespaces or kernel.unprivileged_userns_clone"
    return syscall_error("make a user namespace", error, hint=hint)
