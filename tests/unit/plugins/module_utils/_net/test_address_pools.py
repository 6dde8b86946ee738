# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which subnet a network gets."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._net.address_pools import check_pool, choose_subnet


def test_the_first_subnet_is_the_pools_first() -> None:
    assert choose_subnet([]) == "10.88.0.0/16"


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        (["10.88.0.0/16"], "10.89.0.0/16"),
        (["10.88.200.1/32", "10.89.4.0/22"], "10.90.0.0/16"),
        (["10.88.0.0/13"], "10.96.0.0/16"),
        (["10.0.0.0/8"], "172.20.0.0/16"),
        (["10.64.0.0/10", "172.16.0.0/13"], "172.24.0.0/16"),
    ],
)
def test_subnets_that_the_host_uses_are_passed_over(taken: list[str], chosen: str) -> None:
    assert choose_subnet(taken) == chosen


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ([], "192.168.100.0/26"),
        (["192.168.100.70/32"], "192.168.100.0/26"),
        (["192.168.100.1/32", "192.168.100.70/32"], "192.168.100.128/26"),
        (["192.168.100.0/24"], "198.18.0.0/30"),
        (["192.168.100.0/24", "198.18.0.0/16", "198.19.0.4/32"], "198.19.0.0/30"),
        (["192.168.100.0/24", "198.18.0.0/16", "198.19.0.1/32"], "198.19.0.4/30"),
    ],
)
def test_pools_that_are_given_take_the_place_of_the_engines_own(taken: list[str], chosen: str) -> None:
    assert choose_subnet(taken, [("192.168.100.0/24", 26), ("198.18.0.0/15", 30)]) == chosen


@pytest.mark.parametrize("pools", [(), [("10.5.0.0/16", 24)]])
def test_a_host_that_uses_all_of_them_is_a_conflict(pools: list[tuple[str, int]]) -> None:
    with pytest.raises(Conflict, match="routes to every subnet.*default_address_pools"):
        choose_subnet(["10.0.0.0/8", "172.16.0.0/12"], pools)


@pytest.mark.parametrize(
    ("base", "size", "message"),
    [
        ("10.88.0.1/13", 16, "write 10.88.0.0/13"),
        ("10.88.0.0", 16, "not a subnet"),
        ("fd00::/8", 64, "not a subnet|not an IPv4"),
        ("10.88.0.0/13", 12, "size 12 is not between the base's prefix length 13 and 30"),
        ("10.88.0.0/13", 31, "size 31"),
        ("127.0.0.0/8", 16, "no container can have"),
        ("224.0.0.0/4", 16, "no container can have"),
        ("0.0.0.0/0", 16, "no container can have"),
    ],
)
def test_a_pool_that_can_not_be_one_is_refused_with_the_cure(base: str, size: int, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_pool(base, size)
