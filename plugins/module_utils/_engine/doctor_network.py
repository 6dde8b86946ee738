# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A doctor's look at the network: bridges, containers' links, nftables rules, published ports, leases."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

from .._base.errors import Conflict, SyscallError, Unsupported
from .._kernel.nftables import Nft, describe
from .._kernel.rtnetlink import Route
from .._net.addresses import prefix_length, to_text
from .._net.bridges import bridge_name, ensure_bridge, is_ours, link_alias, table_name
from .._runtime.state import observe
from .._store.records import LeaseRecord, NetworkRecord
from .containers import Held
from .doctor_view import stopped
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._base.ports import PortPlan
    from .._kernel.nftables import Published
    from .._kernel.rtnetlink import Link
    from .._runtime.launch_plan import LaunchPlan, NetworkPlan
    from .._store.database import Database
    from .doctor_view import Patient, View
    from .engine import Engine

_ALIAS = "hull:"
_IP_FORWARD = "/proc/sys/net/ipv4/ip_forward"


def look_at_network(view: View) -> Iterator[Finding]:
    """What is wrong with networks. One without containers that run needs nothing: the next start makes it."""
    database = view.database
    with Route() as route:
        links = {link.name: link for link in route.links()}
        addresses = {(found.index, found.address) for found in route.addresses()}
    networks = database.networks() if database is not None else []
    repairs = []
    for network in networks:
        repairs += list(_bridge(view, network, links, addresses))
    yield from repairs
    yield from _unrecorded_bridges(view, networks, links)
    yield from _links(view, networks, links)
    if database is not None:
        yield from _leases(view, database, networks)
    try:
        with Nft() as nft:
            yield from _rules(view, nft, networks)
    except Unsupported:
        return  # then there are no rules, and `hull info` tells of it


def _running(view: View, bridge: str) -> list[tuple[Patient, LaunchPlan, NetworkPlan]]:
    """The containers that run on a bridge; not one that is on its way up or down."""
    return [
        (patient, patient.plan, patient.plan.network)
        for patient in view.patients.values()
        if patient.plan is not None and patient.plan.network is not None and patient.plan.network.bridge == bridge
        if patient.now.status in ("running", "paused") and not patient.is_busy
    ]


def _repair(view: View, network: NetworkRecord) -> None:
    from .starting import published_ports

    engine = view.engine
    ensure_bridge(engine.records, engine.paths, network.name, published=lambda: published_ports(engine))


def _bridge(
    view: View, network: NetworkRecord, links: dict[str, Link], addresses: set[tuple[int, str]]
) -> Iterator[Finding]:
    link = links.get(network.bridge)
    if link is not None and not is_ours(view.paths, network, link):
        what = f"the link of network {network.name} is not the engine's"
        cure = f"rename or remove it (ip link delete {link.name}), if nothing needs it"
        yield Finding("bridge", network.bridge, what, cure)
        return
    if not _running(view, network.bridge):
        return
    what = ""
    if link is None:
        what = "the link is gone"
    elif not link.up:
        what = "the link is down"
    elif (link.index, f"{network.gateway}/{prefix_length(network.subnet)}") not in addresses:
        what = f"the link has lost its address {network.gateway}"
    if what:
        what = f"network {network.name}, on which containers run: {what}"
        yield Finding("bridge", network.bridge, what, "make it right", partial(_repair, view, network))
    if _reads(_IP_FORWARD) == "0":
        what = f"it is 0, so containers of network {network.name} reach nothing but this host"
        yield Finding("sysctl", "net.ipv4.ip_forward", what, "set it to 1", partial(_repair, view, network))


def _reads(path: str) -> str:
    from .._kernel.cgroup_files import read_or_none

    return (read_or_none(path) or "").strip()


def _unrecorded_bridges(view: View, networks: list[NetworkRecord], links: dict[str, Link]) -> Iterator[Finding]:
    recorded = {network.bridge for network in networks}
    for link in links.values():
        if link.kind != "bridge" or link.alias != link_alias(view.paths) or link.name in recorded:
            continue
        ports = sorted(other.name for other in links.values() if other.master == link.index)
        what = "no network has this bridge"
        if ports:
            cure = f"end what is behind {' '.join(ports)}, then look again"
            yield Finding("bridge", link.name, what, cure)
        else:
            yield Finding("bridge", link.name, what, "remove it", partial(_remove_bridge, view.engine, link.name))


def _remove_bridge(engine: Engine, name: str) -> None:
    from .._net.forwarding import remove_bridge_link

    with _networks(engine) as networks, Route() as route:
        links = {link.name: link for link in route.links()}
        link = links.get(name)
        if link is None or link.kind != "bridge" or link.alias != link_alias(engine.paths):
            return
        if any(network.bridge == name for network in networks):
            raise Conflict(f"remove bridge {name}: a network has it by now")
        if any(other.master == link.index for other in links.values()):
            raise Conflict(f"remove bridge {name}: something is plugged into it by now")
        remove_bridge_link(route, link)


