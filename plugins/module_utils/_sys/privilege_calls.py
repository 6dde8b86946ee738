# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The calls that take privileges away: prctl, capabilities, seccomp, the session keyring. No policy.

All act on the calling thread and raise OSError.
Source: prctl(2), capget(2), seccomp(2), keyctl(2), keyctl_join_session_keyring(3).
"""

from __future__ import annotations

from ctypes import addressof, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p, create_string_buffer
from struct import pack, unpack

from . import prctl_options as pr
from .libc import encoded, system_call

_prctl = system_call("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_prctl_name = system_call("prctl", c_int, c_char_p, c_ulong, c_ulong, c_ulong)
_capget = system_call("capget", c_char_p, c_char_p)
_capset = system_call("capset", c_char_p, c_char_p)
_seccomp = system_call("seccomp", c_uint, c_uint, c_void_p)
_keyctl = system_call("keyctl", c_int, c_char_p, c_long, c_long, c_long)
_keyctl_setperm = system_call("keyctl", c_int, c_int, c_uint, c_long, c_long)

_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_INSTRUCTION_BYTES = 8


def set_no_new_privs() -> None:
    """From now on execve gives no privileges: set-uid bits and file capabilities are ignored. Can't be undone."""
    _prctl(pr.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_dumpable(dumpable: bool) -> None:
    """Whether others of the same user may trace this process and read its /proc files."""
    _prctl(pr.PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def set_pdeathsig(signal: int) -> None:
    """The signal that this process gets when the thread that made it ends; 0 is none."""
    _prctl(pr.PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_keepcaps(keep: bool) -> None:
    """Whether permitted capabilities survive a change of uid from 0 to another."""
    _prctl(pr.PR_SET_KEEPCAPS, int(keep), 0, 0, 0)


def set_child_subreaper(subreaper: bool) -> None:
    """Whether orphans below this process become its children instead of PID 1's."""
    _prctl(pr.PR_SET_CHILD_SUBREAPER, int(subreaper), 0, 0, 0)


def set_name(name: str) -> None:
    """The thread's name in /proc/pid/comm; the kernel keeps 15 bytes."""
    _prctl_name(pr.PR_SET_NAME, encoded(name), 0, 0, 0)


def bounding_set_has(capability: int) -> bool:
    """Whether the capability is in the bounding set. OSError EINVAL: this kernel does not know the number."""
    return _prctl(pr.PR_CAPBSET_READ, capability, 0, 0, 0) == 1


def bounding_set_drop(capability: int) -> None:
    """Take a capability out of the bounding set; needs SETPCAP."""
    _prctl(pr.PR_CAPBSET_DROP, capability, 0, 0, 0)


def ambient_clear() -> None:
    """Empty the ambient set."""
    _prctl(pr.PR_CAP_AMBIENT, pr.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def capget(pid: int = 0) -> tuple[int, int, int]:
    """The (effective, permitted, inheritable) sets of a thread as bit masks; 0 is the caller."""
    data = create_string_buffer(24)
    _capget(pack("=Ii", _CAPABILITY_VERSION_3, pid), data)
    low = unpack("=6I", data.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the caller's three sets from bit masks."""
    sets = (effective, permitted, inheritable)
    data = pack("=6I", *(mask & 0xFFFFFFFF for mask in sets), *(mask >> 32 for mask in sets))
    _capset(pack("=Ii", _CAPABILITY_VERSION_3, 0), data)


def seccomp_set_filter(program: bytes, flags: int = 0) -> None:
    """Load a classic BPF program of 8-byte instructions as a filter, for good. Needs no_new_privs or SYS_ADMIN."""
    code = create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short, padding, pointer
    fprog = pack("@HP", len(program) // _INSTRUCTION_BYTES, addressof(code))
    _seccomp(_SECCOMP_SET_MODE_FILTER, flags, fprog)


def join_session_keyring(name: str | None = None) -> int:
    """Leave the session keyring for a new one (anonymous without a name). The keyring's serial number."""
    return _keyctl(pr.KEYCTL_JOIN_SESSION_KEYRING, encoded(name), 0, 0, 0)


def set_key_permissions(key: int, permissions: int) -> None:
    """Set the permission bits of a key that the caller owns."""
    _keyctl_setperm(pr.KEYCTL_SETPERM, key, permissions, 0, 0)
