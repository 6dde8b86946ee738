# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Load an assembled seccomp filter: all that a process which is about to execute needs of seccomp.

Assembling is `seccomp.py`'s, beforehand and elsewhere.
"""

from __future__ import annotations

from .._base.errors import Damaged, Denied, SyscallError, Unsupported
from .._sys.privilege_calls import seccomp_set_filter
from .failures import syscall_error

_EACCES, _EINVAL, _ENOSYS = 13, 22, 38
_INSTRUCTION_BYTES = 8
_MAX_BYTES = 4096 * _INSTRUCTION_BYTES


def load(program: bytes) -> None:
    """Put this process and all that it will make under the filter, for good.

    Call it after set_no_new_privs, or else with SYS_ADMIN. Raises Damaged for bytes that are no program, Denied,
    Unsupported. Source: seccomp(2).
    """
    if not program or len(program) % _INSTRUCTION_BYTES or len(program) > _MAX_BYTES:
        raise Damaged(f"load the seccomp filter: {len(program)} bytes are no program of 1 to 4096 instructions")
    try:
        seccomp_set_filter(program)
    except OSError as error:
        raise _explained(error) from error


def _explained(error: OSError) -> Damaged | Denied | Unsupported | SyscallError:
    if error.errno == _EACCES:
        return Denied("load the seccomp filter: neither no_new_privs nor CAP_SYS_ADMIN")
    if error.errno == _ENOSYS:
        return Unsupported("load the seccomp filter: this kernel has no CONFIG_SECCOMP_FILTER")
    if error.errno == _EINVAL:
        return Damaged("load the seccomp filter: the kernel refuses the program")
    return syscall_error("load the seccomp filter", error)
