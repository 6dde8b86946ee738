# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A host with the engine's bridge, a client beside it and containers on it, each a network namespace of the test.

The client has 192.0.2.1 and reaches the host at 192.0.2.2. Servers answer with their label and the address that they
were reached from, so an answer shows who was reached and what was translated.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._kernel.nftables import Nft
from ansible_collections.hull.engine.plugins.module_utils._kernel.rtnetlink import Route
from ansible_collections.hull.engine.plugins.module_utils._net import addresses, bridges
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord, NetworkRecord

from tests.support.network_namespaces import NetworkNamespace, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.hull.engine.plugins.module_utils._base.ports import PortPlan


class Site:
    """A host with an engine of its own, a client beside it, and containers as they are asked for."""

    def __init__(self, root: str) -> None:
        os.makedirs(root)
        self.paths = Paths(root=root, run=root + "-run")
        self.table = bridges.table_name(self.paths)
        self.host, self.client = NetworkNamespace(), NetworkNamespace()
        self.containers: list[NetworkNamespace] = []
        self.addresses: list[str] = []
        veth = ("type", "veth", "peer", "c0", "netns", f"/proc/{os.getpid()}/fd/{self.client.fd}")
        self.host.run(command, "ip", "link", "add", "up0", *veth)
        self.host.run(command, "ip", "addr", "add", "192.0.2.2/24", "dev", "up0")
        self.host.run(command, "ip", "link", "set", "up0", "up")
        self.client.run(command, "ip", "addr", "add", "192.0.2.1/24", "dev", "c0")
        self.client.run(command, "ip", "link", "set", "c0", "up")
        self.network = self.ensure()

    def with_records(self, action: Callable[[Database], object]) -> object:
        """Run an action in the host's namespace with the records open."""

        def act() -> object:
            database = open_database(self.paths, create=True)
            assert database is not None
            try:
                return action(database)
            finally:
                database.close()

        return self.host.run(act)

    def ensure(self, published: list[tuple[PortPlan, str]] | None = None) -> NetworkRecord:
        result = self.with_records(
            lambda database: bridges.ensure_bridge(database, self.paths, published=lambda: published or [])
        )
        assert isinstance(result, NetworkRecord)
        return result

    def container(self, label: str) -> NetworkNamespace:
        """A plugged container that serves its label on TCP 80 and UDP 53, and TCP 81, which nobody publishes."""
        container_id = f"{len(self.containers) + 1:02d}" + 62 * "a"
        namespace = NetworkNamespace()
        self.containers.append(namespace)
        address = str(self.with_records(lambda database: _lease(database, self.network, container_id)))
        mac = addresses.mac_address(address.partition("/")[0])

        def plug() -> None:
            with Route() as route:
                index = route.link_index(self.network.bridge)
                assert index is not None
                name = addresses.link_name(container_id)
                route.plug_veth(name, index, "eth0", 0, mac, netns_fd=namespace.fd)

        def connect() -> None:
            with Route() as route:
                index = route.link_index("eth0")
                assert index is not None
                route.connect(index, address, self.network.gateway)

        self.host.run(plug)
        namespace.run(connect)
        namespace.serve(label, 80)
        namespace.serve(label, 81)
        namespace.serve(label, 53, udp=True)
        self.addresses.append(address.partition("/")[0])
        return namespace

    def publish(self, port: PortPlan, address: str) -> None:
        def act() -> None:
            with Nft() as nft:
                nft.publish(self.table, port, address)

        self.host.run(act)

    def unpublish(self, port: PortPlan, address: str) -> None:
        def act() -> None:
            with Nft() as nft:
                nft.unpublish(self.table, port, address)

        self.host.run(act)

    def close(self) -> None:
        for namespace in (self.host, self.client, *self.containers):
            namespace.close()


def _lease(database: Database, network: NetworkRecord, container_id: str) -> str:
    with database.transaction():
        address = addresses.lease(database, network, container_id)
        database.put_container(
            ContainerRecord(
                id=container_id,
                name=f"c{container_id[:8]}",
                image_id="sha256:" + 64 * "0",
                image_name="none",
                created_ns=0,
                spec="{}",
                launch="{}",
                volumes=(),
            )
        )
    return address
