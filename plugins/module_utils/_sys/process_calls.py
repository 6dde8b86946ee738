# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The calls that make processes and place them: clone3, namespaces, signals by pidfd, limits, names. No policy.

All raise OSError. Source: clone(2), setns(2), unshare(2), pidfd_send_signal(2), prlimit(2),
sethostname(2), execveat(2).
"""

from __future__ import annotations

from ctypes import addressof, c_char_p, c_int, c_size_t, c_uint, c_void_p, create_string_buffer
from struct import pack, unpack

from .libc import encoded, system_call
from .mount_flags import AT_EMPTY_PATH
from .sched_flags import CLONE_INTO_CGROUP, CLONE_PIDFD, SIGCHLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .libc import Path

_clone3 = system_call("clone3", c_char_p, c_size_t)
_setns = system_call("setns", c_int, c_int)
_unshare = system_call("unshare", c_int)
_pidfd_getfd = system_call("pidfd_getfd", c_int, c_int, c_uint)
_rt_sigaction = system_call("rt_sigaction", c_int, c_char_p, c_void_p, c_size_t)
_pidfd_send_signal = system_call("pidfd_send_signal", c_int, c_int, c_void_p, c_uint)
_prlimit = system_call("prlimit64", c_int, c_uint, c_char_p, c_void_p)
_sethostname = system_call("sethostname", c_char_p, c_size_t)
_setdomainname = system_call("setdomainname", c_char_p, c_size_t)
_execveat = system_call("execveat", c_int, c_char_p, c_void_p, c_void_p, c_int)

_RLIM_INFINITY = 2**64 - 1


def clone3(flags: int = 0, *, exit_signal: int = SIGCHLD, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork with namespace flags. The parent gets (pid, pidfd), the child (0, -1). The pidfd is close-on-exec.

    With `cgroup_fd` (a cgroup v2 directory) the child is born in that cgroup. Only for processes of one thread: libc
    and the interpreter run no fork handlers, so buffered output must be flushed before, and the child ends by execve
    or os._exit. Not for CLONE_VM or threads.
    """
    pidfd = c_int(-1)
    flags |= CLONE_PIDFD
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    arguments = pack("=11Q", flags, addressof(pidfd), 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    pid = _clone3(arguments, len(arguments))
    return pid, (pidfd.value if pid else -1)


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace that a /proc/pid/ns descriptor is, or with a pidfd all those of `flags` (5.8)."""
    _setns(fd, flags)


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones. NEWPID and NEWTIME take effect for children only."""
    _unshare(flags & 0xFFFFFFFF if flags < 2**31 else flags - 2**32)


def pidfd_getfd(pidfd: int, target_fd: int) -> int:
    """A copy of another process's descriptor. Close-on-exec."""
    return _pidfd_getfd(pidfd, target_fd, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Signal exactly the process that the descriptor means; 0 only asks whether it may be signalled."""
    _pidfd_send_signal(pidfd, signal, None, 0)


def prlimit(pid: int, resource: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """Set (soft, hard) of a process, 0 being the caller, and return what was before. -1 is unlimited."""
    before = create_string_buffer(16)
    new = None if limits is None else pack("=2Q", *(value & _RLIM_INFINITY for value in limits))
    _prlimit(pid, resource, new, before)
    soft, hard = unpack("=2Q", before.raw)
    return (-1 if soft == _RLIM_INFINITY else soft), (-1 if hard == _RLIM_INFINITY else hard)


def set_default_action(signal: int) -> None:
    """Give a signal its default action, by the kernel's number: libc keeps 32 and 33 to itself and refuses them.

    Source: rt_sigaction(2); a struct kernel_sigaction of zeros is SIG_DFL without flags.
    """
    _rt_sigaction(signal, bytes(32), None, 8)


def sethostname(name: str) -> None:
    """Set the host name of the caller's UTS namespace (at most 64 bytes)."""
    raw = name.encode()
    _sethostname(raw, len(raw))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of the caller's UTS namespace (at most 64 bytes)."""
    raw = name.encode()
    _setdomainname(raw, len(raw))


def execveat(dir_fd: int, path: Path, args: Sequence[Path], env: Sequence[bytes], flags: int = 0) -> None:
    """Replace this process with a program; an empty path means `dir_fd` itself. Returns only by raising OSError."""
    argv = _string_vector(args)
    envp = _string_vector(env)
    empty = 0 if path else AT_EMPTY_PATH
    _execveat(dir_fd, encoded(path), argv, envp, flags | empty)


def _string_vector(strings: Sequence[Path]) -> object:
    encoded_strings = [encoded(string) for string in strings]
    return (c_char_p * (len(encoded_strings) + 1))(*encoded_strings, None)
