# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A launched container on a bridge, everything in a network namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.nftables import Nft
from ansible_collections.hull.engine.plugins.module_utils._kernel.rtnetlink import Route
from ansible_collections.hull.engine.plugins.module_utils._runtime import client
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    NetworkPlan,
    PortPlan,
    RestartPlan,
)

from tests.support.box import open_box, wait_for
from tests.support.network_namespaces import NetworkNamespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NETWORK = NetworkPlan("br0", "vbox0", "198.18.5.2/24", "198.18.5.1", mac="02:00:c6:12:05:02", nft_table="hull-box")


@pytest.fixture
def host() -> Iterator[NetworkNamespace]:
    namespace = NetworkNamespace()
    namespace.run(_make_bridge)
    yield namespace
    namespace.close()


def _make_bridge() -> None:
    with Route() as route:
        route.create_bridge("br0")
        index = route.link_index("br0")
        assert index
        route.add_address(index, "198.18.5.1/24")
        route.set_up(index)
    with Nft() as nft:
        nft.ensure_table("hull-box", [("br0", "198.18.5.0/24")])


def _links() -> list[str]:
    return sorted(
        os.path.basename(line.split(":")[1].split("@")[0].strip()) for line in _ip("-o", "link").split("\n") if line
    )


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def _published() -> list[Any]:
    with Nft() as nft:
        return [(port.host_port, port.container_port, port.address) for port in nft.published("hull-box")]


def test_the_container_has_its_address_and_reaches_the_bridge(host: NetworkNamespace) -> None:
    def act() -> str:
        with open_box() as box:
            return box.sh("ip -o addr; ip route; nc 198.18.5.1 9 2>&1", network=NETWORK).text

    text = host.run(act)
    assert "198.18.5.2/24" in text and "default via 198.18.5.1" in text and "Connection refused" in text


PORTS = (PortPlan("127.0.0.1", 18080, 80, "tcp"), PortPlan("0.0.0.0", 18053, 53, "udp"))


def test_ports_are_published_and_held_while_it_runs(host: NetworkNamespace) -> None:
    def act() -> list[Any]:
        with open_box() as box:
            plan = box.plan("sleep", "1000", network=replace(NETWORK, ports=PORTS))
            box.start(plan)
            seen: list[Any] = [_links(), _published()]
            second = box.plan(
                "sleep", "1000", network=replace(NETWORK, link="vbox1", address="198.18.5.3/24", ports=PORTS)
            )
            with pytest.raises(Conflict, match="18080"):
                box.start(second)
            seen += [_links(), _published()]
            client.stop(box.paths, plan.container_id, 9, 0)
            wait_for(lambda: _links() == ["br0", "lo"], "the link to go")
            return [*seen, _links(), _published()]

    links, published, links_after, published_after, links_end, published_end = host.run(act)
    assert links == links_after == ["br0", "lo", "vbox0"]
    assert sorted(published) == sorted(published_after) == [(18053, 53, "198.18.5.2"), (18080, 80, "198.18.5.2")]
    assert (links_end, published_end) == (["br0", "lo"], [])


def test_a_restart_keeps_address_and_ports(host: NetworkNamespace) -> None:
    def act() -> list[Any]:
        with open_box() as box:
            plan = box.plan("sleep", "1000", network=replace(NETWORK, ports=PORTS), restart=RestartPlan("always"))
            first = box.start(plan).pid
            os.kill(first, 9)
            wait_for(lambda: (now := box.observe(plan)).status == "running" and now.pid != first, "the restart")
            return [_links(), _published()]

    links, published = host.run(act)
    assert links == ["br0", "lo", "vbox0"] and len(published) == 2


def test_a_container_can_be_started_again_at_once(host: NetworkNamespace) -> None:
    def act() -> list[int]:
        with open_box() as box:
            plan = box.plan("true", network=NETWORK)
            return [box.run(plan).code for _ in range(5)]

    assert host.run(act) == [0] * 5


def test_a_failing_command_leaves_no_link_and_no_port(host: NetworkNamespace) -> None:
    def act() -> list[Any]:
        with open_box() as box:
            with pytest.raises(Exception, match="no such file"):
                box.start(box.plan("/nothing", network=replace(NETWORK, ports=PORTS)))
            wait_for(lambda: _links() == ["br0", "lo"], "the link to go")
            return [_links(), _published()]

    assert host.run(act) == [["br0", "lo"], []]


def test_a_killed_monitors_ports_are_taken_back(host: NetworkNamespace) -> None:
    def act() -> list[Any]:
        with open_box() as box:
            plan = box.plan("sleep", "1000", network=replace(NETWORK, ports=PORTS))
            box.start(plan)
            os.kill(box.state(plan)["monitor_pid"], 9)
            wait_for(lambda: not box.observe(plan).monitored, "the monitor to die")
            client.stop(box.paths, plan.container_id, 9, 0)
            wait_for(lambda: _links() == ["br0", "lo"], "the link to go")
            return _published()

    assert host.run(act) == []


def test_joining_another_containers_network(host: NetworkNamespace) -> None:
    def act() -> str:
        with open_box() as box:
            provider = box.plan("sleep", "1000", network=NETWORK)
            pid = box.start(provider).pid
            namespaces = tuple(name for name in provider.namespaces if name != "net")
            return box.sh("ip -o addr show eth0", namespaces=namespaces, join={"net": pid}).text

    assert "198.18.5.2/24" in host.run(act)


def test_a_missing_bridge_is_named(host: NetworkNamespace) -> None:
    def act() -> None:
        with open_box() as box, pytest.raises(Conflict, match="bridge none0"):
            box.start(box.plan("true", network=replace(NETWORK, bridge="none0")))

    host.run(act)
