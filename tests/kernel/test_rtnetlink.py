# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Our rtnetlink against the kernel, in namespaces of its own; `ip` and pyroute2 say what is there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import SyscallError
from ansible_collections.hull.engine.plugins.module_utils._kernel import links
from ansible_collections.hull.engine.plugins.module_utils._kernel.rtnetlink import Route

from tests.support.network_namespaces import NetworkNamespace, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def new_namespace() -> Iterator[Callable[[], NetworkNamespace]]:
    made: list[NetworkNamespace] = []

    def make() -> NetworkNamespace:
        made.append(NetworkNamespace())
        return made[-1]

    yield make
    for namespace in made:
        namespace.close()


@pytest.fixture
def host(new_namespace: Callable[[], NetworkNamespace]) -> NetworkNamespace:
    return new_namespace()


@pytest.fixture
def container(new_namespace: Callable[[], NetworkNamespace]) -> NetworkNamespace:
    return new_namespace()


def make_bridge(name: str = "b0", mac: str | None = None) -> int:
    with Route() as route:
        route.create_bridge(name, mac)
        index = route.link_index(name)
        assert index is not None
        route.add_address(index, "10.99.0.1/16")
        route.set_up(index)
        return index


def ip_link(name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(command("ip", "-json", "-details", "address", "show", "dev", name))
    return found[0]


def test_a_bridge_has_its_mac_address_and_is_up(host: NetworkNamespace) -> None:
    host.run(make_bridge, "b0", "02:00:00:00:00:07")
    seen = host.run(ip_link, "b0")
    assert (
        seen["linkinfo"]["info_kind"] == "bridge" and seen["address"] == "02:00:00:00:00:07" and "UP" in seen["flags"]
    )
    address = next(info for info in seen["addr_info"] if info["family"] == "inet")
    assert (address["local"], address["prefixlen"], address["broadcast"]) == ("10.99.0.1", 16, "10.99.255.255")


def test_pyroute2_sees_what_we_read(host: NetworkNamespace) -> None:
    pytest.importorskip("pyroute2")

    def act() -> None:
        make_bridge("b0", "02:00:00:00:00:07")
        with Route() as route:
            index = route.link_index("b0")
            assert index is not None
            route.set_alias(index, "hull /some/where")
            assert {link.name: link for link in route.links()} == {link.name: link for link in links.list_links()}
            assert [link.name for link in route.links()] == ["lo", "b0"]

    host.run(act)


@pytest.mark.parametrize("by_fd", [False, True])
def test_a_veth_pair_is_plugged_with_its_peer_born_in_the_other_namespace(
    host: NetworkNamespace, container: NetworkNamespace, by_fd: bool
) -> None:
    index = host.run(make_bridge)
    pid = container.hold(lambda told: (os.write(told, b"1"), os.read(os.pipe()[0], 1)))  # type: ignore[arg-type,return-value]

    def plug() -> None:
        with Route() as route:
            if by_fd:
                route.plug_veth("hv1", index, "eth0", 0, "02:00:00:00:00:05", 1400, netns_fd=container.fd, alias="mine")
            else:
                route.plug_veth("hv1", index, "eth0", pid, "02:00:00:00:00:05", 1400, alias="mine")

    host.run(plug)
    outside, inside = host.run(ip_link, "hv1"), container.run(ip_link, "eth0")
    assert outside["master"] == "b0" and "UP" in outside["flags"] and outside["ifalias"] == "mine"
    assert outside["addr_info"] == [], "no IPv6 address on a bridge's port"
    assert inside["address"] == "02:00:00:00:00:05" and inside["mtu"] == 1400 and "UP" not in inside["flags"]
    assert "eth0" not in host.run(command, "ip", "link")


def test_a_plugged_namespace_connects_and_reaches_the_bridge(
    host: NetworkNamespace, container: NetworkNamespace
) -> None:
    index = host.run(make_bridge)

    def plug() -> None:
        with Route() as route:
            route.plug_veth("hv1", index, "eth0", 0, netns_fd=container.fd)

    def connect() -> None:
        with Route() as route:
            found = route.link_index("eth0")
            assert found is not None
            route.connect(found, "10.99.0.5/16", "10.99.0.1")

    host.run(plug)
    container.run(connect)
    routes = container.run(command, "ip", "route")
    assert "default via 10.99.0.1 dev eth0" in routes and "10.99.0.0/16 dev eth0" in routes
    assert "10.99.0.1" in container.run(command, "ip", "route", "get", "10.99.0.1")


def test_an_ipv6_address_is_added_without_duplicate_detection(host: NetworkNamespace) -> None:
    def act() -> list[str]:
        index = make_bridge()
        with Route() as route:
            route.add_address(index, "fd00:99::1/64")
            return [address.address for address in route.addresses(index)]

    assert "fd00:99::1/64" in host.run(act)
    assert "tentative" not in str(
        [info for info in host.run(ip_link, "b0")["addr_info"] if info["local"] == "fd00:99::1"]
    )


def test_routes_are_the_main_tables(host: NetworkNamespace) -> None:
    def act() -> list[str]:
        make_bridge()
        command("ip", "route", "add", "default", "via", "10.99.0.9")
        command("ip", "route", "add", "198.51.100.0/24", "via", "10.99.0.9")
        command("ip", "route", "add", "203.0.113.0/24", "via", "10.99.0.9", "table", "99")
        with Route() as route:
            return sorted(network.destination for network in route.routes())

    assert host.run(act) == ["0.0.0.0/0", "10.99.0.0/16", "198.51.100.0/24"]


def test_addresses_of_one_link_only(host: NetworkNamespace) -> None:
    def act() -> list[str]:
        make_bridge()
        with Route() as route:
            return [address.address for address in route.addresses(1)]

    assert host.run(act) == ["127.0.0.1/8", "::1/128"]


@pytest.mark.parametrize(
    ("action", "number", "words"),
    [
        (lambda route: route.create_bridge("b0"), errno.EEXIST, "create bridge b0: EEXIST"),
        (lambda route: route.delete_link("none"), errno.ENODEV, "delete link none: ENODEV"),
        (lambda route: route.create_bridge("n" * 16), errno.ERANGE, "ERANGE"),
        (lambda route: route.set_up(9999), errno.ENODEV, "bring link 9999 up"),
        (lambda route: route.add_default_route("192.0.2.1"), errno.ENETUNREACH, "Nexthop has invalid gateway"),
        (lambda route: route.plug_veth("hv1", 9999, "p0", os.getpid()), errno.EINVAL, "plug veth hv1"),
    ],
)
def test_a_refusal_names_the_operation_and_the_kernels_reason(
    host: NetworkNamespace, action: Callable[[Route], None], number: int, words: str
) -> None:
    def act() -> tuple[int, str]:
        make_bridge()
        with Route() as route:
            try:
                action(route)
            except SyscallError as error:
                return error.errno, str(error)
        return 0, ""

    found, message = host.run(act)
    assert (found, words in message) == (number, True), message


def test_a_pair_whose_name_is_taken_leaves_the_other_link_as_it_is(
    host: NetworkNamespace, container: NetworkNamespace
) -> None:
    index = host.run(make_bridge)
    host.run(command, "ip", "link", "add", "hv1", "type", "bridge")

    def plug() -> None:
        with Route() as route:
            route.plug_veth("hv1", index, "eth0", 0, netns_fd=container.fd, alias="mine")

    with pytest.raises(SyscallError, match="EEXIST"):
        host.run(plug)
    other = host.run(ip_link, "hv1")
    assert "ifalias" not in other and "UP" not in other["flags"] and "master" not in other
    assert "eth0" not in container.run(command, "ip", "link")


def test_a_pair_that_can_not_be_plugged_leaves_nothing(host: NetworkNamespace, container: NetworkNamespace) -> None:
    def plug() -> None:
        with Route() as route:
            route.plug_veth("hv1", 1, "eth0", 0, netns_fd=container.fd)

    with pytest.raises(SyscallError, match="plug veth hv1 into bridge 1"):
        host.run(plug)
    assert "hv1" not in host.run(command, "ip", "link") and "eth0" not in container.run(command, "ip", "link")


def test_deleting_our_end_takes_the_peer_with_it(host: NetworkNamespace, container: NetworkNamespace) -> None:
    index = host.run(make_bridge)

    def act() -> None:
        with Route() as route:
            route.plug_veth("hv1", index, "eth0", 0, netns_fd=container.fd)
            route.delete_link("hv1")

    host.run(act)
    assert "eth0" not in container.run(command, "ip", "link")


def test_many_links_are_listed_in_one_dump(host: NetworkNamespace, container: NetworkNamespace) -> None:
    index = host.run(make_bridge)

    def act() -> int:
        with Route() as route:
            for number in range(100):
                route.plug_veth(f"hv{number}", index, f"eth{number}", 0, netns_fd=container.fd)
            return len(route.links())

    assert host.run(act) == 102
