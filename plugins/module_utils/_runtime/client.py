# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the engine asks of spawner and monitors, from outside: start, exec, attach, stop, kill, update, wait.

Where a container's monitor is dead, stop and kill work directly on the kernel.
"""

from __future__ import annotations

import os
from select import POLLIN, poll
from time import monotonic, sleep

from .._base import codec
from .._base.errors import Conflict, HullError, LaunchError, NotFound, Timeout
from .._base.spec import to_record
from .._base.values import Value
from .._kernel.processes import is_stopped
from . import protocol, spawner_start, state
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from .._base.paths import Paths
    from .launch_plan import LaunchPlan, ProcessPlan
    from .state import RunState

_SIGKILL, _SIGTERM, _SIGCONT = 9, 15, 18
_ENDING_S = 30
_ANSWER_TIMEOUT_S = 90.0
_ATTEMPTS = 3


class Started(Value):
    """A container that has been started. `session` has its streams where they were asked for; the caller closes it."""

    pid: int
    session: Session | None
    started_ns: int = 0
    warnings: tuple[str, ...] = ()


def start(paths: Paths, plan: LaunchPlan, *, attach: bool, rows: int = 0, columns: int = 0) -> Started:
    """Start a container by its plan. Returns when its command has been executed.

    Raises LaunchError (with the exit code that a shell user expects), Conflict where it runs already, and what making
    its parts may raise; nothing of the attempt remains then.
    """
    request = {"op": "start", "plan": to_record(plan), "attach": attach, "rows": rows, "columns": columns}
    connection, decoder, answer = _ask_spawner(paths, request, f"start container {plan.name}: ")
    session = Session(connection, decoder, tty=plan.process.tty) if attach else None
    if session is None:
        connection.close()
    return Started(int(answer["pid"]), session, int(answer["started_ns"]), tuple(answer["warnings"]))


def execute(paths: Paths, container_id: str, process: ProcessPlan, *, attach: bool = True) -> Session:
    """Run one more process in a running container. Closing the session ends it, unless `attach` was false.

    Raises Conflict where the container does not run or is paused, LaunchError where the command can't be executed.
    """
    request = {
        "op": "exec",
        "run_directory": paths.container_run(container_id),
        "process": to_record(process),
        "attach": attach,
    }
    connection, decoder, answer = _ask_spawner(paths, request, "")
    return Session(connection, decoder, tty=process.tty, pid=int(answer["pid"]))


def _ask_spawner(paths: Paths, request: dict[str, Any], prefix: str) -> tuple[socket, protocol.Decoder, dict[str, Any]]:
    """Send a request until a spawner accepts it, and wait for the answer. Raises the error of a FAILURE."""
    kind = protocol.REQUEST if request["op"] == "exec" else protocol.MONITOR
    frame = protocol.encode_json(kind, request)
    for _attempt in range(_ATTEMPTS):
        connection = spawner_start.connect(paths)
        decoder = protocol.Decoder()
        try:
            connection.sendall(frame)
            accepted = _next_frame(connection, decoder, _ANSWER_TIMEOUT_S)
            if accepted is None:  # the spawner was killed, or went for idleness, before it did anything
                connection.close()
                continue
            answer = accepted
            if accepted[0] == protocol.ACCEPTED:
                received = _next_frame(connection, decoder, _ANSWER_TIMEOUT_S)
                if received is None:
                    raise LaunchError(f"{prefix}the monitor was killed during the launch")
                answer = received
            if answer[0] == protocol.FAILURE:
                raise protocol.failure_error(answer[1], prefix=prefix)
            return connection, decoder, codec.parse(answer[1], source="the monitor's answer")
        except (BrokenPipeError, ConnectionResetError):
            connection.close()
        except BaseException:
            connection.close()
            raise
    reason = spawner_start.boot_error(paths)
    raise LaunchError(f"{prefix}the spawner does not work{': ' if reason else ''}{reason}")


def _next_frame(connection: socket, decoder: protocol.Decoder, timeout_s: float) -> tuple[int, bytes] | None:
    """The next frame; None where the connection ends. Raises Timeout; 0 or less waits without end."""
    frame = decoder.next(b"")
    watch = poll()
    watch.register(connection.fileno(), POLLIN)
    deadline = monotonic() + timeout_s
    while frame is None:
        wait_ms = max(int((deadline - monotonic()) * 1000), 0) if timeout_s > 0 else None
        if not watch.poll(wait_ms):
            raise Timeout(f"no answer from the container's monitor within {timeout_s:g} s")
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            return None
        if not data:
            return None
        frame = decoder.next(data)
    return frame


def adopt(paths: Paths, container_id: str) -> bool:
    """Give a container whose monitor was killed another: for its log, health check, exit and restart policy.

    Also one that has ended meanwhile: its end is recorded, and the restart policy acts. False where that can't be.
    """
    request = {"op": "adopt", "run_directory": paths.container_run(container_id)}
    try:
        connection, _, _ = _ask_spawner(paths, request, "")
        connection.close()
    except Conflict:
        return True  # somebody else was faster
    except (HullError, OSError):
        return False
    return True


class Ending:
    """A container that has been told to end, as the host goes down."""

    def __init__(self, name: str, monitor_fd: int) -> None:
        self._name, self._monitor_fd = name, monitor_fd

    def wait(self, stop_timeout_s: float) -> None:
        """Wait for its monitor, which ends after it. Raises Timeout."""
        from .._kernel.processes import has_ended

        try:
            if not has_ended(self._monitor_fd, int((stop_timeout_s + _ENDING_S) * 1000)):
                raise Timeout(f"stop container {self._name[:12]}: it runs after {stop_timeout_s + _ENDING_S:g} s still")
        finally:
            os.close(self._monitor_fd)


def tell_host_ends(paths: Paths, container_id: str) -> Ending | None:
    """Have a container's monitor stop it; its restart policy undoes that at boot only. None where it is down."""
    from .._kernel.processes import open_process, send_signal

    now = state.observe(paths, container_id)
    if now.abandoned:
        adopt(paths, container_id)
        now = state.observe(paths, container_id)
    record = state.read_state(paths.container_run(container_id))
    if record is None or not now.is_up:
        return None
    fd = open_process(int(record["monitor_pid"]), int(record["monitor_start_time"]))
    if fd is None:
        return None
    send_signal(fd, _SIGTERM)
    send_signal(fd, _SIGCONT)
    return Ending(container_id, fd)


