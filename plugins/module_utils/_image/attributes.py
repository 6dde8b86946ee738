# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Extended attributes of files as far as images have them.

Kept are `user.`, file capabilities and POSIX access lists. `trusted.` would steer overlayfs, labels are the host's
policy. The rule is the same for what comes from an image and for what goes into one.
"""

from __future__ import annotations

import os
from errno import ENODATA, ENOTSUP

CAPABILITY = b"security.capability"
_KEPT = (CAPABILITY, b"system.posix_acl_access", b"system.posix_acl_default")
_LONGEST_NAME = 255
_V2_BYTES = 20


def is_kept_attribute(name: bytes) -> bool:
    """Whether an image has attributes of this name."""
    if b"\0" in name or len(name) > _LONGEST_NAME:
        return False
    return name in _KEPT or (name.startswith(b"user.") and not name.startswith(b"user.overlay."))


def attribute_names(target: int | bytes) -> list[bytes]:
    """The extended attributes of an open file, or of what lies at a path, which is not followed."""
    try:
        found = os.listxattr(target) if isinstance(target, int) else os.listxattr(target, follow_symlinks=False)
    except OSError as error:
        if error.errno == ENOTSUP:
            return []
        raise
    return [os.fsencode(name) for name in found]


def read_attributes(target: int | bytes, names: list[bytes]) -> dict[bytes, bytes]:
    """Those of the attributes that an image keeps. Empty ones are left out, and names that no tar can hold."""
    kept = {}
    for name in names:
        if not is_kept_attribute(name) or b"=" in name:
            continue
        try:
            value = os.getxattr(target, name, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if error.errno == ENODATA:
                continue
            raise
        if value:
            kept[name] = _plain_capability(value) if name == CAPABILITY else value
    return kept


def _plain_capability(value: bytes) -> bytes:
    """File capabilities without the user namespace's root in which they were set: version 3 as version 2."""
    if value[3] == 3:
        return value[:3] + b"\2" + value[4:_V2_BYTES]
    return value


def kept_attributes(target: int | bytes) -> dict[bytes, bytes]:
    """What an image keeps of a file's extended attributes."""
    names = attribute_names(target)
    return read_attributes(target, names) if names else {}


def named(directory: int, name: bytes) -> bytes:
    """A path by which a call without `dir_fd` finds a name in an open directory."""
    return b"/proc/self/fd/%d/%s" % (directory, name)
