# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write for a tmpfs, as a MountSpec: `size=64m,mode=1777,exec`. Pure.

Words of equal meaning give equal specs: their order does not matter, the last of two that contradict each other wins,
and what is the default anyway is left out.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import MountSpec
from .._base.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# The word, what it is about, and whether it is not the default: that is nosuid,nodev,noexec,relatime.
_FLAGS = {
    "nosuid": ("suid", False),
    "suid": ("suid", True),
    "nodev": ("dev", False),
    "dev": ("dev", True),
    "noexec": ("exec", False),
    "exec": ("exec", True),
    "relatime": ("atime", False),
    "noatime": ("atime", True),
    "strictatime": ("atime", True),
    "diratime": ("diratime", False),
    "nodiratime": ("diratime", True),
}
_NOTHING = ("rw", "defaults", "private", "rprivate")
_OCTAL = frozenset("01234567")
_NUMBERS = ("uid", "gid")
_COUNTS = ("nr_inodes", "nr_blocks")


def octal(value: Any, option: str) -> int:
    """The permissions that an octal number says. Raises Invalid."""
    text = str(value)
    if not text or not _OCTAL.issuperset(text) or int(text, 8) > 0o7777:
        raise Invalid(f"{value!r} is not an octal mode", option=option, hint="write it like '1777'")
    return int(text, 8)


def tmpfs_spec(target: str, words: Iterable[str], option: str, **fields: Any) -> MountSpec:
    """The tmpfs at a target with these words; `fields` are what was said of it elsewhere. Raises Invalid."""
    flags: dict[str, str] = {}
    data: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and name in _FLAGS:
            kind, counts = _FLAGS[name]
            flags[kind] = name if counts else ""
        elif not equals and name == "ro":
            fields["read_only"] = True
        elif not equals and name in _NOTHING:
            if name == "rw":
                fields["read_only"] = False
        elif name == "mode":
            fields["mode"] = octal(value, option)
        elif name == "size" and value.endswith("%"):
            data["size"] = _number(value[:-1], word, option) + "%"
            fields["size_bytes"] = 0
        elif name == "size":
            fields["size_bytes"] = parse_size(value, option=option)
            data.pop("size", None)
        elif name in _NUMBERS:
            data[name] = _number(value, word, option)
        elif name in _COUNTS:
            data[name] = str(parse_size(value, option=option))
        elif name == "mpol" and value:
            data[name] = value
        else:
            raise Invalid(
                f"{word!r} of {target} is not a tmpfs option",
                option=option,
                hint="size=64m, mode=1777, uid=, gid=, nr_inodes=, nr_blocks=, mpol=, exec, suid, dev, ro, noatime ...",
            )
    if fields.get("size_bytes", 0) < 0:
        raise Invalid(f"the size of {target} is negative", option=option, hint="0 is without limit")
    others = (*filter(None, flags.values()), *(f"{name}={value}" for name, value in data.items()))
    return MountSpec("tmpfs", target, options=tuple(sorted(others)), **fields)


def _number(text: str, word: str, option: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{word!r} has no number", option=option)
    return str(int(text))
