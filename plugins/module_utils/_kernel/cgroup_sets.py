# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Lists of CPUs and memory nodes as cpuset files write them, and whether the host has what was asked for.

The kernels differ in what they do about a CPU that is not there (refuse, with EACCES or ERANGE, or run on all), so it
is checked before. Source: cpuset(7), "List format".
"""

from __future__ import annotations

from .._base.errors import Invalid

_MOST = 65_536


def parse_set(text: str, *, option: str) -> set[int]:
    """{0, 1, 2, 5} from `0-2,5`. Raises Invalid, naming the option."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (_is_number(first) and _is_number(last)) or not int(first) <= int(last) < _MOST:
            raise Invalid(f"{text!r} is not a list of numbers", option=option, hint="write it like 0-2,5")
        numbers.update(range(int(first), int(last) + 1))
    return numbers


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def check_set(wanted: str, available: str, *, option: str) -> None:
    """Refuse a list that is malformed, or has what the `available` list does not. Raises Invalid."""
    extra = parse_set(wanted, option=option) - (parse_set(available, option=option) if available else set())
    if extra and available:
        missing = ",".join(map(str, sorted(extra)[:10]))
        raise Invalid(f"{wanted!r} has {missing}, this host has {available}", option=option)
