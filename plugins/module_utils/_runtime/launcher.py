# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The host's side of one launch: everything that a container needs is made, init is cloned, the answer awaited.

A Launch is one start of a container. `launch` either gives one whose command has been executed, or raises and leaves
nothing: no process, cgroup, link or published port. It runs in a throw-away child of the monitor, whose child init
becomes (CLONE_PARENT). `take_down` is the undoing after init has ended.
"""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]
from errno import EEXIST, ENODEV, ESRCH
from time import monotonic_ns, time_ns

from .._base.errors import Conflict, HullError, LaunchError, SyscallError
from .._kernel.cgroup_devices import allow_devices
from .._kernel.cgroup_host import CgroupHost
from .._kernel.cgroups import Cgroup
from .._kernel.namespaces import make_user_namespace, namespace_flags, open_namespace, write_id_maps
from .._kernel.nftables import Nft
from .._kernel.overlay import overlay_mount
from .._kernel.processes import foreign_status, has_ended, send_signal, start_time
from .._kernel.rtnetlink import Route
from .._net.ports import reserve
from .._sys.process_calls import clone3, setns
from .._sys.sched_flags import CLONE_NEWPID, CLONE_PARENT
from . import handshake, init
from .launch_plan import LaunchPlan, NetworkPlan, PortPlan
from .process_setup import raise_hard_limits
from .rootfs import Sources, open_sources
from .wiring import Wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LAUNCH_TIMEOUT_S = 60


class Launch:
    """One start of a container: what has been made of it, and what is handed over to its monitor."""

    def __init__(self, plan: LaunchPlan, host: CgroupHost) -> None:
        self.plan = plan
        self.cgroup = Cgroup(host, plan.cgroup)
        self.wiring = Wiring(plan.process, lasting=True)
        self.pid = 0
        self.pid_fd = -1
        self.start_time = 0
        self.started_ns = 0
        self.started_monotonic_ns = 0
        self.warnings: list[str] = []
        self.reserved: list[int] = []  # sockets that hold the published host ports
        self._undo: list[Callable[[], object]] = []

    def undo(self) -> None:
        """Take back everything that was made, newest first, as far as that goes; the next start does the rest."""
        while self._undo:
            step = self._undo.pop()
            try:
                step()
            except (HullError, OSError):
                pass

    def on_undo(self, step: Callable[[], object]) -> None:
        """Have the step done by `undo`."""
        self._undo.append(step)

    def kill(self) -> None:
        """End init, and with it all of its pid namespace. The monitor reaps it."""
        if self.pid:
            send_signal(self.pid_fd, SIGKILL)
            has_ended(self.pid_fd, -1)


def launch(plan: LaunchPlan, host: CgroupHost, *, seccomp: bytes, rows: int = 0, columns: int = 0) -> Launch:
    """Bring the container up. Returns when its command has been executed. Raises the engine's errors."""
    run = Launch(plan, host)
    try:
        _launch(run, host, seccomp, rows, columns)
    except BaseException:
        run.undo()
        raise
    return run


def _launch(run: Launch, host: CgroupHost, seccomp: bytes, rows: int, columns: int) -> None:
    plan, cgroup = run.plan, run.cgroup
    if plan.network is not None:
        for port in plan.network.ports:
            run.reserved.append(reserve(port))
    run.warnings += cgroup.create(plan.limits)
    run.on_undo(cgroup.remove)
    run.on_undo(cgroup.kill)
    allow_devices(cgroup, plan.allowed_devices, privileged=plan.privileged)
    opened: list[int] = []
    sources = Sources()
    channel, far_end = handshake.make_pair()
    try:
        idmap_fd = -1
        if plan.userns is not None:
            idmap_fd = make_user_namespace(*_id_maps(plan.userns))
            opened.append(idmap_fd)
            run.wiring.give_to(plan.userns[0])
        sources = open_sources(plan, idmap_fd)
        root_fd = overlay_mount(
            plan.layers, f"{plan.root_directory}/upper", f"{plan.root_directory}/work", idmap_fd=idmap_fd
        )
        opened.append(root_fd)
        joined = {name: open_namespace(pid, name) for name, pid in plan.join.items() if name != "pid"}
        cgroup_fd = cgroup.open_fd()
        opened += [fd for fd in (*joined.values(), cgroup_fd) if fd >= 0]
        context = init.InitContext(
            plan,
            far_end,
            cgroup,
            cgroup_fd >= 0,
            root_fd,
            joined,
            sources,
            run.wiring.child,
            seccomp,
            rows,
            columns,
        )
        _clone(run, context, cgroup_fd)
    finally:
        sources.close()
        os.close(far_end)
        for fd in opened:
            os.close(fd)
    run.wiring.close_child_ends()
    _serve_init(run, channel)


