# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How a failed system call becomes one of the engine's errors."""

from __future__ import annotations

from errno import errorcode

from .._base.errors import SyscallError


def syscall_error(operation: str, error: OSError, *, detail: str = "", hint: str = "") -> SyscallError:
    """A SyscallError that reads `operation: ENAME; detail`, for `raise ... from error`."""
    number = error.errno or 0
    message = f"{operation}: {errorcode.get(number, str(error))}"
    return SyscallError(f"{message}; {detail}" if detail else message, errno=number, hint=hint)