def _continue_monitor(record: dict[str, Any]) -> None:
    """Let a monitor go on that somebody has stopped (SIGSTOP): it is asked for something."""
    pid, started = int(record.get("monitor_pid", 0)), int(record.get("monitor_start_time", 0))
    if is_stopped(pid, started):
        from .._kernel.processes import open_process, send_signal

        fd = open_process(pid, started)
        if fd is not None:
            send_signal(fd, _SIGCONT)
            os.close(fd)


def _connect_monitor(paths: Paths, container_id: str) -> socket | None:
    return spawner_start.connect_to(f"{paths.container_run(container_id)}/monitor.sock")


def _ask_monitor(
    paths: Paths, container_id: str, request: dict[str, Any], *, timeout_s: float = _ANSWER_TIMEOUT_S
) -> dict[str, Any] | None:
    """The answer of a container's monitor; None where it does not run, or nobody can be its monitor.

    A monitor that was killed is replaced first; one that dies meanwhile is asked again as the one that adopts.
    """
    for _attempt in range(_ATTEMPTS):
        record = state.read_state(paths.container_run(container_id))
        if record is None:
            return None
        if state.monitor_alive(record):
            _continue_monitor(record)
        elif not adopt(paths, container_id):
            return None
        answer = _ask_once(paths, container_id, request, timeout_s)
        if answer is not None:
            return answer
    return None


