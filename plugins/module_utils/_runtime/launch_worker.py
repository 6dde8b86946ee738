# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a monitor's throw-away child does to bring a container up, or to adopt one, and what it hands over.

The child reads the client's request, does everything that costs memory, writes the records of the running container,
answers the client, and gives the monitor descriptors and a few facts. Whoever of the two is killed on the way: either
nothing has been recorded yet, and the next operation clears away what is there, or the container runs with a record
that tells of a dead monitor, and is adopted.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from errno import EWOULDBLOCK
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic_ns, sleep

from .._base.errors import Conflict, HullError
from .._base.values import replace
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from .._kernel.processes import open_process, start_time
from .._sys.privilege_calls import set_name
from . import protocol, state
from .handover import Handover
from .health import HealthRecord
from .launch_plan import LaunchPlan, plan_from_record
from .launcher import Launch, launch, to_ports
from .log_drivers import receiver_warnings
from .plan_file import read_plan, write_plan
from .requests import read_request, refuse, unknown
from .run_directory import remove_run_directory
from .wiring import Wiring
from .worker import give

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_NAME = "monitor.sock"
LOCK_NAME = "monitor.lock"
_LOCK_WAIT_S = 10


def first_start(connection: socket, channel: socket) -> None:
    """Serve the client that asked for a monitor; errors are its answer."""
    set_name("hull-launch")
    decoder = protocol.Decoder()
    try:
        request = read_request(connection, decoder)
        if request.get("op") == "start":
            _start(connection, channel, decoder, request)
        elif request.get("op") == "adopt":
            adopt(channel, str(request["run_directory"]))
        else:
            raise unknown(request)
    except (HullError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        refuse(connection, error)


def _start(connection: socket, channel: socket, decoder: protocol.Decoder, request: dict[str, Any]) -> None:
    plan = plan_from_record(request["plan"])
    lock_fd = _lock(plan.run_directory, plan.name)
    try:
        write_plan(plan.run_directory, request["plan"])
        listener = _listen(plan.run_directory)
        warnings = receiver_warnings(plan.log)
        size = (int(request.get("rows", 0)), int(request.get("columns", 0)))
        run, handover = _bring_up(plan, size, {})
    except BaseException:
        remove_run_directory(plan.run_directory)
        raise
    handover.fds.update(lock=lock_fd, listener=listener)
    handover.facts.update(attach=bool(request.get("attach")), pending=decoder.rest())
    handover.awake = bool(request.get("attach")) or plan.health is not None
    answer = {"pid": run.pid, "started_ns": run.started_ns, "warnings": [*run.warnings, *warnings]}
    try:
        connection.send(protocol.encode_json(protocol.ANSWER, answer))
    except OSError:
        pass  # whoever asked for the container has gone; it runs
    handover.send(channel)


def start_again(run_directory: str, counts: dict[str, int], channel: socket) -> None:
    """What a restart policy wants. The result is a handover, or {"failure": ...} as `failure_payload` gives it."""
    set_name("hull-launch")
    try:
        plan = read_plan(run_directory)
        _, handover = _bring_up(plan, (0, 0), counts)
    except (HullError, OSError) as error:
        give(channel, {"failure": protocol.failure_payload(error)})
        return
    handover.give(channel)


def _bring_up(plan: LaunchPlan, size: tuple[int, int], counts: dict[str, int]) -> tuple[Launch, Handover]:
    """Launch and record it."""
    host = detect()
    plan = _with_providers(plan)
    rows, columns = size[0] or plan.process.rows, size[1] or plan.process.columns
    run = launch(plan, host, seccomp=read_seccomp(plan), rows=rows, columns=columns)
    try:
        handover = Handover(
            {
                **facts_of(plan),
                "host": tuple(host.fields().values()),
                "pid": run.pid,
                "start_time": run.start_time,
                "started_ns": run.started_ns,
                "started_monotonic_ns": run.started_monotonic_ns,
            }
        )
        record = _state_record(plan, run.cgroup, handover.facts, counts)
        record["pipes"] = run.wiring.pipe_ids()
        exit_record = {"status": "running", "boot_id": record["boot_id"], "started_ns": run.started_ns}
        exit_record["restart_count"] = record["restart_count"]
        state.write_json(f"{plan.root_directory}/{state.EXIT_FILE}", exit_record)
        state.write_json(f"{plan.run_directory}/{state.STATE_FILE}", record)
    except BaseException:
        run.undo()
        raise
    handover.add_streams(run.wiring)
    handover.fds["pid"] = run.pid_fd
    handover.reserved = run.reserved
    return run, handover


def _with_providers(plan: LaunchPlan) -> LaunchPlan:
    """The plan with the processes whose namespaces the container shares: a restarted provider has another. Raises
    Conflict where one does not run."""
    join = dict(plan.join)
    for name, run_directory in plan.providers.items():
        record = state.read_state(run_directory) or {}
        pid, started = int(record.get("pid", 0)), int(record.get("start_time", 0))
        pid_fd = open_process(pid, started) if pid else None
        if pid_fd is None:
            raise Conflict(f"start container {plan.name}: the container whose {name} namespace it shares does not run")
        os.close(pid_fd)
        if name == "pid" and _can_trace(run_directory) and not plan.privileged:
            raise Conflict(
                f"start container {plan.name}: the container whose pid namespace it shares has CAP_SYS_PTRACE, by which"
                " it could take over this start and the host",
                hint="take that capability from it, or give it to this container and share the other way round",
            )
        join[name] = pid
    return replace(plan, join=join) if plan.providers else plan


def _can_trace(run_directory: str) -> bool:
    """Whether processes of that container may trace what has more rights than they, and is not the host's anyway."""
    provider = read_plan(run_directory)
    return "CAP_SYS_PTRACE" in provider.process.capabilities and not provider.privileged


def facts_of(plan: LaunchPlan) -> dict[str, Any]:
    """What a monitor needs of its plan all the time, or without parsing it."""
    return {
        "name": plan.name,
        "run_directory": plan.run_directory,
        "root_directory": plan.root_directory,
        "cgroup": plan.cgroup,
        "publishes": bool(plan.network and plan.network.ports),
        "stdin_once": plan.process.stdin_once,
        "restart": (plan.restart.policy, plan.restart.retries),
        "log": plan.log.fields() if plan.log is not None and plan.log.path else None,
        "health": plan.health.fields() if plan.health is not None else None,
        "auto_remove": plan.auto_remove,
    }


def read_seccomp(plan: LaunchPlan) -> bytes:
    """The assembled filter of a container's processes; empty for none."""
    if not plan.process.seccomp_path:
        return b""
    with open(plan.process.seccomp_path, "rb", buffering=0) as file:
        return file.read()


def _state_record(plan: LaunchPlan, cgroup: Cgroup, run: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    monitor = os.getppid()
    return {
        "status": "running",
        "boot_id": state.boot_id(),
        "monitor_pid": monitor,
        "monitor_start_time": start_time(monitor) or 0,
        "pid": run["pid"],
        "start_time": run["start_time"],
        "started_ns": run["started_ns"],
        "started_monotonic_ns": run["started_monotonic_ns"],
        "restart_count": 0,
        "restart_delay_ns": 0,
        "cgroup": plan.cgroup,
        "frozen_witness": cgroup.frozen_witness(),
        "namespaces": list(plan.namespaces),
        "userns": list(plan.userns) if plan.userns is not None else None,
        "join": plan.join,
        "health": HealthRecord(plan.health).record() if plan.health is not None else None,
        "ports": to_ports(plan),
        "lost_log_bytes": 0,
        **counts,
    }


def _lock(run_directory: str, name: str, *, adopting: bool = False) -> int:
    """One monitor per container: a lock that goes with it. A predecessor may still be cleaning up.

    Who would adopt does not wait for a monitor that lives.
    """
    deadline = monotonic_ns() + _LOCK_WAIT_S * 10**9
    path = f"{run_directory}/{LOCK_NAME}"
    while True:
        if adopting:
            record = state.read_state(run_directory)
            if record is None or state.monitor_alive(record):
                raise Conflict(f"adopt container {name}: it has a monitor, or has ended")
        os.makedirs(run_directory, 0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != EWOULDBLOCK or monotonic_ns() > deadline:
                os.close(fd)
                raise Conflict(f"start container {name}: it is running already") from error
        os.close(fd)
        sleep(0.002)


def _listen(run_directory: str) -> int:
    """Bind monitor.sock, in place of a dead monitor's. By way of the directory: a path may have 107 bytes only."""
    directory = os.open(run_directory, os.O_PATH | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{directory}/{SOCKET_NAME}"
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        listener.bind(path)
        listener.listen(16)
        return listener.detach()
    finally:
        os.close(directory)


# --- adoption


def adopt_of(run: str, monitor: int, channel: socket) -> None:
    """Adopt the container whose monitor had this pid and was killed. Nothing happens where there is none."""
    set_name("hull-launch")
    containers = f"{run}/containers"
    try:
        for name in os.listdir(containers):
            record = state.read_state(f"{containers}/{name}")
            if record is not None and record.get("monitor_pid") == monitor:
                adopt(channel, f"{containers}/{name}")
                return
    except (HullError, OSError):
        pass


def adopt(channel: socket, run_directory: str) -> None:
    """Hand a container whose monitor was killed to this one, running or not.

    Raises Conflict where there is nothing to adopt, because it has ended or a monitor lives.
    """
    name = os.path.basename(run_directory)[:12]
    lock_fd = _lock(run_directory, name, adopting=True)
    record = state.read_state(run_directory)
    if record is None or state.monitor_alive(record):
        raise Conflict(f"adopt container {name}: it has a monitor, or has ended")
    plan = read_plan(run_directory)
    host = detect()
    pid, started = int(record["pid"]), int(record["start_time"])
    handover = Handover({**facts_of(plan), "host": tuple(host.fields().values()), "adopted": True})
    for name in ("pid", "start_time", "started_ns", "started_monotonic_ns", "restart_count", "restart_delay_ns"):
        handover.facts[name] = int(record.get(name, 0))
    handover.facts["restarting"] = record.get("status") == "restarting"
    handover.facts["health_record"] = record.get("health")
    handover.awake = True
    handover.fds.update(lock=lock_fd, listener=_listen(run_directory))
    pid_fd = open_process(pid, started)
    if pid_fd is not None:
        handover.fds["pid"] = pid_fd
        wiring = Wiring()
        wiring.reopen_output(pid, [int(number) for number in record.get("pipes", (0, 0))])
        handover.add_streams(wiring)
    monitor = os.getppid()
    record.update(monitor_pid=monitor, monitor_start_time=start_time(monitor) or 0)
    state.write_json(f"{run_directory}/{state.STATE_FILE}", record)
    handover.send(channel)