@contextmanager
def _networks(engine: Engine) -> Iterator[list[NetworkRecord]]:
    """The networks that there are now; nobody makes another meanwhile."""
    from .._kernel.namespaces import lock_namespace

    with ExitStack() as stack:
        stack.callback(os.close, lock_namespace("net"))
        database = engine.database()
        if database is not None:
            stack.enter_context(database.transaction())
        yield database.networks() if database is not None else []


def _links(view: View, networks: list[NetworkRecord], links: dict[str, Link]) -> Iterator[Finding]:
    """Each running container's end of its veth pair, and ends that are nobody's."""
    for network in networks:
        bridge = links.get(network.bridge)
        for patient, _plan, wanted in _running(view, network.bridge):
            link = links.get(wanted.link)
            if link is None:
                what = f"the link of container {patient.record.name} is gone"
                yield Finding("link", wanted.link, what, f"hull restart {patient.record.name}")
            elif bridge is not None and link.master != bridge.index:
                what = f"the link of container {patient.record.name} is not plugged into {network.bridge}"
                yield Finding(
                    "link",
                    wanted.link,
                    what,
                    "plug it in",
                    partial(_plug, link.name, bridge.name),
                )
    own = {links[network.bridge].index for network in networks if network.bridge in links}
    for link in links.values():
        container_id = link.alias.partition(_ALIAS)[2] if link.alias.startswith(_ALIAS) else ""
        if link.kind != "veth" or not container_id or view.is_living(container_id):
            continue
        if (container_id in view.patients or link.master in own) and not _is_shared(view, container_id):
            what = f"container {container_id[:12]}, whose link this was, does not run"
            yield Finding("link", link.name, what, "remove it", partial(_remove_link, view, container_id, link))


def _is_shared(view: View, container_id: str) -> bool:
    """Whether a container that runs has the network of this one."""
    directory = view.paths.container_run(container_id)
    plans = (patient.plan for patient in view.patients.values() if patient.is_living)
    return any(plan is None or plan.providers.get("net") == directory for plan in plans)


def _plug(name: str, bridge: str) -> None:
    with Route() as route:
        link, master = route.link(name), route.link_index(bridge)
        if link is None or master is None:
            raise Conflict(f"plug link {name} into {bridge}: one of them is gone by now")
        route.plug(link.index, master)


def _remove_link(view: View, container_id: str, found: Link) -> None:
    """Remove what was found, not what a container that is started meanwhile gets: that has the same name and alias."""
    patient = view.patients.get(container_id)
    with nullcontext() if patient is None else stopped(view.engine, patient.record), Route() as route:
        link = route.link(found.name)
        if link is not None and (link.index, link.alias) == (found.index, found.alias):
            _delete_link(route, link)


def _delete_link(route: Route, link: Link) -> None:
    from errno import ENODEV

    try:
        route.delete_link(link.index)
    except SyscallError as error:
        if error.errno != ENODEV:
            raise


def _leases(view: View, database: Database, networks: list[NetworkRecord]) -> Iterator[Finding]:
    names = {network.bridge: network.name for network in networks}
    held = {lease.container_id: lease for network in networks for lease in database.leases(network.name)}
    for patient in view.patients.values():
        if patient.plan is None or patient.is_busy:
            continue
        plan, record = patient.plan.network, patient.record
        if plan is None:
            if record.id in held:
                what = f"container {record.name}, which has it, is in no network"
                address = held[record.id].address
                yield Finding("lease", address, what, "give it back", partial(_give_back, database, record.id))
            continue
        address = plan.address.partition("/")[0]
        if plan.bridge not in names:
            yield _lost_network(view, patient, plan)
        elif record.id not in held or held[record.id].address != address:
            yield _lost_lease(database, names[plan.bridge], patient, address)


def _give_back(database: Database, container_id: str) -> None:
    with database.transaction():
        database.delete_leases(container_id)


def _lost_network(view: View, patient: Patient, plan: NetworkPlan) -> Finding:
    from .._net.addresses import address_range
    from .._net.bridges import DEFAULT_NETWORK

    what = f"container {patient.record.name} is in this network, of which there is no record"
    if plan.bridge != bridge_name(view.paths):
        return Finding("network", plan.bridge, what, f"make container {patient.record.name} anew")
    subnet = f"{to_text(address_range(plan.address)[0])}/{prefix_length(plan.address)}"
    network = NetworkRecord(DEFAULT_NETWORK, plan.bridge, subnet, plan.gateway)

    def record_again() -> None:
        database = view.engine.records
        with database.transaction():
            if database.network(DEFAULT_NETWORK) is None:
                database.put_network(network)

    return Finding("network", plan.bridge, what, "record it again, as the container knows it", record_again)


