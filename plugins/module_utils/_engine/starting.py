# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Starting a container that exists: what may have changed since it was made is provided anew, then it is launched.

The bridge (gone after a reboot), host ports, hosts and resolv.conf. These files lie in the container's directory: they
are written at each start, and a restart policy finds them there.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from .._base.errors import Damaged, NotFound
from .._base.values import replace
from .._runtime import client
from .._runtime.launch_plan import MountPlan
from .._runtime.state import observe
from .creation import BRIDGE_NETWORK, ROOT_PARTS
from .declared import declared_spec, effective_mounts, etc_directory, launch_record, plan_of
from .host_conditions import fit_to_host, shortcomings
from .sensitive_mounts import warnings_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec
    from .._runtime.client import Started
    from .._runtime.launch_plan import LaunchPlan, PortPlan
    from .._store.records import ContainerRecord
    from .engine import Engine


def start_container(
    engine: Engine, record: ContainerRecord, *, attach: bool, rows: int = 0, columns: int = 0
) -> Started:
    """Launch a container that does not run. The caller holds its lock."""
    from .._runtime.reconcile import reconcile

    spec, plan = declared_spec(record), plan_of(record)
    reconcile(engine.paths, plan)
    _check_files(engine, plan)
    _check_mounts(plan)
    fitting = fit_to_host(engine, record, spec, plan)
    warnings = [*shortcomings(spec), *warnings_about(engine.paths, effective_mounts(record))]
    plan = _with_network(engine, record, spec, plan, warnings)
    _write_etc(engine, spec, plan, warnings)
    targets = {mount.target for mount in plan.mounts}
    kept = launch_record(plan, effective_mounts(record))
    if kept != record.launch:
        with engine.records.transaction():
            engine.records.update_container(record.id, launch=kept)
    ready = replace(
        fitting,
        network=plan.network,
        mounts=plan.mounts + _etc_mounts(plan, targets),
        finisher=_finisher(engine, plan),
    )
    started = client.start(engine.paths, ready, attach=attach, rows=rows, columns=columns)
    return replace(started, warnings=(*warnings, *started.warnings))


def _finisher(engine: Engine, plan: LaunchPlan) -> tuple[str, ...]:
    """What the monitor executes when a container that is to be removed at its exit has nobody else to do so."""
    from .._runtime.launch_code import finisher_command

    return finisher_command(engine.paths, plan.container_id) if plan.auto_remove else ()


def _check_files(engine: Engine, plan: LaunchPlan) -> None:
    """A power cut can leave a record without what lies on the disk for it; nobody is given an empty root unasked."""
    missing = [name for name in ROOT_PARTS if not os.path.isdir(f"{plan.root_directory}/{name}")]
    if missing:
        is_moved = plan.root_directory != engine.paths.container(plan.container_id)
        raise NotFound(
            f"start container {plan.name}: {' and '.join(missing)} of its files are missing in {plan.root_directory}",
            hint="the state directory was elsewhere when it was made: move that back, or remove the container"
            if is_moved
            else "hull doctor --fix makes them anew, empty; or remove the container and make it again",
        )


def _check_mounts(plan: LaunchPlan) -> None:
    for mount in plan.mounts:
        is_path = mount.kind in ("bind", "filesystem") and mount.source.startswith("/")
        if is_path and not os.path.lexists(mount.source):
            raise NotFound(
                f"start container {plan.name}: {mount.source} for {mount.target} does not exist",
                hint="it existed when the container was made: bring it back, or remove the container",
            )


def _with_network(
    engine: Engine, record: ContainerRecord, spec: ContainerSpec, plan: LaunchPlan, warnings: list[str]
) -> LaunchPlan:
    if spec.network_mode != BRIDGE_NETWORK or plan.network is None:
        return plan
    from .._net.bridges import ensure_bridge, table_name

    warn = None if spec.ports else warnings.append
    ensure_bridge(engine.records, engine.paths, published=lambda: published_ports(engine), warn=warn)
    if observe(engine.paths, record.id).status == "created":
        from .firewall import warning

        warnings += warning(engine, publishes=bool(spec.ports))
    ports = _ports(engine, record, spec)
    return replace(plan, network=replace(plan.network, ports=ports, nft_table=table_name(engine.paths)))


