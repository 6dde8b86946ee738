# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Host ports, with sockets on loopback addresses that only these tests use."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.ports import PortPlan
from ansible_collections.hull.engine.plugins.module_utils._base.spec import PortSpec
from ansible_collections.hull.engine.plugins.module_utils._net import ports

HERE = "127.83.7.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HERE, 0))
        sock.listen()
        yield sock


def free_port(protocol: str = "tcp") -> int:
    (plan,) = ports.choose_ports([PortSpec(80, host_address=HERE, protocol=protocol)], set())
    return plan.host_port


def test_ports_that_are_given_are_kept() -> None:
    assert ports.choose_ports([PortSpec(80, 8080), PortSpec(53, 53, "127.0.0.1", "udp")], set()) == (
        PortPlan("0.0.0.0", 8080, 80, "tcp"),
        PortPlan("127.0.0.1", 53, 53, "udp"),
    )


def test_chosen_ports_are_of_the_local_range_and_differ() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        low, high = map(int, file.read().split())
    chosen = [plan.host_port for plan in ports.choose_ports([PortSpec(80, host_address=HERE)] * 20, set())]
    assert len(set(chosen)) == 20 and all(low <= port <= high for port in chosen)


def test_no_port_is_chosen_that_another_container_has() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        low, high = map(int, file.read().split())
    used = {("0.0.0.0", port, "tcp") for port in range(low, high + 1)}
    with pytest.raises(Conflict, match="no free tcp port on 127.83.7.1"):
        ports.choose_ports([PortSpec(80, host_address=HERE)], used)
    assert ports.choose_ports([PortSpec(80, host_address=HERE, protocol="udp")], used)[0].protocol == "udp"


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (PortSpec(80, 8080), PortSpec(81, 8080), True),
        (PortSpec(80, 8080), PortSpec(81, 8080, "127.0.0.1"), True),
        (PortSpec(80, 8080, "127.0.0.2"), PortSpec(81, 8080, "127.0.0.1"), False),
        (PortSpec(80, 8080), PortSpec(80, 8080, protocol="udp"), False),
    ],
)
def test_a_port_asked_for_twice_is_invalid(one: PortSpec, other: PortSpec, clash: bool) -> None:
    if not clash:
        assert len(ports.choose_ports([one, other], set())) == 2
        return
    with pytest.raises(Invalid, match="published_ports: .*:8080/tcp is published twice"):
        ports.choose_ports([one, other], set())


@pytest.mark.parametrize("spec", [PortSpec(80, 8080, "::"), PortSpec(80, 8080, protocol="sctp")])
def test_what_can_not_be_published_is_invalid(spec: PortSpec) -> None:
    with pytest.raises(Invalid, match="published_ports"):
        ports.choose_ports([spec], set())


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_a_port_of_another_container_is_a_conflict_that_names_it(address: str) -> None:
    holders = {("0.0.0.0", 8080, "tcp"): "web"}
    with pytest.raises(Conflict, match=f"published_ports: {address}:8080/tcp is in use by container web"):
        ports.check_free(PortPlan(address, 8080, 80, "tcp"), holders)


def test_a_port_of_a_process_is_a_conflict_that_names_it(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(Conflict, match=f"{HERE}:{port}/tcp is in use by process {os.getpid()} "):
        ports.check_free(PortPlan(HERE, port, 80, "tcp"), {})
    with pytest.raises(Conflict, match=f"0.0.0.0:{port}/tcp is in use by process"):
        ports.reserve(PortPlan("0.0.0.0", port, 80, "tcp"))


def test_a_udp_port_of_a_process_is_a_conflict_that_names_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        port = sock.getsockname()[1]
        with pytest.raises(Conflict, match=f"{HERE}:{port}/udp is in use by process {os.getpid()} "):
            ports.check_free(PortPlan(HERE, port, 53, "udp"), {})


def test_a_free_port_is_free_and_stays_so() -> None:
    port = PortPlan(HERE, free_port(), 80, "tcp")
    ports.check_free(port, {("0.0.0.0", port.host_port, "udp"): "dns", ("127.83.7.2", port.host_port, "tcp"): "web"})
    ports.check_free(port, {})


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_reserved_port_is_refused_to_others_until_it_is_closed(protocol: str, kind: int) -> None:
    port = PortPlan(HERE, free_port(protocol), 80, protocol)
    fd = ports.reserve(port)
    try:
        assert not os.get_inheritable(fd)
        with pytest.raises(Conflict, match="is in use by"):
            ports.reserve(port)
        with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            other.bind((HERE, port.host_port))
    finally:
        os.close(fd)
    os.close(ports.reserve(port))


def test_a_reserved_port_does_not_listen() -> None:
    port = PortPlan(HERE, free_port(), 80, "tcp")
    fd = ports.reserve(port)
    try:
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect((HERE, port.host_port))
    finally:
        os.close(fd)


def test_connections_of_an_ordinary_server_in_time_wait_do_not_keep_a_port() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HERE, 0))
        listener.listen()
        number = listener.getsockname()[1]
        client = socket.create_connection((HERE, number))
        served, _peer = listener.accept()
        served.close()
        client.recv(1)
        client.close()
    os.close(ports.reserve(PortPlan(HERE, number, 80, "tcp")))


def test_an_address_that_is_not_the_hosts_is_invalid() -> None:
    with pytest.raises(Invalid, match="published_ports: 192.0.2.251 is not an address of this host"):
        ports.reserve(PortPlan("192.0.2.251", 8080, 80, "tcp"))
