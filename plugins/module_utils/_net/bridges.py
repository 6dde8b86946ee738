# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The bridge that containers are plugged into: record, link, sysctls, nftables table.

The record says what there should be, the kernel what there is; `ensure_bridge` makes the second like the first and
costs a few reads where nothing is to be done. Not for what a single container needs: its veth pair and published ports
are its monitor's.

Whose a link is tells its ifalias, `hull <root directory>`. A link of our name without it is left alone.
"""

from __future__ import annotations

import os
from errno import EEXIST, ENODEV, EOPNOTSUPP
from zlib import crc32

from .._base.errors import Conflict, NotFound, SyscallError, Unsupported
from .._kernel.namespaces import lock_namespace
from .._kernel.nftables import Nft
from .._kernel.rtnetlink import Route
from .._store.records import NetworkRecord
from .address_pools import choose_subnet
from .addresses import address_range, link_name, mac_address, overlaps, prefix_length, to_text
from .forwarding import ALIAS, remove_bridge_link, turn_on_forwarding
from .sysctls import write_sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._base.paths import Paths
    from .._base.ports import PortPlan
    from .._kernel.rtnetlink import Link
    from .._store.database import Database
    from .address_pools import Pools

    PublishedPorts = Iterable[tuple[PortPlan, str]]  # ports and the container's address each leads to

DEFAULT_NETWORK = "bridge"


def table_name(paths: Paths) -> str:
    """The engine's nftables table: `hull`, or `hull-<instance>` for one with directories of its own."""
    return f"hull-{paths.instance}" if paths.instance else "hull"


def bridge_name(paths: Paths, name: str = DEFAULT_NETWORK) -> str:
    """The link of a network: `hull0`, `hull-<8 hex>` in another instance or for another network."""
    if name == DEFAULT_NETWORK:
        return f"hull-{paths.instance}" if paths.instance else "hull0"
    return f"hull-{crc32(f'{paths.instance}/{name}'.encode()):08x}"


def link_alias(paths: Paths) -> str:
    """The ifalias of our bridges."""
    return f"{ALIAS}{paths.root}"


def ensure_bridge(
    database: Database,
    paths: Paths,
    name: str = DEFAULT_NETWORK,
    *,
    published: Callable[[], PublishedPorts] | None = None,
    warn: Callable[[str], None] | None = None,
    pools: Pools = (),
) -> NetworkRecord:
    """The network, with everything in the kernel that belongs to it. Idempotent; what is missing is repaired.

    Not inside a transaction of the caller's. `published` is asked for the published ports of the containers that run
    when the table had to be written anew, since a flushed table has forgotten them. Without nf_tables in the kernel
    the bridge has no NAT: then `warn` is called, or where it is None, Unsupported raised. Raises Conflict for a link or
    table of our name that is not ours and for a subnet that the host has got elsewhere in the meantime.
    """
    with Route() as route:
        record = database.network(name)
        if record is None or route.link(record.bridge) is None:
            record = _make_link(database, paths, route, name, pools)
        else:
            _ensure_link(database, paths, route, record)
            turn_on_forwarding(record.bridge)
    try:
        _ensure_table(database, paths, published)
    except Unsupported as error:
        if warn is None:
            raise
        warn(f"network {name} has no address translation and no published ports: {error}")
    return record


def remove_bridge(database: Database, paths: Paths, name: str = DEFAULT_NETWORK) -> bool:
    """Remove the network's link, its rules and its record; False where there is no record.

    Raises Conflict while a container has an address in it.
    """
    record = database.network(name)
    if record is None:
        return False
    fd = lock_namespace("net")
    try:
        with database.transaction():
            if database.leases(name):
                raise Conflict(f"remove network {name}: containers have addresses in it", hint="remove them first")
            database.delete_network(name)
            with Route() as route:
                link = route.link(record.bridge)
                if link is not None and is_ours(paths, record, link):
                    remove_bridge_link(route, link)
            _shrink_table(database, paths)
    finally:
        os.close(fd)
    return True


def remove_unrecorded(paths: Paths) -> None:
    """Remove the default network's link and the table of an engine whose records are gone. Idempotent."""
    fd = lock_namespace("net")
    try:
        with Route() as route:
            link = route.link(bridge_name(paths))
            if link is not None and link.kind == "bridge" and link.alias == link_alias(paths):
                remove_bridge_link(route, link)
    finally:
        os.close(fd)
    try:
        with Nft() as nft:
            nft.delete_table(table_name(paths))
    except Unsupported:
        return  # then there is no table


def _shrink_table(database: Database, paths: Paths) -> None:
    bridges = [(other.bridge, other.subnet) for other in database.networks()]
    try:
        with Nft() as nft:
            if bridges:
                nft.ensure_table(table_name(paths), bridges)
            else:
                nft.delete_table(table_name(paths))
    except Unsupported:
        return  # then there is no table


def _make_link(database: Database, paths: Paths, route: Route, name: str, pools: Pools) -> NetworkRecord:
    """The record and its link; engines that begin at once see each other's addresses before they choose theirs."""
    fd = lock_namespace("net")
    try:
        record = database.network(name) or _new_record(database, paths, route, name, pools)
        _ensure_link(database, paths, route, record)
        turn_on_forwarding(record.bridge)
    finally:
        os.close(fd)
    return record


