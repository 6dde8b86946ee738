# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Firewalls of others in a container's way: what is read from their rules against what real packets meet.

client - host - container, each a network namespace of the test; nft and iptables write the host's rules.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.ports import PortPlan
from ansible_collections.hull.engine.plugins.module_utils._engine import firewall, firewall_restore
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine

from tests.support.bridge_site import Site
from tests.support.network_namespaces import command, dial

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

WEB = PortPlan("0.0.0.0", 8080, 80, "tcp")
FORWARD = "table inet filter { chain forward { type filter hook forward priority 0; policy %s; %s; }; }"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A container that publishes a port, and a client whose server it may reach."""
    made = Site(str(tmp_path / "hull"))
    made.host.run(command, "ip", "route", "add", "default", "via", "192.0.2.1")
    made.container("web")
    made.publish(WEB, made.addresses[0])
    made.client.serve("client", 443)
    yield made
    made.close()


def told(site: Site) -> tuple[bool, bool]:
    """Whether the engine says that packets get through: outward, to published ports."""

    def ask() -> tuple[bool, bool]:
        with Engine(site.paths) as engine:
            found = firewall.blocked(engine)
        return not any(one.outward for one in found), not any(one.inward for one in found)

    answer: tuple[bool, bool] = site.host.run(ask)
    return answer


def seen(site: Site) -> tuple[bool, bool]:
    """Whether they do."""
    outward = site.containers[0].run(lambda: dial("192.0.2.1", 443, timeout_s=0.3))
    inward = site.client.run(lambda: dial("192.0.2.2", 8080, timeout_s=0.3))
    return outward.startswith("client"), inward.startswith("web")


def load(site: Site, rules: str) -> None:
    bridge = site.network.bridge
    site.host.run(
        command,
        "nft",
        rules.replace("ANSWERS", "ct state established accept")
        .replace("BRIDGE", bridge)
        .replace("SUBNET", site.network.subnet),
    )


@pytest.mark.parametrize(
    ("rules", "passes"),
    [
        ("", (True, True)),
        (FORWARD % ("accept", ""), (True, True)),
        (FORWARD % ("drop", ""), (False, False)),
        (FORWARD % ("accept", "reject with icmp type admin-prohibited"), (False, False)),
        (FORWARD % ("accept", "counter log drop"), (False, False)),
        (FORWARD % ("drop", "ct state established,related accept"), (False, False)),
        (FORWARD % ("drop", "ct state { established, related } accept; iifname BRIDGE accept"), (True, False)),
        (FORWARD % ("drop", "ct state vmap { invalid : drop, established : accept, new : accept }"), (True, True)),
        (FORWARD % ("drop", "iifname != up0 accept; ANSWERS"), (True, False)),
        (FORWARD % ("drop", 'iifname "hull*" accept; oifname "hull*" accept'), (True, True)),
        (FORWARD % ("drop", "iif up0 accept; oif up0 tcp dport { 80, 443 } accept"), (True, False)),
        (FORWARD % ("drop", "ct status dnat accept; ANSWERS"), (False, True)),
        (FORWARD % ("drop", "oifname { lo, BRIDGE } accept; ANSWERS"), (False, True)),
        (FORWARD % ("drop", "ip saddr SUBNET accept; ip daddr SUBNET accept"), (True, True)),
        (FORWARD % ("drop", "ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept; ANSWERS"), (True, False)),
        (FORWARD % ("drop", "ip saddr . tcp dport { 10.0.0.0/8 . 1-1000 } accept; ANSWERS"), (True, False)),
        (FORWARD % ("drop", "ip daddr != 10.0.0.0-10.255.255.255 accept; ANSWERS"), (True, False)),
        (FORWARD % ("drop", "meta l4proto { tcp, udp } th dport < 100 accept; ANSWERS"), (False, True)),
        (FORWARD % ("drop", "meta mark set 1 accept"), (True, True)),
        (
            "table ip f { chain own { iifname BRIDGE accept; }; chain drops { ct state established accept; drop; };"
            " chain forward { type filter hook forward priority 10; jump own; goto drops; }; }",
            (True, False),
        ),
        ("table ip6 f { chain forward { type filter hook forward priority 0; policy drop; }; }", (True, True)),
        ("table inet f { chain input { type filter hook input priority 0; policy drop; }; }", (True, True)),
    ],
)  # fmt: skip
def test_what_nftables_rules_do_with_containers_is_foretold(site: Site, rules: str, passes: tuple[bool, bool]) -> None:
    if rules:
        load(site, rules)
    assert seen(site) == passes
    assert told(site) == passes


IPTABLES = [
    ("-P FORWARD DROP", (False, False)),
    ("-P FORWARD DROP; -A FORWARD STATE RELATED,ESTABLISHED -j ACCEPT; -A FORWARD -i hull+ -j ACCEPT", (True, False)),
    ("-P FORWARD DROP; -A FORWARD STATE NEW,ESTABLISHED -j ACCEPT", (True, True)),
    ("-P FORWARD DROP; -A FORWARD STATE ESTABLISHED,DNAT -m comment --comment x -j ACCEPT", (False, True)),
    ("-A FORWARD -j REJECT", (False, False)),
    ("-N DOCKER-USER; -A DOCKER-USER -j RETURN; -A FORWARD -j DOCKER-USER; -P FORWARD DROP", (False, False)),
    ("-N OWN; -A OWN -s 10.0.0.0/8 -p tcp -j ACCEPT; -A FORWARD -j OWN; -A FORWARD STATE NEW -j DROP", (True, False)),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "passes"), IPTABLES)
def test_what_iptables_rules_do_with_containers_is_foretold(site: Site, rules: str, passes: tuple[bool, bool]) -> None:
    for rule in rules.replace("STATE", "-m conntrack --ctstate").split("; "):
        site.host.run(command, "iptables-nft", *rule.split())
    assert seen(site) == passes
    assert told(site) == passes


def test_who_stands_in_the_way_is_named_with_a_cure(site: Site) -> None:
    for rule in ("-N DOCKER-USER", "-P FORWARD DROP"):
        site.host.run(command, "iptables-nft", *rule.split())
    load(site, FORWARD % ("accept", "jump not_ours; }; chain not_ours { oifname BRIDGE ct state new drop"))

    def ask() -> tuple[list[str], list[str]]:
        with Engine(site.paths) as engine:
            lacks = [" ".join((lack.what, lack.why, lack.cure)) for lack in firewall.lacks(engine)]
            return lacks, firewall.warning(engine, publishes=False)

    lacks, warning = site.host.run(ask)
    assert len(lacks) == 2
    docker = next(lack for lack in lacks if "(docker)" in lack)
    assert "chain ip filter FORWARD drops by its policy: containers of a bridge network reach no other host" in docker
    assert "hull firewall --open" in docker
    other = next(lack for lack in lacks if "(nftables)" in lack)
    assert "a rule of chain not_ours of chain inet filter forward drops: other hosts reach no published port" in other
    assert len(warning) == 1 and "ip filter FORWARD drops" in warning[0] and "not_ours" not in warning[0]


def _ensure(site: Site, *, opened: bool, check: bool = False) -> list[str]:
    """The chains that were opened or closed, or would be."""

    def act() -> list[str]:
        with Engine(site.paths) as engine:
            outcome = firewall.ensure(engine, opened=opened, check=check)
            assert outcome.changed == bool(outcome.actions)
            return sorted(action.subject for action in outcome.actions)

    found: list[str] = site.host.run(act)
    return found


def _rules(site: Site) -> str:
    return str(site.host.run(command, "nft", "--stateless", "list", "ruleset"))


def test_a_way_is_opened_through_every_chain_once_and_closed_again(site: Site) -> None:
    load(site, FORWARD % ("drop", "tcp dport 1 accept; reject"))
    site.host.run(command, "iptables-nft", "-P", "FORWARD", "DROP")
    before = _rules(site)
    both = ["inet filter forward", "ip filter FORWARD"]
    assert _ensure(site, opened=True, check=True) == both and _rules(site) == before
    assert _ensure(site, opened=True) == both
    assert seen(site) == told(site) == (True, True)
    opened = _rules(site)
    assert 'iifname "hull*" accept comment "hull.engine: containers pass"' in opened
    assert "-A FORWARD -i hull+" in site.host.run(command, "iptables-nft", "-S"), "iptables still reads its table"
    assert _ensure(site, opened=True) == [] and _rules(site) == opened
    assert _ensure(site, opened=False, check=True) == both and _rules(site) == opened
    assert _ensure(site, opened=False) == both and _rules(site) == before
    assert _ensure(site, opened=False) == []
    assert seen(site) == told(site) == (False, False)


def test_a_way_is_opened_before_an_administrators_own_drop_and_after_a_reload_again(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "nftables.conf"
    file.write_text("flush ruleset\n" + (FORWARD % ("accept", "drop")).replace("; };", "\n}\n"))
    site.host.run(command, "nft", "-f", str(file))
    assert _ensure(site, opened=True) == ["inet filter forward"]
    site.host.run(command, "nft", "-f", str(file))
    assert told(site) == (False, False)
    assert _ensure(site, opened=True) == ["inet filter forward"]
    assert _ensure(site, opened=True) == []


@pytest.fixture
def empty_site(tmp_path: Path) -> Iterator[Site]:
    made = Site(str(tmp_path / "hull"))
    yield made
    made.close()


def test_flushed_rules_of_the_engine_are_restored_where_its_bridge_is(empty_site: Site) -> None:
    before = _rules(empty_site)
    assert "published_any" in before
    assert empty_site.host.run(_restore, empty_site) is False
    empty_site.host.run(command, "nft", "flush", "ruleset")
    assert empty_site.host.run(_restore, empty_site) is True
    assert _rules(empty_site) == before
    empty_site.host.run(command, "ip", "link", "delete", empty_site.network.bridge)
    empty_site.host.run(command, "nft", "flush", "ruleset")
    assert empty_site.host.run(_restore, empty_site) is False
    assert _rules(empty_site) == "", "the next start of a container makes the bridge and its rules"


def _restore(site: Site) -> bool:
    with Engine(site.paths) as engine:
        return firewall_restore.restore(engine)
