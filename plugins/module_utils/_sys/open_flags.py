# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Constants of linux/openat2.h, linux/memfd.h and linux/close_range.h, and what linux/fcntl.h adds to `os`."""

from __future__ import annotations

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

# memfd_create(2)
MFD_CLOEXEC = 1
MFD_ALLOW_SEALING = 2
MFD_NOEXEC_SEAL = 8
MFD_EXEC = 16

# fcntl(2)
F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 1
F_SEAL_SHRINK = 2
F_SEAL_GROW = 4
F_SEAL_WRITE = 8

# close_range(2)
CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4
