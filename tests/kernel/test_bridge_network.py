# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The bridge network with real packets: client - host - containers, each in a network namespace of the test."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.ports import PortPlan
from ansible_collections.hull.engine.plugins.module_utils._kernel import links, namespaces
from ansible_collections.hull.engine.plugins.module_utils._kernel.nftables import Nft, Published
from ansible_collections.hull.engine.plugins.module_utils._net import addresses, bridges
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import NetworkRecord

from tests.support.bridge_site import Site
from tests.support.network_namespaces import NetworkNamespace, command, dial

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft as the witness"),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(str(tmp_path / "hull"))
    yield made
    made.close()


WEB = PortPlan("0.0.0.0", 8080, 80, "tcp")


def test_a_client_reaches_a_published_port_and_is_seen_by_its_address(site: Site) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    assert site.client.run(dial, "192.0.2.2", 8080) == "web 192.0.2.1"


def test_a_published_udp_port_answers_client_and_localhost(site: Site) -> None:
    site.container("dns")
    site.publish(PortPlan("0.0.0.0", 5300, 53, "udp"), site.addresses[0])
    assert site.client.run(lambda: dial("192.0.2.2", 5300, udp=True)) == "dns 192.0.2.1"
    assert site.host.run(lambda: dial("127.0.0.1", 5300, udp=True)) == "dns 10.88.0.1"


@pytest.mark.parametrize(
    ("address", "seen"),
    [("127.0.0.1", "10.88.0.1"), ("127.0.0.53", "10.88.0.1"), ("192.0.2.2", "192.0.2.2"), ("10.88.0.1", "10.88.0.1")],
)
def test_the_host_reaches_a_published_port_at_any_of_its_addresses(site: Site, address: str, seen: str) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    assert site.host.run(dial, address, 8080) == f"web {seen}"


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
def test_a_container_reaches_published_ports_of_itself_and_of_another(site: Site, bridge_netfilter: str) -> None:
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if os.path.exists(switch):
        site.host.run(_write, switch, bridge_netfilter)
    web, other = site.container("web"), site.container("other")
    site.publish(WEB, site.addresses[0])
    for address in ("192.0.2.2", "10.88.0.1"):
        assert web.run(dial, address, 8080) == "web 10.88.0.1"
        assert other.run(dial, address, 8080) == "web 10.88.0.1"


def test_containers_reach_each_other_directly(site: Site) -> None:
    site.container("web")
    other = site.container("other")
    assert other.run(dial, site.addresses[0], 81) == f"web {site.addresses[1]}"


def test_a_container_reaches_outward_with_the_hosts_address(site: Site) -> None:
    web = site.container("web")
    site.client.serve("client", 7000)
    assert web.run(dial, "192.0.2.1", 7000) == "client 192.0.2.2"


def test_an_unpublished_port_is_refused_by_the_host_itself(site: Site) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    assert site.client.run(dial, "192.0.2.2", 8081) == "refused"
    assert site.host.run(dial, "127.0.0.1", 8081) == "refused"