def _new_record(database: Database, paths: Paths, route: Route, name: str, pools: Pools) -> NetworkRecord:
    """Choose a subnet and record it. Two processes that come here together get the same record."""
    with database.transaction():
        record = database.network(name)
        if record is not None:
            return record
        taken = [network.subnet for network in database.networks()] + _subnets_of_host(route)
        subnet = choose_subnet(taken, pools)
        first, _last = address_range(subnet)
        record = NetworkRecord(name=name, bridge=bridge_name(paths, name), subnet=subnet, gateway=to_text(first + 1))
        link = route.link(record.bridge)
        if link is not None and not is_ours(paths, record, link):
            raise _foreign(record.bridge)
        database.put_network(record)
    return record


def _subnets_of_host(route: Route) -> list[str]:
    """What the host has addresses in or routes to; not by its default route."""
    addresses = [address.address for address in route.addresses() if ":" not in address.address]
    routes = [network.destination for network in route.routes() if prefix_length(network.destination)]
    return addresses + routes


def _foreign(bridge: str) -> Conflict:
    return Conflict(
        f"link {bridge} exists and is not this engine's bridge",
        hint=f"rename or remove it ('ip link delete {bridge}') if nothing needs it",
    )


def is_ours(paths: Paths, record: NetworkRecord, link: Link) -> bool:
    """By its alias; or by its MAC, where the process that made it ended before the alias was set."""
    if link.kind != "bridge":
        return False
    return link.alias == link_alias(paths) or (not link.alias and link.mac == _bridge_mac(paths, record))


def _bridge_mac(paths: Paths, record: NetworkRecord) -> str:
    """A MAC that follows from the root directory and the gateway."""
    own = crc32(paths.root.encode("utf-8", "surrogateescape")) & 0xFF
    return f"02:{own:02x}:{mac_address(record.gateway)[6:]}"


def _ensure_link(database: Database, paths: Paths, route: Route, record: NetworkRecord) -> None:
    link = route.link(record.bridge)
    if link is None:
        _check_subnet(route, record)
        _create(route, paths, record)
        link = route.link(record.bridge)
    if link is None:
        raise NotFound(f"link {record.bridge} disappeared while it was set up", hint="try again")
    if not is_ours(paths, record, link):
        raise _foreign(record.bridge)
    _write_link_sysctls(record.bridge)
    if link.alias != link_alias(paths):
        route.set_alias(link.index, link_alias(paths))
        _plug_again(database, route, record, link.index)
    _ensure_address(route, link.index, f"{record.gateway}/{prefix_length(record.subnet)}")
    if not link.up:
        route.set_up(link.index)


def _create(route: Route, paths: Paths, record: NetworkRecord) -> None:
    try:
        route.create_bridge(record.bridge, _bridge_mac(paths, record))
    except SyscallError as error:
        if error.errno == EOPNOTSUPP:
            raise Unsupported("create bridge: this kernel has no bridges", hint="load the module bridge") from error
        if error.errno != EEXIST:  # another process was faster
            raise


def _ensure_address(route: Route, index: int, address: str) -> None:
    if any(found.address == address for found in route.addresses(index)):
        return
    try:
        route.add_address(index, address)
    except SyscallError as error:
        if error.errno != EEXIST:  # another process was faster
            raise


def _check_subnet(route: Route, record: NetworkRecord) -> None:
    """Conflict where another link has got the network's subnet since it was chosen."""
    for address in route.addresses():
        if ":" not in address.address and overlaps(record.subnet, address.address.partition("/")[0] + "/32"):
            raise Conflict(
                f"network {record.name}: the host has {address.address}, which is in its subnet {record.subnet}",
                hint="remove that address, or remove all containers of the network so that it can move",
            )


def _plug_again(database: Database, route: Route, record: NetworkRecord, index: int) -> None:
    """Make the links of containers that run, whose bridge was deleted, ports of the new one."""
    ours = {link_name(lease.container_id) for lease in database.leases(record.name)}
    if not ours:
        return
    for link in route.links():
        if link.name in ours and link.kind == "veth" and not link.master:
            try:
                route.plug(link.index, index)
            except SyscallError as error:
                if error.errno != ENODEV:  # the container ended meanwhile
                    raise


def _ensure_table(database: Database, paths: Paths, published: Callable[[], PublishedPorts] | None) -> None:
    bridges = [(network.bridge, network.subnet) for network in database.networks()]
    table = table_name(paths)
    with Nft() as nft:
        written = nft.ensure_table(table, bridges)
        if written and published is not None:
            for port, address in published():
                nft.publish(table, port, address)


def _write_link_sysctls(bridge: str) -> None:
    """Answers from containers to this host's 127.0.0.1 are let in (nftables drops all else); IPv6 is off."""
    write_sysctl(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet", "1")
    for name, value in (("disable_ipv6", "1"), ("accept_ra", "0")):
        try:
            write_sysctl(f"/proc/sys/net/ipv6/conf/{bridge}/{name}", value)
        except NotFound:
            return  # a kernel without IPv6
