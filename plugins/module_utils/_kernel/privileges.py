# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a process may do: its capabilities taken away, its user and groups changed.

Inheritable and ambient sets are always empty: a program gains nothing from file capabilities that the bounding set
does not hold (CVE-2022-29162). Nothing that the host lacks is ever asked for: missing capabilities are left out.
Source: capabilities(7).
"""

from __future__ import annotations

import os

from .._sys.privilege_calls import (
    ambient_clear,
    bounding_set_drop,
    bounding_set_has,
    capget,
    capset,
)
from .capabilities import NUMBERS, mask_of, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TO_BECOME = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN")  # the last for the process's streams
_CHANGE_IDS = 1 << NUMBERS["CAP_SETUID"] | 1 << NUMBERS["CAP_SETGID"]


def _bounding_mask() -> tuple[int, int]:
    """The bounding set of this process, and how many capabilities the kernel knows."""
    mask = number = 0
    try:
        while number < 64:
            mask |= bounding_set_has(number) << number
            number += 1
    except OSError:  # EINVAL: past the last one
        pass
    return mask, number


def host_capabilities() -> tuple[str, ...]:
    """What this process may hand on: permitted and in its bounding set. A host or container may lack some."""
    return names_of(capget()[1] & _bounding_mask()[0])


def apply(names: Iterable[str], uid: int) -> None:
    """Take every other capability from this process, for good, before it becomes `uid` and executes.

    Call it after setgroups and setgid, before setuid; with uid 0 the process keeps the named ones as permitted and
    effective, otherwise SETUID and SETGID alone, which the kernel takes when setuid leaves uid 0. `become` does all.
    """
    permitted = capget()[1]
    bounding, known = _bounding_mask()
    wanted = mask_of(names) & bounding
    for number in range(known):
        if bounding >> number & 1 and not wanted >> number & 1:
            bounding_set_drop(number)
    ambient_clear()
    kept = permitted & (wanted if uid == 0 else _CHANGE_IDS)
    capset(kept, kept, 0)


def confine(names: Iterable[str], *, load_filters: bool) -> None:
    """Keep of this process's capabilities only the named ones and what `become` needs; with `load_filters` also what
    loads a seccomp filter without no_new_privs.

    For a process that others will see: who may trace it gains next to nothing by that.
    """
    permitted = capget()[1]
    bounding, known = _bounding_mask()
    wanted = mask_of(names) | mask_of(_TO_BECOME) | (mask_of(("CAP_SYS_ADMIN",)) if load_filters else 0)
    for number in range(known):
        if bounding >> number & 1 and not wanted >> number & 1:
            bounding_set_drop(number)
    ambient_clear()
    capset(permitted & wanted, permitted & wanted, 0)


def become(uid: int, gid: int, groups: Iterable[int], names: Iterable[str]) -> None:
    """Be this user with these groups (the primary one is added) and, for uid 0, these capabilities; for good."""
    os.setgroups(sorted({gid, *groups}))
    os.setresgid(gid, gid, gid)
    apply(names, uid)
    os.setresuid(uid, uid, uid)
