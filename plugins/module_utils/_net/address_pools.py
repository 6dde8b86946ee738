# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where networks take their subnets from: blocks of one size inside larger ones. Pure."""

from __future__ import annotations

from .._base.errors import Conflict, Invalid
from .addresses import address_range, overlaps, prefix_length, to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Pools = Iterable[tuple[str, int]]  # base and the prefix length of the subnets in it

DEFAULT_POOLS = (("10.88.0.0/13", 16), ("10.96.0.0/11", 16), ("172.20.0.0/14", 16), ("172.24.0.0/13", 16))
_LONGEST = 30  # a gateway and one container
_NOBODYS = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")


def check_pool(base: str, size: int) -> None:
    """Raise Invalid, with the cure, where a pool can't be one."""
    prefix = prefix_length(base)
    first, _last = address_range(base)
    if to_text(first) != base.partition("/")[0]:
        raise Invalid(f"base {base!r} is no subnet's first address", hint=f"write {to_text(first)}/{prefix}")
    if not prefix <= size <= _LONGEST:
        raise Invalid(f"size {size} is not between the base's prefix length {prefix} and {_LONGEST}")
    if any(overlaps(base, other) for other in _NOBODYS):
        raise Invalid(
            f"base {base!r} has addresses that no container can have", hint="choose private ones: 10.88.0.0/13"
        )


def choose_subnet(taken: Iterable[str], pools: Pools = ()) -> str:
    """The first subnet of the pools that overlaps none of the taken ones; of the engine's own where none are given.

    Raises Conflict where there is none.
    """
    busy = [address_range(subnet) for subnet in taken]
    for base, size in pools or DEFAULT_POOLS:
        found = _free(base, size, busy)
        if found:
            return found
    raise Conflict(
        "create network: the host has routes to every subnet that the engine could use",
        hint="name others in default_address_pools of engine.json",
    )


def _free(base: str, size: int, busy: list[tuple[int, int]]) -> str:
    """The first free block; whatever stands in the way is stepped over at once, there may be millions of blocks."""
    first, last = address_range(base)
    step = 1 << (32 - size)
    while first <= last:
        obstacle = max((end for begin, end in busy if begin <= first + step - 1 and first <= end), default=-1)
        if obstacle < 0:
            return f"{to_text(first)}/{size}"
        first = (obstacle // step + 1) * step
    return ""