def _ask_once(paths: Paths, container_id: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
    connection = _connect_monitor(paths, container_id)
    if connection is None:
        return None
    try:
        connection.sendall(protocol.encode_json(protocol.REQUEST, request))
        answer = _next_frame(connection, protocol.Decoder(), timeout_s)
    except (BrokenPipeError, ConnectionResetError):
        return None
    finally:
        connection.close()
    if answer is None:
        return None
    if answer[0] == protocol.FAILURE:
        raise protocol.failure_error(answer[1])
    record: dict[str, Any] = codec.parse(answer[1], source="the monitor's answer")
    return record


def attach(paths: Paths, container_id: str, *, rows: int = 0, columns: int = 0) -> Session:
    """The streams of a running container, from now on. Raises Conflict where it does not run or has no monitor."""
    connection = _connect_monitor(paths, container_id)
    if connection is None:
        raise Conflict(f"attach to container {container_id[:12]}: it is not running")
    decoder = protocol.Decoder()
    try:
        request = {"op": "attach", "rows": rows, "columns": columns}
        connection.sendall(protocol.encode_json(protocol.REQUEST, request))
        answer = _next_frame(connection, decoder, _ANSWER_TIMEOUT_S)
        if answer is None:
            raise Conflict(f"attach to container {container_id[:12]}: it has just ended")
        if answer[0] == protocol.FAILURE:
            raise protocol.failure_error(answer[1])
        tty = bool(codec.parse(answer[1], source="the monitor's answer").get("tty"))
        return Session(connection, decoder, tty=tty)
    except BaseException:
        connection.close()
        raise


def stop(paths: Paths, container_id: str, signal: int = 15, timeout_s: float = 10) -> None:
    """Stop a container for good: its signal, after the timeout SIGKILL to all of it. Nothing where it does not run.

    Returns when it is down and cleaned up. The restart policy does not bring it back.
    """
    request = {"op": "stop", "signal": signal, "timeout_s": timeout_s}
    answer = _ask_monitor(paths, container_id, request, timeout_s=timeout_s + 60)
    if answer is None:
        _stop_by_kernel(paths, container_id, signal, timeout_s)


def kill(paths: Paths, container_id: str, signal: int = _SIGKILL) -> None:
    """Send a signal to the container's first process. Raises Conflict where it does not run."""
    if _ask_monitor(paths, container_id, {"op": "kill", "signal": signal}) is not None:
        return
    record = state.read_state(paths.container_run(container_id))
    if record is None or not state.init_alive(record):
        raise Conflict(f"kill container {container_id[:12]}: it is not running")
    if signal == _SIGKILL:
        _stop_by_kernel(paths, container_id, signal, 0)
    else:
        _signal(record, signal)


def _signal(record: dict[str, Any], signal: int) -> None:
    from .._kernel.processes import open_process, send_signal

    fd = open_process(int(record["pid"]), int(record["start_time"]))
    if fd is not None:
        send_signal(fd, signal)
        os.close(fd)


def _stop_by_kernel(paths: Paths, container_id: str, signal: int, timeout_s: float) -> None:
    """Stop a container whose monitor is dead."""
    from .._kernel.cgroup_host import detect
    from .._kernel.cgroups import Cgroup
    from .reconcile import clean_dead

    record = state.read_state(paths.container_run(container_id))
    if record is None:
        return
    cgroup = Cgroup(detect(), str(record["cgroup"]))
    if state.init_alive(record) and signal != _SIGKILL and timeout_s > 0:
        _signal(record, signal)
        if cgroup.is_frozen():
            cgroup.thaw()
        deadline = monotonic() + timeout_s
        while state.init_alive(record) and monotonic() < deadline:
            sleep(0.005)
    cgroup.kill()
    clean_dead(paths, container_id, record)


def update(paths: Paths, plan: LaunchPlan) -> tuple[str, ...]:
    """Give a running container all of the plan that it can take over without a restart (`with_live_part`). Warnings.

    All or nothing. Raises Conflict where it does not run, and for a limit below what is in use.
    """
    from .live_update import update as update_live

    return update_live(paths, plan, lambda request: _ask_monitor(paths, plan.container_id, request))


def wait(paths: Paths, container_id: str, *, timeout_s: float = 0) -> int:
    """Wait until the container is down for good; its exit status. 0 seconds: no end. Raises Timeout, NotFound."""
    deadline = monotonic() + timeout_s if timeout_s > 0 else 0.0
    while True:
        left = deadline - monotonic() if deadline else 0.0
        if deadline and left <= 0:
            raise Timeout(f"wait for container {container_id[:12]}: it runs after {timeout_s:g} s still")
        try:
            answer = _ask_monitor(paths, container_id, {"op": "wait"}, timeout_s=left)
        except Timeout:
            continue
        if answer is not None:
            return int(answer["exit_code"])
        now = state.observe(paths, container_id)
        if now.status == "created":
            raise NotFound(f"wait for container {container_id[:12]}: it was never started")
        if not now.is_up:
            return now.exit_code
        _await_process(now, left if deadline else 1.0)


def _await_process(now: RunState, longest_s: float) -> None:
    """Wait for the end of an init that has no monitor; a restarting container is looked at again soon."""
    from .._kernel.processes import has_ended

    try:
        fd = os.pidfd_open(now.pid) if now.pid else -1
    except OSError:
        return
    if fd < 0:
        sleep(0.02)
        return
    try:
        has_ended(fd, int(min(longest_s, 1.0) * 1000))
    finally:
        os.close(fd)
