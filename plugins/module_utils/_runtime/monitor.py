# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One container's life after its launch: streams, log, health, exit, restart, clean-up.

The monitor is forked by the spawner, is the parent of the container's init, and the only writer of its state. It serves
the connection of the client that started it and, at `monitor.sock`, any number of others.

There may be a thousand of it, so it is small: it shares its memory with the spawner as long as it does not write to it.
What brings a container up, and what a restart does, runs in throw-away children (`launch_worker.py`); the plan lies in
a file. A monitor keeps a few facts, and descriptors; and it begins asleep (`dormant.py`), and is made of this class by
the first thing that happens.

If it is killed, the container goes on, and its output waits in the pipes. The spawner notices and forks another, which
adopts the container; where the spawner was killed too, the next operation on the container has that done. `state.py`
tells such a container apart. SIGTERM, which every process gets when the host goes down, makes the monitor stop its
container first: otherwise a command that ignores SIGTERM, as most do that are PID 1, would hold up systemd's shutdown
for 90 seconds.
"""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]
from _socket import AF_UNIX, SOCK_STREAM, socket
from marshal import loads
from time import monotonic_ns, sleep, time_ns

from .._base.errors import Conflict, HullError
from .._kernel.cgroup_host import CgroupHost
from .._kernel.cgroups import Cgroup
from .._kernel.processes import children, foreign_status, send_signal, shell_status
from . import control, launch_worker, protocol, state
from .clients import Client, Clients, peer_uid
from .container_log import ContainerLog
from .event_loop import EventLoop
from .handover import STREAMS, unpacked
from .health_monitor import HealthMonitor
from .launch_plan import LaunchPlan, RestartPlan
from .launcher import take_down, to_ports
from .plan_file import read_plan
from .restart import RestartState, wants_restart
from .run_directory import remove_run_directory
from .streams import Streams
from .wiring import Wiring
from .worker import Worker, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DRAIN_NS = 10 * 10**9
_FINISH_NS = 5 * 10**9
_REMOVAL_WAIT_NS = 30 * 10**9
_STATE_RETRY_NS = 10**9
_REAPED_BY_ANOTHER_S = 0.2


class Run:
    """One run of the container, as its monitor knows it."""

    def __init__(self, facts: dict[str, Any], fds: dict[str, int], reserved: tuple[int, ...], cgroup: Cgroup) -> None:
        self.pid: int = facts["pid"]
        self.pid_fd = fds.get("pid", -1)  # -1: it has ended before it was adopted
        self.start_time: int = facts["start_time"]
        self.started_ns: int = facts["started_ns"]
        self.started_monotonic_ns: int = facts["started_monotonic_ns"]
        self.adopted = bool(facts.get("adopted"))
        self.cgroup = cgroup
        self.wiring = Wiring()
        for name in STREAMS:
            setattr(self.wiring, name, fds.get(name, -1))
        self._reserved = reserved

    def reap(self) -> int:
        """The exit status of the ended init, as a shell gives it; 255 where nobody knows."""
        if not self.adopted:
            return shell_status(os.waitpid(self.pid, 0)[1])
        deadline = monotonic_ns() + int(_REAPED_BY_ANOTHER_S * 10**9)
        while self.pid_fd >= 0:
            status = foreign_status(self.pid_fd, self.pid, self.start_time)
            if status is not None:
                return status
            if monotonic_ns() > deadline:
                break
            sleep(0.002)
        return state.UNKNOWN_EXIT

    def close(self) -> None:
        """Close the streams, the pidfd and the sockets that hold ports."""
        self.wiring.close()
        for fd in (*self._reserved, self.pid_fd):
            if fd >= 0:
                os.close(fd)
        self._reserved, self.pid_fd = (), -1


class Monitor:
    """The state of one monitor. Methods that begin with `ask_` are what `control.py` calls for a client's request."""

    def __init__(self, packed: bytes, fds: tuple[int, ...], signals: int) -> None:
        """Of a handover's facts and descriptors, and a pipe that tells of SIGTERM."""
        self.facts = facts = loads(packed)
        self._first, self._reserved = unpacked(facts, fds)
        self._signals = signals
        self.loop = EventLoop()
        self.clients = Clients(self.loop, self._frame, self._client_gone)
        self.restarts = RestartState(facts.get("restart_count", 0), facts.get("restart_delay_ns", 0))
        log = facts["log"]
        self.log = ContainerLog(self.loop, self._read_plan, log, self._tell_loss) if log else None
        self.run: Run | None = None
        self.streams: Streams | None = None
        self.health: HealthMonitor | None = None
        self.stopping = False
        self.host_ends = False
        self.last: dict[str, Any] = {}
        self._lock_fd = self._first["lock"]
        self._listener = socket(AF_UNIX, SOCK_STREAM, fileno=self._first["listener"])
        self._starter: Client | None = None

    @property
    def plan(self) -> LaunchPlan:
        """The plan, read from its file each time."""
        return self._read_plan()

    def _read_plan(self) -> LaunchPlan:
        return read_plan(self.facts["run_directory"])

    @property
    def host(self) -> CgroupHost:
        """The host's cgroup hierarchies."""
        return CgroupHost(*self.facts["host"])

    @property
    def seccomp(self) -> bytes:
        """The filter for processes that are executed in the container later."""
        return launch_worker.read_seccomp(self.plan)

    # --- the whole life

    def serve(self, connection: socket | None) -> None:
        """Stay with the container to its end. The connection is an attached client's, or asked for an adoption."""
        self.loop.watch(self._signals, self._terminated)
        self.loop.watch(self._listener.fileno(), lambda _events: self._accept())
        starter = None
        if connection is not None:
            starter = Client(connection, protocol.Decoder(pending=self.facts.get("pending", b"")))
        if starter is not None and self.facts.get("attach"):
            self._starter = starter
            starter.attached = True
            self.clients.add(starter)
        self._begin(self._first, self._reserved)
        if starter is not None:
            if self._starter is None:
                starter.send(protocol.encode_json(protocol.ANSWER, {}))
                self.clients.add(starter)
            self.clients.deliver_pending(starter)
        self.loop.run()
        self._finish()

    def _begin(self, fds: dict[str, int], reserved: tuple[int, ...]) -> None:
        """A run has been handed over: of a launch, a restart, or a monitor that was killed."""
        facts = self.facts
        if facts.pop("restarting", False):
            self.last = state.end_record(facts["root_directory"])
            self.loop.set_timer("restart", self.restarts.delay_ns, self._restart)
            return
        self.run = run = Run(facts, fds, reserved, Cgroup(self.host, facts["cgroup"]))
        self.streams = Streams(self.loop, self.clients, run.wiring, self.log)
        if run.pid_fd < 0:
            self._init_ended()
            return
        self.loop.watch(run.pid_fd, lambda _events: self._init_ended())
        if facts["health"]:
            self.health = HealthMonitor(self, facts.pop("health_record", None))

    def _terminated(self, _events: int) -> None:
        os.read(self._signals, 64)
        if not self.stopping:
            self.host_ends = True
            plan = self.plan
            self.ask_stop(plan.stop_signal, plan.stop_timeout_s * 10**9)

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        connection = socket(AF_UNIX, SOCK_STREAM, fileno=fd)
        if peer_uid(connection) != 0:
            connection.close()
            return
        self.clients.add(Client(connection))

    # --- clients

    def _frame(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == protocol.REQUEST:
            control.handle(self, client, payload)
        elif kind == protocol.DETACH:
            client.attached = False
            client.send(protocol.encode(protocol.DETACHED))
            self._detached(client)
        elif client.attached and self.streams is not None:
            if kind == protocol.STDIN:
                self.streams.feed(payload)
            elif kind == protocol.CLOSE_STDIN:
                if self.facts.get("attach"):  # started in the background it keeps its input open, as in Docker
                    self.streams.close_stdin()
            elif kind == protocol.RESIZE:
                self.streams.resize(*protocol.decode_resize(payload))

    def _client_gone(self, client: Client) -> None:
        if client.attached:
            client.attached = False
            self._detached(client)

    def _detached(self, client: Client) -> None:
        if self.facts["stdin_once"] and self.streams is not None:
            self.streams.close_stdin()

    # --- the end of a run

    def _init_ended(self) -> None:
        """Init is dead: collect what is left, record it, then start again or end."""
        run = self.run
        assert run is not None
        self.loop.forget(run.pid_fd)
        exit_code = run.reap()
        finished_ns = time_ns()
        for name in ("stop-kill", "stop-again", "state"):
            self.loop.cancel_timer(name)
        if self.health is not None:
            self.health.stop()
            self.health = None
        policy, retries = self.facts["restart"]
        delay_ns = self.restarts.next_delay(
            RestartPlan(policy, retries),
            exit_code=exit_code,
            ran_ns=monotonic_ns() - run.started_monotonic_ns,
            stopped=self.stopping,
        )
        taken_down = self._take_down(run.cgroup, apart=delay_ns is not None)
        self._end_streams()
        unknown = "" if exit_code != state.UNKNOWN_EXIT or not run.adopted else state.NO_WITNESS
        self.last = {
            "exit_code": exit_code,
            "oom_killed": taken_down[0],
            "started_ns": run.started_ns,
            "finished_ns": finished_ns,
            "error": taken_down[1] or unknown,
        }
        run.close()
        self.run = None
        if delay_ns is None:
            self._write_exit()
            self.loop.finished = True
            return
        if not call(self._write_restarting):
            self.write_state("restarting")
        self.loop.set_timer("restart", delay_ns, self._restart)

    def _take_down(self, cgroup: Cgroup, *, apart: bool) -> tuple[bool, str]:
        """`apart`: in a child, since this monitor goes on."""
        publishes = self.facts["publishes"]

        def work() -> tuple[bool, str]:
            return take_down(cgroup, to_ports(self.plan) if publishes else {})

        return (call(work) if apart else work()) or (False, "clean up: its process was killed")

    def _end_streams(self) -> None:
        if self.streams is not None:
            self.streams.drain(monotonic_ns() + _DRAIN_NS)
            self.streams.close()
            self.streams = None
        if self.log is not None:
            self.log.finish()

    def _write_restarting(self) -> bool:
        try:
            self._replace_state("restarting")
        except OSError:
            return False
        finally:
            self._write_exit()
        return True

    def _restart(self) -> None:
        counts = {**self.restarts.record(), "lost_log_bytes": self.log.lost_bytes if self.log is not None else 0}
        run_directory = self.facts["run_directory"]
        facts, fds = Worker(lambda channel: launch_worker.start_again(run_directory, counts, channel)).result()
        if facts is None:
            facts = {"failure": {"message": "its launch was killed"}}
        failure = facts.get("failure")
        if failure is not None:
            end_children()
            self.last.update(error=str(failure["message"]), exit_code=int(failure.get("exit_code", 125)))
            self._write_exit()
            self.loop.finished = True
            return
        self.facts = facts
        self._begin(*unpacked(facts, fds))

    def _finish(self) -> None:
        """The container stays down: everything goes, then all who wait hear of it."""
        finisher = self.plan.finisher if self.facts["auto_remove"] else ()
        self._clean_up()
        exit_frame = protocol.encode_json(protocol.EXIT, self.last)
        for client in list(self.clients.all):
            if client.wants:
                client.send(protocol.encode_json(protocol.ANSWER, self.last))
            elif client.attached:
                client.send(exit_frame)
        keep = self._starter if self.facts["auto_remove"] and self._starter in self.clients.all else None
        if keep is not None:
            self._await_removal(keep)
        self.clients.finish(monotonic_ns() + _FINISH_NS)
        if finisher and os.path.isdir(self.facts["root_directory"]):
            os.execve(finisher[0], list(finisher), {"PATH": os.defpath})

    def _await_removal(self, client: Client) -> None:
        """The client that started a container for one run removes it; this one looks whether it lived to do so."""
        self.clients.settle_all()
        deadline = monotonic_ns() + _REMOVAL_WAIT_NS
        while client in self.clients.all and monotonic_ns() < deadline:
            self.loop.run_once(1000)

    def _clean_up(self) -> None:
        self.loop.cancel_timer("state")
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        if self.log is not None:
            self.log.close()
        remove_run_directory(self.facts["run_directory"])
        os.close(self._lock_fd)

    # --- state

    def write_state(self, status: str) -> None:
        """Replace state.json. Where that is not possible now, a full disk say, the container goes on; tried again."""
        self.loop.cancel_timer("state")
        try:
            self._replace_state(status)
        except OSError:
            self.loop.set_timer("state", _STATE_RETRY_NS, lambda: self.write_state(status))

    def _tell_loss(self) -> None:
        """Bytes of the log were lost: the state says so, soon, as more of them may follow."""
        if self.run is not None and not self.loop.has_timer("state"):
            self.loop.set_timer("state", _STATE_RETRY_NS, lambda: self.write_state("running"))

    def _replace_state(self, status: str) -> None:
        path = f"{self.facts['run_directory']}/{state.STATE_FILE}"
        record = state.read_json(path) or {}
        record.update(status=status, **self.restarts.record())
        record["health"] = self.health.record() if self.health is not None else None
        record["lost_log_bytes"] = self.log.lost_bytes if self.log is not None else 0
        if status == "restarting":
            record.update(self.last, pid=0, start_time=0)
        state.write_json(path, record)

    def _write_exit(self) -> None:
        record = {
            "status": "exited",
            "boot_id": state.boot_id(),
            **self.last,
            "restart_count": self.restarts.count,
            "stopped_by_user": self.stopping and not self.host_ends,
        }
        try:
            state.write_json(f"{self.facts['root_directory']}/{state.EXIT_FILE}", record)
        except OSError as error:  # a full disk must not keep the container from ending
            self.last["error"] = f"write exit.json: {error.strerror}"

    # --- requests, called by control.py

    def ask_stop(self, signal: int, timeout_ns: int) -> None:
        """End the container for good: its signal first, SIGKILL to all of it after the timeout."""
        self.stopping = True
        if self.loop.has_timer("restart"):
            self._stay_down()
            return
        if self.run is None:
            return
        send_signal(self.run.pid_fd, signal)
        self._thaw()
        if signal == SIGKILL or timeout_ns <= 0:
            self._kill_all()
        else:
            self.loop.set_timer("stop-kill", timeout_ns, self._kill_all)

    def _stay_down(self) -> None:
        """Do without the restart that is waited for."""
        self.loop.cancel_timer("restart")
        self._write_exit()
        self.loop.finished = True

    def ask_policy(self) -> None:
        """The restart policy has changed: it may not want the restart any more that is waited for."""
        policy = RestartPlan(*self.facts["restart"])
        restarts = self.restarts.count - 1
        if self.loop.has_timer("restart") and not wants_restart(
            policy, exit_code=self.last["exit_code"], restarts=restarts
        ):
            self._stay_down()

    def _thaw(self) -> None:
        if self.run is not None and self.run.cgroup.is_frozen():
            self.run.cgroup.thaw()

    def _kill_all(self) -> None:
        if self.run is not None:
            try:
                self.run.cgroup.kill(timeout_s=2)
            except HullError:  # something is stuck in the kernel: try again, and go on serving meanwhile
                self.loop.set_timer("stop-again", 1_000_000_000, self._kill_all)

    def ask_kill(self, signal: int) -> None:
        """Send a signal to init. SIGKILL ends the container as a user's stop does, also a frozen one."""
        if self.run is None:
            raise Conflict(f"kill container {self.facts['name']}: it is not running")
        if signal == SIGKILL:
            self.stopping = True
            self._kill_all()
        else:
            send_signal(self.run.pid_fd, signal)


def end_children() -> None:
    """After a launch that failed or was killed: its init is this process's child, and may be alive."""
    for pid in children(os.getpid()):
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
