# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Our nftables table against the kernel, in a namespace of its own; `nft` says what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.ports import PortPlan
from ansible_collections.hull.engine.plugins.module_utils._kernel.nftables import Nft, Published

from tests.support.network_namespaces import NetworkNamespace, command

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft as the witness"),
]

BRIDGES = [("hull0", "10.88.0.0/16")]
WEB = PortPlan("0.0.0.0", 8080, 80, "tcp")
DNS = PortPlan("127.0.0.1", 53, 5353, "udp")
RULES = """\
table ip hull {
	comment "hull.engine"
	map published {
		type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
	}
	map published_any {
		type inet_proto . inet_service : ipv4_addr . inet_service
	}
	chain guard {
		type filter hook prerouting priority raw; policy accept;
		iifname != "lo" ip daddr 127.0.0.0/8 drop
		iifname "hull0" ip saddr != 10.88.0.0/16 drop
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @published
		fib daddr type local dnat ip to meta l4proto . th dport map @published_any
	}
	chain output {
		type nat hook output priority -100; policy accept;
		fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @published
		fib daddr type local dnat ip to meta l4proto . th dport map @published_any
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "hull0" ip saddr 127.0.0.0/8 masquerade
		oifname "hull0" ip saddr 10.88.0.0/16 ct status dnat masquerade
		oifname != "hull0" ip saddr 10.88.0.0/16 masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		oifname "hull0" ct state established,related accept
		oifname "hull0" ct status dnat accept
		iifname "hull0" oifname "hull0" accept
		oifname "hull0" drop
	}
}
"""


@pytest.fixture
def host() -> Iterator[NetworkNamespace]:
    namespace = NetworkNamespace()
    yield namespace
    namespace.close()


def ruleset() -> str:
    """What nft lists, without the comments of rules and empty lines; nft 1.1 has a name for one number more."""
    lines = command("nft", "list", "ruleset").replace("output priority dstnat;", "output priority -100;").splitlines()
    return "".join(line.partition(' comment "hull.engine ')[0] + "\n" for line in lines if line)


def with_nft(namespace: NetworkNamespace, action: Callable[[Nft], object]) -> object:
    def act() -> object:
        with Nft() as nft:
            return action(nft)

    return namespace.run(act)


def test_the_table_is_what_nft_would_have_made(host: NetworkNamespace) -> None:
    assert with_nft(host, lambda nft: nft.ensure_table("hull", BRIDGES)) is True
    assert host.run(ruleset) == RULES


def test_a_second_time_nothing_is_written(host: NetworkNamespace) -> None:
    assert with_nft(host, lambda nft: (nft.ensure_table("hull", BRIDGES), nft.ensure_table("hull", BRIDGES))) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush table ip hull",
        "flush chain ip hull forward",
        "add rule ip hull forward accept",
        "insert rule ip hull guard accept",
    ],
)
def test_a_damaged_table_is_written_anew(host: NetworkNamespace, damage: str) -> None:
    def act(nft: Nft) -> bool:
        nft.ensure_table("hull", BRIDGES)
        command("nft", damage)
        return nft.ensure_table("hull", BRIDGES)

    assert with_nft(host, act) is True
    assert host.run(ruleset) == RULES


def test_published_ports_stay_when_rules_are_repaired_and_bridges_added(host: NetworkNamespace) -> None:
    def act(nft: Nft) -> list[Published]:
        nft.ensure_table("hull", BRIDGES)
        nft.publish("hull", WEB, "10.88.0.5")
        nft.publish("hull", DNS, "10.88.0.6")
        command("nft", "flush table ip hull")
        nft.ensure_table("hull", [*BRIDGES, ("hull1", "10.89.0.0/16")])
        return nft.published("hull")

    assert with_nft(host, act) == [
        Published("127.0.0.1", 53, 5353, "udp", "10.88.0.6"),
        Published("0.0.0.0", 8080, 80, "tcp", "10.88.0.5"),
    ]
    listed = host.run(command, "nft", "--numeric-protocol", "list", "ruleset")
    assert "elements = { 6 . 8080 : 10.88.0.5 . 80 }" in listed
    assert "elements = { 17 . 127.0.0.1 . 53 : 10.88.0.6 . 5353 }" in listed
    assert 'oifname != "hull1" ip saddr 10.89.0.0/16 masquerade' in listed


