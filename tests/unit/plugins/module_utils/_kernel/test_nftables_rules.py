# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The rules as data: which there are, and that every change of one shows."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._kernel.nftables_rules import CHAINS, pack_ipv4, rules

MAPS = {"published": 1, "published_any": 2}


def test_every_rule_is_in_a_chain_of_the_table() -> None:
    assert {rule.chain for rule in rules((("hull0", "10.88.0.0/16"),), MAPS)} == {chain.name for chain in CHAINS}


def test_a_bridge_adds_its_own_rules_behind_the_others() -> None:
    one = rules((("hull0", "10.88.0.0/16"),), MAPS)
    two = rules((("hull0", "10.88.0.0/16"), ("hull1", "10.89.0.0/16")), MAPS)
    assert two[: len(one)] == one and len(two) > len(one)


@pytest.mark.parametrize("bridge", [("hull1", "10.88.0.0/16"), ("hull0", "10.89.0.0/16"), ("hull0", "10.88.0.0/17")])
def test_another_bridge_or_subnet_gives_other_expressions(bridge: tuple[str, str]) -> None:
    first, second = rules((("hull0", "10.88.0.0/16"),), MAPS), rules((bridge,), MAPS)
    assert {rule.expressions for rule in first} != {rule.expressions for rule in second}


def test_host_bits_of_a_subnet_do_not_matter() -> None:
    assert rules((("hull0", "10.88.7.7/16"),), MAPS) == rules((("hull0", "10.88.0.0/16"),), MAPS)


@pytest.mark.parametrize("address", ["::1", "", "10.88.0", "localhost"])
def test_only_ipv4_addresses_are_published(address: str) -> None:
    with pytest.raises(Invalid, match="is not an IPv4 address"):
        pack_ipv4(address)
