# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The C library's heap: what was freed, and is kept for later, goes back to the kernel. Source: malloc_trim(3)."""

from __future__ import annotations

from ctypes import PyDLL, c_int, c_size_t

_libc = PyDLL(None)
_malloc_trim = getattr(_libc, "malloc_trim", None)  # the GNU C library's alone
if _malloc_trim is not None:
    _malloc_trim.argtypes = (c_size_t,)
    _malloc_trim.restype = c_int


def malloc_trim() -> None:
    """Give back whole pages that are free. Takes about a millisecond for ten megabytes."""
    if _malloc_trim is not None:
        _malloc_trim(0)
