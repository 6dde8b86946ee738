# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What /proc and pidfds tell about processes, so that a number that was given to another process is never believed."""

from __future__ import annotations

import os
from select import POLLIN, poll
from sys import byteorder

_DEAD_STATES = frozenset("ZXx")
_STOPPED_STATES = frozenset("Tt")
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_BYTES, _EXIT_CODE_AT = 64, 60


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/pid/stat from the third (state) on; None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return line[line.rindex(b")") + 2 :].decode("ascii").split()  # the name may hold anything, also parentheses


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (also of a zombie); None where there is no such process.

    pid and start time together name a process for as long as the host is up. Source: proc_pid_stat(5), field 22.
    """
    fields = _stat_fields(pid) if pid > 0 else None
    return None if fields is None else int(fields[19])


def is_alive(pid: int, started: int | None = None) -> bool:
    """Whether the process runs; with `started`, whether it is still that one. A zombie is dead."""
    fields = _stat_fields(pid) if pid > 0 else None
    return fields is not None and fields[0] not in _DEAD_STATES and started in (None, int(fields[19]))


def is_stopped(pid: int, started: int) -> bool:
    """Whether the process that started then is there but does nothing, because of SIGSTOP or a debugger."""
    fields = _stat_fields(pid) if pid > 0 else None
    return fields is not None and fields[0] in _STOPPED_STATES and started == int(fields[19])


def open_process(pid: int, started: int | None = None) -> int | None:
    """A pidfd of the process that started then; None if it is gone or was never that one. The caller closes it."""
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if is_alive(pid, started):
        return fd
    os.close(fd)
    return None


def send_signal(pid_fd: int, signal: int) -> bool:
    """Signal the process; False if it has ended (a zombie takes signals without effect and counts as there)."""
    from .._sys.process_calls import pidfd_send_signal  # ctypes; whoever only looks goes without

    try:
        pidfd_send_signal(pid_fd, signal)
    except ProcessLookupError:
        return False
    return True


def has_ended(pid_fd: int, timeout_ms: int = 0) -> bool:
    """Whether the process has ended, waiting so long at most; -1 waits without end. Does not reap."""
    watch = poll()
    watch.register(pid_fd, POLLIN)
    return bool(watch.poll(timeout_ms))


def shell_status(status: int) -> int:
    """A wait status as a shell gives it: the exit code, or 128 and the signal's number."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def foreign_status(pid_fd: int, pid: int, started: int) -> int | None:
    """How somebody else's child has ended, as a shell gives it; None where the kernel does not tell.

    Of a zombie /proc tells; once it has been reaped the pidfd does, if it was opened before (Linux 6.15).
    Source: proc_pid_stat(5), field 52; include/uapi/linux/pidfd.h, PIDFD_GET_INFO.
    """
    fields = _stat_fields(pid) if pid > 0 else None
    if fields is not None and fields[0] in _DEAD_STATES and int(fields[19]) == started:
        return shell_status(int(fields[49]))
    from fcntl import ioctl

    info = bytearray(_PIDFD_INFO_EXIT.to_bytes(8, byteorder).ljust(_INFO_BYTES, b"\0"))
    try:
        ioctl(pid_fd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[:8], byteorder) & _PIDFD_INFO_EXIT:
        return None
    return shell_status(int.from_bytes(info[_EXIT_CODE_AT:], byteorder))


def children(pid: int) -> tuple[int, ...]:
    """The direct children of all threads of a process, zombies included; empty where there is no such process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(int(child) for child in file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        return _children_by_scan(pid)
    return tuple(sorted(found))


def _children_by_scan(pid: int) -> tuple[int, ...]:
    """For kernels without CONFIG_PROC_CHILDREN, or when a thread ended while it was read."""
    found = []
    for name in os.listdir("/proc"):
        fields = _stat_fields(int(name)) if name.isdigit() else None
        if fields is not None and int(fields[1]) == pid:
            found.append(int(name))
    return tuple(sorted(found))