def test_publishing_again_replaces_a_dead_containers_address(host: NetworkNamespace) -> None:
    def act(nft: Nft) -> list[Published]:
        nft.ensure_table("hull", BRIDGES)
        for address in ("10.88.0.5", "10.88.0.5", "10.88.0.6"):
            nft.publish("hull", WEB, address)
        return nft.published("hull")

    assert with_nft(host, act) == [Published("0.0.0.0", 8080, 80, "tcp", "10.88.0.6")]


def test_unpublishing_takes_only_what_leads_to_that_address(host: NetworkNamespace) -> None:
    def act(nft: Nft) -> tuple[bool, bool, bool, int]:
        nft.ensure_table("hull", BRIDGES)
        nft.publish("hull", WEB, "10.88.0.6")
        answers = [nft.unpublish("hull", WEB, address) for address in ("10.88.0.5", "10.88.0.6", "10.88.0.6")]
        return (answers[0], answers[1], answers[2], len(nft.published("hull")))

    assert with_nft(host, act) == (False, True, False, 0)


def test_ports_are_published_all_or_none(host: NetworkNamespace) -> None:
    def act(nft: Nft) -> tuple[str, list[Published]]:
        nft.ensure_table("hull", BRIDGES)
        try:
            nft.publish_all("hull", [WEB, PortPlan("::1", 81, 81, "tcp")], "10.88.0.5")
        except Invalid as error:
            return str(error), nft.published("hull")
        return "", []

    message, published = with_nft(host, act)  # type: ignore[misc]
    assert "'::1' is not an IPv4 address" in message and published == []


def test_without_the_table_nothing_is_published_and_the_cure_is_named(host: NetworkNamespace) -> None:
    assert with_nft(host, lambda nft: (nft.published("hull"), nft.unpublish("hull", WEB, "10.88.0.5"))) == ([], False)
    with pytest.raises(Conflict, match="publish 0.0.0.0:8080/tcp to 10.88.0.5: nftables table ip hull is gone"):
        with_nft(host, lambda nft: nft.publish("hull", WEB, "10.88.0.5"))


@pytest.mark.parametrize(
    "action", [lambda nft: nft.ensure_table("hull", BRIDGES), lambda nft: nft.delete_table("hull")]
)
def test_a_table_of_somebody_else_is_left_alone(host: NetworkNamespace, action: Callable[[Nft], object]) -> None:
    host.run(command, "nft", "add table ip hull; add chain ip hull theirs; add rule ip hull theirs accept")
    before = host.run(ruleset)
    with pytest.raises(Conflict, match="nftables table ip hull exists and is not this engine's"):
        with_nft(host, action)
    assert host.run(ruleset) == before


def test_other_tables_survive_ours(host: NetworkNamespace) -> None:
    host.run(command, "nft", "add table inet filter; add chain inet filter input; add table ip hull-other")
    before = host.run(ruleset)

    def act(nft: Nft) -> tuple[bool, bool, bool]:
        nft.ensure_table("hull", BRIDGES)
        return nft.has_table("hull"), nft.delete_table("hull"), nft.delete_table("hull")

    assert with_nft(host, act) == (True, True, False)
    assert host.run(ruleset) == before


def test_ten_thousand_ports_are_listed_and_removed(host: NetworkNamespace) -> None:
    ports = [PortPlan("0.0.0.0", 10000 + number, 80, "tcp") for number in range(10000)]

    def act(nft: Nft) -> tuple[int, int]:
        nft.ensure_table("hull", BRIDGES)
        nft.publish_all("hull", ports, "10.88.0.5")
        listed = len(nft.published("hull"))
        for port in ports:
            nft.unpublish("hull", port, "10.88.0.5")
        return listed, len(nft.published("hull"))

    assert with_nft(host, act) == (10000, 0)