def _id_maps(userns: tuple[int, int]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    ranges = [(0, *userns)]
    return ranges, ranges


def _clone(run: Launch, context: init.InitContext, cgroup_fd: int) -> None:
    plan = run.plan
    names = [name for name in plan.namespaces if name != "cgroup"]  # init makes that one once it is in its cgroup
    if plan.userns is not None and "user" not in names:
        names.append("user")
    if "pid" in plan.join:  # whoever enters a pid namespace stays outside; its children are inside
        _enter_pid_namespace(plan.join["pid"])
    try:
        pid, pid_fd = clone3(namespace_flags(names) | CLONE_PARENT, exit_signal=0, cgroup_fd=cgroup_fd)
    except OSError as error:
        raise LaunchError(f"make the namespaces {', '.join(names)}: {error.strerror}") from error
    if pid == 0:
        init.run_init(context)
    run.pid, run.pid_fd = pid, pid_fd
    run.on_undo(run.kill)


def _enter_pid_namespace(pid: int) -> None:
    fd = open_namespace(pid, "pid")
    try:
        setns(fd, CLONE_NEWPID)
    except OSError as error:
        raise LaunchError(f"pid_mode: enter the pid namespace of process {pid}: {error.strerror}") from error
    finally:
        os.close(fd)


def _serve_init(run: Launch, channel: int) -> None:
    plan = run.plan
    if plan.userns is not None:
        write_id_maps(run.pid, *_id_maps(plan.userns))
        raise_hard_limits(plan.process, run.pid)
        handshake.send(channel, handshake.GO)
    if plan.network is not None:
        try:
            _plug(run)
            handshake.send(channel, handshake.NETWORK_READY)
        except OSError:
            pass  # init has failed already and its reason is in the channel
        except SyscallError as error:
            if error.errno != ESRCH:  # as well
                raise
    _await_execution(run, channel)
    run.start_time = start_time(run.pid) or 0
    run.started_ns, run.started_monotonic_ns = time_ns(), monotonic_ns()


def _plug(run: Launch) -> None:
    network = run.plan.network
    assert network is not None
    with Route() as route:
        bridge = route.link_index(network.bridge)
        if bridge is None:
            raise Conflict(f"network: bridge {network.bridge} does not exist", hint="start the container again")
        try:
            _plug_veth(route, run, network, bridge)
        except SyscallError as error:
            if error.errno != EEXIST:
                raise
            _delete_own_link(route, run.plan, network.link)
            _plug_veth(route, run, network, bridge)
    if network.ports:
        address = network.address.partition("/")[0]
        run.on_undo(lambda: unpublish(run.plan))
        with Nft() as nft:
            nft.publish_all(network.nft_table, network.ports, address)


def _plug_veth(route: Route, run: Launch, network: NetworkPlan, bridge: int) -> None:
    alias = _alias(run.plan)
    route.plug_veth(network.link, bridge, network.interface, run.pid, network.mac, network.mtu, alias=alias)


def _alias(plan: LaunchPlan) -> str:
    return f"hull:{plan.container_id}"


def _delete_own_link(route: Route, plan: LaunchPlan, name: str) -> None:
    """Delete the link of an earlier run, whose network namespace the kernel has not taken apart yet."""
    link = route.link(name)
    if link is not None and link.alias not in ("", _alias(plan)):
        raise Conflict(f"network: link {name} exists and is not the engine's", hint=f"ip link delete {name}")
    try:
        route.delete_link(name)
    except SyscallError as error:
        if error.errno != ENODEV:
            raise


def unpublish(plan: LaunchPlan) -> None:
    """Take a container's published ports out of nftables. Idempotent."""
    unpublish_record(to_ports(plan))


def to_ports(plan: LaunchPlan) -> dict[str, Any]:
    """What undoes the publishing, as state.json keeps it; empty where nothing is published."""
    network = plan.network
    if network is None or not network.ports:
        return {}
    ports = [port.fields() for port in network.ports]
    return {"table": network.nft_table, "address": network.address.partition("/")[0], "ports": ports}


def unpublish_record(record: dict[str, Any]) -> None:
    """Undo the publishing that `to_ports` described. Idempotent."""
    if record:
        with Nft() as nft:
            for port in record["ports"]:
                nft.unpublish(record["table"], PortPlan(**port), record["address"])


def _await_execution(run: Launch, channel: int) -> None:
    progress = handshake.Progress()
    progress.follow(channel, run.wiring, LAUNCH_TIMEOUT_S)
    run.warnings += progress.warnings
    if progress.failure is not None:
        raise progress.failure
    if not progress.executing:
        raise LaunchError(f"launch: init ended before its command was executed{_reason(run)}")


def _reason(run: Launch) -> str:
    """Why init is gone, where the kernel tells."""
    if run.cgroup.oom_kills():
        return ": out of memory"
    has_ended(run.pid_fd, -1)
    status = foreign_status(run.pid_fd, run.pid, start_time(run.pid) or 0)
    if status is None:
        return ""
    return f": killed by signal {status - 128}" if status > 128 else f" with status {status}"


def take_down(cgroup: Cgroup, ports: dict[str, Any]) -> tuple[bool, str]:
    """After init has ended: end what it left, remove the cgroup and the published ports (`to_ports`).

    Nothing of a container outlives its init, also where it shares the host's pid namespace. Gives whether the kernel
    killed something for want of memory, and what could not be done.
    """
    oom_killed = False
    troubles = []
    try:
        cgroup.kill()
        oom_killed = cgroup.oom_kills() > 0
        cgroup.remove()
    except HullError as error:
        troubles.append(str(error))
    try:
        unpublish_record(ports)
    except (HullError, OSError) as error:
        troubles.append(str(error))
    return oom_killed, "; ".join(troubles)
