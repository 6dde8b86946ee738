# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Mount options as words (`nosuid`, `rslave`, `size=64m`) and what they are to the kernel. Pure."""

from __future__ import annotations

from .._base.errors import Invalid
from .._sys import mount_flags as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# word: (attributes to set, attributes to clear)
_ATTRIBUTES = {
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "noatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME),
    "relatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR__ATIME),
    "defaults": (0, 0),
}
# Words that say how a tree is copied; they are the caller's to act on, and change no attribute.
_HOW = frozenset(("bind", "rbind"))

_PROPAGATION = {
    "private": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "shared": m.MS_SHARED,
    "unbindable": m.MS_UNBINDABLE,
}


def is_attribute(word: str) -> bool:
    """Whether the word is an option of the mount, not of its file system."""
    return word in _ATTRIBUTES or word in _HOW


def attribute_masks(words: Iterable[str]) -> tuple[int, int]:
    """The MOUNT_ATTR_ bits to set and to clear; a later word wins over an earlier one. Raises Invalid."""
    set_mask = clear_mask = 0
    for word in words:
        if word in _HOW:
            continue
        if word not in _ATTRIBUTES:
            raise Invalid(f"{word!r} is not an option of a mount", hint="one of " + ", ".join(_ATTRIBUTES))
        on, off = _ATTRIBUTES[word]
        set_mask = set_mask & ~off | on
        clear_mask = clear_mask & ~on | off
    return set_mask, clear_mask


def propagation_flag(word: str) -> tuple[int, bool]:
    """(MS_PRIVATE, True) from `rprivate`: the propagation and whether it is for the whole tree. Raises Invalid."""
    recursive = word.startswith("r")
    name = word[1:] if recursive else word
    if name not in _PROPAGATION:
        raise Invalid(
            f"{word!r} is not a mount propagation", hint="one of rprivate, rslave, rshared, private, slave, shared"
        )
    return _PROPAGATION[name], recursive


def without_secrets(options: str) -> str:
    """The options as a message may show them: what servers are told as a password is left out."""
    return ",".join(
        f"{name}=***" if "pass" in name.lower() and equals else name + equals + value
        for name, equals, value in (word.partition("=") for word in options.split(","))
    )


def split_options(options: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of `nosuid,size=64m,mode=1777` that are the mount's, and those that are the file system's."""
    words = [word for word in options.split(",") if word]
    return (
        tuple(word for word in words if is_attribute(word)),
        tuple(word for word in words if not is_attribute(word)),
    )