def test_a_port_published_on_localhost_is_not_reached_from_outside(site: Site) -> None:
    site.container("web")
    site.publish(PortPlan("127.0.0.1", 8080, 80, "tcp"), site.addresses[0])
    assert site.host.run(dial, "127.0.0.1", 8080) == "web 10.88.0.1"
    assert site.client.run(dial, "192.0.2.2", 8080) == "refused"
    site.client.run(command, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    site.client.run(command, "ip", "route", "add", "127.0.0.0/8", "via", "192.0.2.2", "src", "192.0.2.1")
    site.client.run(_write, "/proc/sys/net/ipv4/conf/all/route_localnet", "1")
    assert site.client.run(_silent, "127.0.0.1", 8080)


def test_a_container_does_not_reach_the_hosts_localhost(site: Site) -> None:
    web = site.container("web")
    site.host.serve("host", 9000)
    web.run(command, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    web.run(command, "ip", "route", "add", "127.0.0.0/8", "via", "10.88.0.1", "src", site.addresses[0])
    web.run(_write, "/proc/sys/net/ipv4/conf/all/route_localnet", "1")
    assert web.run(_silent, "127.0.0.1", 9000)
    assert web.run(dial, "10.88.0.1", 9000) == f"host {site.addresses[0]}", "what listens on all addresses is reachable"


def test_a_neighbour_that_routes_to_the_subnet_reaches_no_container(site: Site) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    site.client.run(command, "ip", "route", "add", "10.88.0.0/16", "via", "192.0.2.2")
    assert site.client.run(_silent, site.addresses[0], 80)
    assert site.client.run(_silent, site.addresses[0], 81)


def test_a_forged_sender_does_not_leave_the_bridge(site: Site) -> None:
    web = site.container("web")
    web.run(command, "ip", "addr", "add", "198.51.100.7/32", "dev", "eth0")
    site.client.run(command, "ip", "route", "add", "198.51.100.7/32", "via", "192.0.2.2")
    site.host.run(command, "ip", "route", "add", "198.51.100.7/32", "dev", site.network.bridge)
    site.client.serve("client", 7000)
    assert web.run(_silent, "192.0.2.1", 7000, "198.51.100.7")


def test_an_unpublished_port_no_longer_leads_to_the_container(site: Site) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    assert site.client.run(dial, "192.0.2.2", 8080) == "web 192.0.2.1"
    site.unpublish(WEB, site.addresses[0])
    assert site.client.run(dial, "192.0.2.2", 8080) == "refused"


def test_a_udp_client_that_keeps_sending_reaches_what_is_published_meanwhile(site: Site) -> None:
    site.container("first")
    site.container("second")
    port = PortPlan("0.0.0.0", 5300, 53, "udp")
    other = PortPlan("0.0.0.0", 5301, 53, "udp")
    site.publish(other, site.addresses[1])
    with site.client.make_socket(socket.SOCK_DGRAM) as client:
        client.bind(("192.0.2.1", 5555))
        client.connect(("192.0.2.2", 5300))
        assert _ask(client) == "refused"
        site.publish(port, site.addresses[0])
        assert _ask(client) == "first 192.0.2.1"
        site.publish(port, site.addresses[1])
        assert _ask(client) == "second 192.0.2.1"
        client.connect(("192.0.2.2", 5301))
        assert _ask(client) == "second 192.0.2.1"
        site.unpublish(port, site.addresses[1])
        assert _ask(client) == "second 192.0.2.1", "flows to other ports go on"
        client.connect(("192.0.2.2", 5300))
        assert _ask(client) == "refused"


def test_after_a_flush_of_all_rules_the_next_ensure_brings_protection_and_ports_back(site: Site) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    site.client.run(command, "ip", "route", "add", "10.88.0.0/16", "via", "192.0.2.2")
    site.host.run(command, "nft", "flush ruleset")
    assert site.client.run(dial, "192.0.2.2", 8080) == "refused"
    assert site.client.run(dial, site.addresses[0], 81) == "web 192.0.2.1", "without rules the host merely routes"
    site.ensure(published=[(WEB, site.addresses[0])])
    assert site.client.run(dial, "192.0.2.2", 8080) == "web 192.0.2.1"
    assert site.client.run(_silent, site.addresses[0], 81)


def test_a_deleted_bridge_is_made_again_with_the_running_containers_on_it(site: Site) -> None:
    web = site.container("web")
    site.publish(WEB, site.addresses[0])
    site.host.run(command, "ip", "link", "delete", site.network.bridge)
    assert site.client.run(dial, "192.0.2.2", 8080) != "web 192.0.2.1"
    assert site.ensure() == site.network
    assert site.client.run(dial, "192.0.2.2", 8080) == "web 192.0.2.1"
    assert web.run(dial, "192.0.2.2", 8080) == "web 10.88.0.1"


@pytest.mark.parametrize(
    "damage", ["ip link set {} down", "ip addr flush dev {}", "sysctl -q net.ipv4.conf.{}.route_localnet=0"]
)
def test_a_changed_bridge_is_repaired(site: Site, damage: str) -> None:
    site.container("web")
    site.publish(WEB, site.addresses[0])
    words = damage.format(site.network.bridge).split()
    if words[0] == "sysctl":
        name, _, value = words[-1].partition("=")
        site.host.run(_write, "/proc/sys/" + name.replace(".", "/"), value)
    else:
        site.host.run(command, *words)
    site.ensure()
    assert site.host.run(dial, "127.0.0.1", 8080) == "web 10.88.0.1"


def test_the_bridge_has_no_ipv6_and_says_whose_it_is(site: Site) -> None:
    site.container("web")
    shown = site.host.run(command, "ip", "addr", "show", site.network.bridge)
    assert "inet6" not in shown and f"alias hull {site.paths.root}" in site.host.run(
        command, "ip", "link", "show", site.network.bridge
    )
    assert site.host.run(_read, f"/proc/sys/net/ipv6/conf/{site.network.bridge}/accept_ra") == "0"


def test_a_second_time_nothing_changes(site: Site) -> None:
    site.container("web")
    before = site.host.run(command, "ip", "addr"), site.host.run(command, "nft", "-a", "list", "ruleset")
    site.ensure()
    assert (site.host.run(command, "ip", "addr"), site.host.run(command, "nft", "-a", "list", "ruleset")) == before


def test_a_foreign_link_of_our_name_is_refused_and_left_alone(site: Site) -> None:
    site.host.run(command, "ip", "link", "delete", site.network.bridge)
    site.host.run(command, "ip", "link", "add", site.network.bridge, "type", "bridge")
    with pytest.raises(Conflict, match=f"link {site.network.bridge} exists and is not this engine's bridge"):
        site.ensure()
    assert "10.88.0.1" not in site.host.run(command, "ip", "addr")


def test_a_half_made_bridge_is_recognised_and_finished(site: Site) -> None:
    site.host.run(command, "ip", "link", "set", site.network.bridge, "alias", "")
    site.host.run(command, "ip", "link", "set", site.network.bridge, "down")
    assert site.ensure() == site.network
    assert f"alias hull {site.paths.root}" in site.host.run(command, "ip", "link", "show", site.network.bridge)


def test_a_subnet_that_the_host_has_got_meanwhile_is_a_conflict(site: Site) -> None:
    site.host.run(command, "ip", "link", "delete", site.network.bridge)
    site.host.run(command, "ip", "addr", "add", "10.88.7.7/24", "dev", "up0")
    with pytest.raises(Conflict, match="the host has 10.88.7.7/24, which is in its subnet 10.88.0.0/16"):
        site.ensure()
    assert site.network.bridge not in site.host.run(command, "ip", "link")


def test_two_engines_on_a_host_have_a_bridge_subnet_and_table_each(site: Site, tmp_path: Path) -> None:
    other = Paths(root=str(tmp_path / "other"), run=str(tmp_path / "other-run"))
    os.makedirs(other.root)

    def act() -> NetworkRecord:
        database = open_database(other, create=True)
        assert database is not None
        return bridges.ensure_bridge(database, other)

    second = site.host.run(act)
    assert second.subnet == "10.89.0.0/16" and second.bridge != site.network.bridge
    site.container("web")
    site.publish(WEB, site.addresses[0])
    assert site.client.run(dial, "192.0.2.2", 8080) == "web 192.0.2.1"
    tables = site.host.run(command, "nft", "list", "tables")
    assert f"table ip {site.table}\n" in tables and f"table ip {bridges.table_name(other)}\n" in tables


def test_a_removed_network_leaves_no_link_table_or_record(site: Site) -> None:
    assert site.with_records(lambda database: bridges.remove_bridge(database, site.paths)) is True
    assert site.network.bridge not in site.host.run(command, "ip", "link")
    assert site.host.run(command, "nft", "list", "ruleset") == ""
    assert site.with_records(lambda database: bridges.remove_bridge(database, site.paths)) is False


def test_a_network_with_leases_is_not_removed(site: Site) -> None:
    site.container("web")
    with pytest.raises(Conflict, match="containers have addresses in it"):
        site.with_records(lambda database: bridges.remove_bridge(database, site.paths))
    assert site.network.bridge in site.host.run(command, "ip", "link")


def test_two_processes_at_once_make_one_network(tmp_path: Path) -> None:
    root = str(tmp_path / "hull")
    os.makedirs(root)
    paths, host = Paths(root=root, run=root + "-run"), NetworkNamespace()

    def ensure(told: int) -> None:
        database = open_database(paths, create=True)
        assert database is not None
        record = bridges.ensure_bridge(database, paths)
        os.write(told, b"1" if record.subnet == "10.88.0.0/16" else b"0")
        os._exit(0)

    try:
        threads = [threading.Thread(target=host.hold, args=(ensure,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shown = host.run(command, "ip", "-o", "addr", "show", bridges.bridge_name(paths))
        assert shown.count("10.88.0.1/16") == 1
        assert host.run(command, "nft", "list", "ruleset").count("masquerade comment") == 3
    finally:
        host.close()


def test_two_engines_that_begin_at_once_have_a_subnet_each(tmp_path: Path) -> None:
    host = NetworkNamespace()

    def ensure(told: int, number: int) -> None:
        paths = Paths(root=str(tmp_path / f"hull{number}"), run=str(tmp_path / f"run{number}"))
        os.makedirs(paths.root)
        database = open_database(paths, create=True)
        assert database is not None
        bridges.ensure_bridge(database, paths)
        os.write(told, b"1")
        os._exit(0)

    try:
        threads = [threading.Thread(target=host.hold, args=(partial(ensure, number=n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shown = host.run(command, "ip", "-o", "-4", "addr")
        assert sorted(re.findall(r"inet (10\.\d+)\.0\.1/16", shown)) == [f"10.{88 + n}" for n in range(8)], shown
    finally:
        host.close()


def test_a_lock_that_a_stranger_holds_delays_and_does_not_prevent_a_network(site: Site, tmp_path: Path) -> None:
    other = Paths(root=str(tmp_path / "other"), run=str(tmp_path / "other-run"))
    os.makedirs(other.root)

    def act() -> NetworkRecord:
        fd = namespaces.lock_namespace("net", 1)
        database = open_database(other, create=True)
        assert database is not None
        try:
            return bridges.ensure_bridge(database, other)
        finally:
            os.close(fd)

    assert site.host.run(act).subnet == "10.89.0.0/16"


def test_links_that_no_container_accounts_for_are_found(site: Site) -> None:
    pytest.importorskip("pyroute2")
    site.container("web")
    site.container("other")

    def act() -> list[str]:
        known = addresses.link_name("01" + 62 * "a")
        return [link.name for link in links.orphans("hv", {known})]

    assert site.host.run(act) == [addresses.link_name("02" + 62 * "a")]


def test_published_ports_are_read_back(site: Site) -> None:
    site.publish(WEB, "10.88.0.9")

    def act() -> list[Published]:
        with Nft() as nft:
            return nft.published(site.table)

    assert site.host.run(act) == [Published("0.0.0.0", 8080, 80, "tcp", "10.88.0.9")]


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def _ask(client: socket.socket) -> str:
    client.settimeout(3)
    try:
        client.send(b"?")
        return client.recv(1000).decode()
    except ConnectionRefusedError:
        return "refused"
    except socket.timeout:  # TimeoutError from 3.10 on
        return "silence"


def _silent(address: str, port: int, source: str = "") -> bool:
    """Whether a connection gets no answer at all within a time that is long for a local one."""
    with socket.socket() as connection:
        connection.settimeout(0.5)
        if source:
            connection.bind((source, 0))
        try:
            connection.connect((address, port))
        except socket.timeout:  # TimeoutError from 3.10 on
            return True
    return False