def published_ports(engine: Engine) -> list[tuple[PortPlan, str]]:
    """The published ports of the containers that run, each with the address that it leads to."""
    return [
        (port, plan.network.address.partition("/")[0])
        for plan in _running_plans(engine)
        if plan.network is not None
        for port in plan.network.ports
    ]


def _running_plans(engine: Engine) -> list[LaunchPlan]:
    """The plans of the running containers that publish ports."""
    plans = []
    for record in engine.records.containers():
        try:
            plan = plan_of(record)
        except Damaged:  # told where that container is asked for, and by the doctor
            continue
        if plan.network is not None and plan.network.ports and observe(engine.paths, plan.container_id).is_up:
            plans.append(plan)
    return plans


def _ports(engine: Engine, record: ContainerRecord, spec: ContainerSpec) -> tuple[PortPlan, ...]:
    """The published ports with every host port chosen. Raises Conflict, naming who holds one that is taken."""
    if not spec.ports:
        return ()
    from .._net.ports import check_free, choose_ports

    holders = _holders(engine, record)
    ports = choose_ports(spec.ports, set(holders))
    for port in ports:
        check_free(port, holders)
    return ports


def _holders(engine: Engine, record: ContainerRecord) -> dict[tuple[str, int, str], str]:
    """Host ports of the other running containers: (address, port, protocol) to container name."""
    return {
        (port.host_address, port.host_port, port.protocol): plan.name
        for plan in _running_plans(engine)
        if plan.container_id != record.id and plan.network is not None
        for port in plan.network.ports
    }


def _etc_mounts(plan: LaunchPlan, targets: set[str]) -> tuple[MountPlan, ...]:
    """The binds of hosts, hostname and resolv.conf that are not covered by the user's own mounts."""
    return tuple(
        MountPlan("bind", f"/etc/{name}", f"{etc_directory(plan)}/{name}", False, ("bind", "nodev", "nosuid"))
        for name in ("hosts", "hostname", "resolv.conf")
        if f"/etc/{name}" not in targets
    )


def _write_etc(engine: Engine, spec: ContainerSpec, plan: LaunchPlan, warnings: list[str]) -> None:
    from .._net import resolver

    own = plan.network is not None
    address = plan.network.address.partition("/")[0] if plan.network else ""
    gateway = plan.network.gateway if plan.network else "127.0.0.1" if spec.network_mode == "host" else ""
    host_text = _read_host("/etc/resolv.conf")
    if own:
        host_text = resolver.choose_host_text(host_text, _read_host(resolver.RESOLVED_CONF))
    resolv_conf = resolver.resolv_conf(host_text, dns_servers=spec.dns_servers, own_network=own)
    if own and not resolver.has_nameserver(resolv_conf):
        warnings.append(resolver.NO_NAMESERVER)
    texts = {
        "hostname": resolver.hostname_file(plan.hostname),
        "hosts": resolver.hosts_file(plan.hostname, spec.domainname, address, extra=spec.etc_hosts, gateway=gateway),
        "resolv.conf": resolv_conf,
    }
    directory = etc_directory(plan)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for name, text in texts.items():
        path = f"{directory}/{name}"
        _remove_other(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with open(fd, "w") as file:
            file.write(text)
            os.fchmod(fd, 0o644)


def _remove_other(path: str) -> None:
    """Remove what has the place of a file and is none, such as a FIFO, which would make whoever opens it wait."""
    try:
        if S_ISREG(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    from .._store.files import remove_tree

    remove_tree(path)


def _read_host(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