def _lost_lease(database: Database, network: str, patient: Patient, address: str) -> Finding:
    record = patient.record
    holders = {lease.address: lease.container_id for lease in database.leases(network)}
    if holders.get(address, record.id) != record.id:
        what = f"containers {record.name} and {holders[address][:12]} both have this address"
        return Finding("lease", address, what, f"make container {record.name} anew")

    def lease_again() -> None:
        with database.transaction():
            database.delete_leases(record.id)
            database.put_lease(LeaseRecord(network, address, record.id))

    what = f"container {record.name} has this address without a lease"
    return Finding("lease", address, what, "lease it to the container", lease_again)


def _rules(view: View, nft: Nft, networks: list[NetworkRecord]) -> Iterator[Finding]:
    table = table_name(view.paths)
    used = next((network for network in networks if _running(view, network.bridge)), None)
    if used is not None and not nft.has_rules(table, [(network.bridge, network.subnet) for network in networks]):
        what = "the rules of the engine's networks, on which containers run, are missing or changed"
        cure = "write the table, and the published ports, anew"
        yield Finding("rules", f"nftables table ip {table}", what, cure, partial(_repair, view, used))
        return
    if not networks and not view.has_unknown_life and nft.is_own_table(table):
        what = "the engine has no network"
        yield Finding(
            "rules", f"nftables table ip {table}", what, "remove it", partial(_delete_table, view.engine, table)
        )
        return
    yield from _ports(view, nft.published(table), table)


def _delete_table(engine: Engine, table: str) -> None:
    with _networks(engine) as networks, Nft() as nft:
        if networks:
            raise Conflict(f"delete nftables table ip {table}: the engine has networks by now")
        nft.delete_table(table)


def _ports(view: View, published: list[Published], table: str) -> Iterator[Finding]:
    """Published ports of running containers that are missing, and those that lead to nobody."""
    found = {(describe(port), port.container_port, port.address): port for port in published}
    owners: dict[str, Patient] = {}
    for patient in view.patients.values():
        if patient.plan is None or patient.plan.network is None:
            continue
        plan, address = patient.plan.network, patient.plan.network.address.partition("/")[0]
        owners[address] = patient
        if patient.now.status not in ("running", "paused") or patient.is_busy:
            continue
        for port in plan.ports:
            if found.pop((describe(port), port.container_port, address), None) is None:
                what = f"container {patient.record.name} publishes it, but it leads nowhere"
                yield Finding(
                    "port",
                    describe(port),
                    what,
                    "publish it again",
                    partial(_publish, view, patient, table, port, address),
                )
    strangers = {str((state.get("ports") or {}).get("address", "")) for state in view.strangers.values()}
    for port in found.values():
        owner = owners.get(port.address)
        steady = owner is not None and owner.now.status in ("running", "paused") and not owner.is_busy
        lives = owner is not None and owner.is_living and not steady
        if lives or port.address in strangers:
            continue
        what = f"it leads to {port.address}, where no container publishes it"
        if owner is None and view.has_unknown_life:
            yield Finding("port", describe(port), what, "look again when the containers without a record have ended")
        else:
            yield Finding("port", describe(port), what, "remove it", partial(_unpublish, view, owner, table, port))


def _publish(view: View, patient: Patient, table: str, port: PortPlan, address: str) -> None:
    if not observe(view.paths, patient.record.id).is_up:
        raise Conflict(f"publish {describe(port)}: container {patient.record.name} does not run by now")
    with Nft() as nft:
        nft.publish(table, port, address)


def _unpublish(view: View, owner: Patient | None, table: str, port: Published) -> None:
    """Remove a port from the table: a container's that does not run, one that a running container does not publish,
    or one whose address is nobody's. What publishes ports is held off meanwhile: the container's start, or the lease of
    the address."""
    if owner is None:
        with _unleased(view.engine, port.address), Nft() as nft:
            nft.unpublish(table, port, port.address)
        return
    hold = Held if owner.now.is_up else stopped
    with hold(view.engine, owner.record), Nft() as nft:
        nft.unpublish(table, port, port.address)


@contextmanager
def _unleased(engine: Engine, address: str) -> Iterator[None]:
    """An address that no container has, and that none gets meanwhile."""
    database = engine.database()
    with ExitStack() as stack:
        if database is not None:
            stack.enter_context(database.transaction())
            leases = [lease for network in database.networks() for lease in database.leases(network.name)]
            if any(lease.address == address for lease in leases):
                raise Conflict(f"unpublish ports of {address}: a container has this address by now")
        yield
