# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One container's life after the spawner's fork: launch, streams, log, health, exit, restart, clean-up.

The monitor is the parent of the container's init and the only writer of its state. It serves the connection of the
client that started it and, at `monitor.sock`, any number of others. If it is killed, the container goes on without
log, health check and restart policy (its pipes are then broken: a writer gets SIGPIPE or EPIPE); `client.py` stops such
a container through the kernel, and `state.py` tells it apart. SIGTERM, which every process gets when the host goes
down, makes it stop its container first: otherwise a command that ignores SIGTERM, as most do that are PID 1, would hold
up systemd's shutdown for 90 seconds.
"""

from __future__ import annotations

import os
from _signal import SIG_SETMASK, SIGKILL, SIGTERM, pthread_sigmask  # type: ignore[import-not-found]
from _signal import signal as set_handler
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from errno import EWOULDBLOCK
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic_ns, sleep, time_ns

from .._base.errors import Conflict, HullError, LaunchError
from .._kernel.cgroup_host import detect
from .._kernel.processes import send_signal, start_time
from .._sys.privilege_calls import set_name
from .._sys.process_title import set_title
from . import control, protocol, state
from .clients import Client, Clients, peer_uid
from .container_log import ContainerLog
from .event_loop import EventLoop
from .health import HealthMonitor
from .launch_plan import LaunchPlan
from .launcher import Launch, launch, to_ports
from .restart import RestartState
from .run_directory import remove_run_directory
from .streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SOCKET_NAME = "monitor.sock"
LOCK_NAME = "monitor.lock"
_DRAIN_NS = 10 * 10**9
_FINISH_NS = 5 * 10**9
_REMOVAL_WAIT_NS = 30 * 10**9
_LOCK_WAIT_S = 10
_STATE_RETRY_NS = 10**9


class Monitor:
    """The state of one monitor. Methods that begin with `ask_` are what `control.py` calls for a client's request."""

    def __init__(self, plan: LaunchPlan) -> None:
        self.plan = plan
        self.loop = EventLoop()
        self.clients = Clients(self.loop, self._frame, self._client_gone)
        self.host = detect()
        self.restarts = RestartState()
        self.log: ContainerLog | None = None
        self.run: Launch | None = None
        self.streams: Streams | None = None
        self.health: HealthMonitor | None = None
        self.stopping = False
        self.host_ends = False
        self.attached_once = False
        self.last: dict[str, Any] = {}
        self._boot_id = state.boot_id()
        self._start_time = start_time(os.getpid()) or 0
        self.seccomp = b""
        self._lock_fd = -1
        self._listener: socket | None = None
        self._starter: Client | None = None

    # --- the whole life

    def serve(self, starter: Client, *, attach: bool, rows: int, columns: int) -> None:
        """Start the container for this client and stay with it to its end. Errors go to the client."""
        self._starter = starter
        starter.starting, starter.attached = True, attach
        self._stop_on_sigterm()
        try:
            self._prepare()
            self._start(rows, columns)
        except (HullError, OSError) as error:
            self._clean_up()
            starter.send(protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error)))
            self.clients.add(starter)
            self.clients.finish(monotonic_ns() + _FINISH_NS)
            return
        assert self.run is not None
        self.attached_once = attach
        warnings = [*self.run.warnings, *(self.log.warnings if self.log is not None else ())]
        answer = {"pid": self.run.pid, "started_ns": self.run.started_ns, "warnings": warnings}
        starter.send(protocol.encode_json(protocol.ANSWER, answer))
        self.clients.add(starter)
        self.clients.deliver_pending(starter)
        self.loop.run()
        self._finish()

    def _stop_on_sigterm(self) -> None:
        """By way of a pipe, which ends the loop's waiting. A clone of this process has the handler until its execve."""
        read_end, write_end = os.pipe()
        monitor = os.getpid()

        def terminated(_events: int) -> None:
            os.read(read_end, 1)
            if not self.stopping:
                self.host_ends = True
                self.ask_stop(self.plan.stop_signal, self.plan.stop_timeout_s * 10**9)

        self.loop.watch(read_end, terminated)
        os.set_blocking(write_end, False)
        set_handler(SIGTERM, lambda *_: os.write(write_end, b"1") if os.getpid() == monitor else None)

    def _prepare(self) -> None:
        os.makedirs(self.plan.run_directory, 0o700, exist_ok=True)
        self._lock()
        if self.plan.process.seccomp_path:
            with open(self.plan.process.seccomp_path, "rb", buffering=0) as file:
                self.seccomp = file.read()
        if self.plan.log is not None and self.plan.log.path:
            self.log = ContainerLog(self.loop, self.plan, self.plan.log, self._tell_loss)
        self._listen()

    def _lock(self) -> None:
        """One monitor per container: a lock that goes with this process. A predecessor may still be cleaning up."""
        deadline = monotonic_ns() + _LOCK_WAIT_S * 10**9
        path = f"{self.plan.run_directory}/{LOCK_NAME}"
        while True:
            os.makedirs(self.plan.run_directory, 0o700, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                flock(fd, LOCK_EX | LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    self._lock_fd = fd
                    return
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != EWOULDBLOCK or monotonic_ns() > deadline:
                    os.close(fd)
                    raise Conflict(f"start container {self.plan.name}: it is running already") from error
            os.close(fd)
            sleep(0.002)

    def _start(self, rows: int, columns: int) -> None:
        size = (rows or self.plan.process.rows, columns or self.plan.process.columns)
        self.run = launch(self.plan, self.host, seccomp=self.seccomp, rows=size[0], columns=size[1])
        self.streams = Streams(self.loop, self.clients, self.run.wiring, self.log)
        self.loop.watch(self.run.pid_fd, lambda _events: self._init_ended())
        if self.plan.health is not None:
            self.health = HealthMonitor(self)
        self._write_exit("running")
        self._replace_state("running")

    def _listen(self) -> None:
        """Serve monitor.sock. Bound by way of the directory's descriptor, since a path may have 107 bytes only."""
        directory = os.open(self.plan.run_directory, os.O_PATH | os.O_CLOEXEC)
        try:
            listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
            listener.listen(16)
        finally:
            os.close(directory)
        self._listener = listener
        self.loop.watch(listener.fileno(), lambda _events: self._accept())

    def _accept(self) -> None:
        assert self._listener is not None
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
                self.streams.close_stdin()
            elif kind == protocol.RESIZE:
                self.streams.resize(*protocol.decode_resize(payload))

    def _client_gone(self, client: Client) -> None:
        if client.attached:
            client.attached = False
            self._detached(client)

    def _detached(self, client: Client) -> None:
        if self.plan.process.stdin_once and self.streams is not None:
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
        oom_killed = run.cgroup.oom_kills() > 0
        trouble = self._kill_rest(run)
        if self.streams is not None:
            self.streams.drain(monotonic_ns() + _DRAIN_NS)
            self.streams.close()
            self.streams = None
        if self.log is not None:
            self.log.finish()
        self.last = {
            "exit_code": exit_code,
            "oom_killed": oom_killed,
            "started_ns": run.started_ns,
            "finished_ns": finished_ns,
            "error": trouble,
        }
        delay_ns = self.restarts.next_delay(
            self.plan.restart,
            exit_code=exit_code,
            ran_ns=monotonic_ns() - run.started_monotonic_ns,
            stopped=self.stopping,
        )
        if delay_ns is None:
            self._write_exit("exited")
            self._undo_run()
            self.loop.finished = True
            return
        self.write_state("restarting")
        self._write_exit("exited")
        self._undo_run()
        self.loop.set_timer("restart", delay_ns, self._restart)

    def _kill_rest(self, run: Launch) -> str:
        """Nothing of the container outlives its init, also where it shares the host's pid namespace."""
        try:
            run.cgroup.kill()
        except HullError as error:
            return str(error)
        return ""

    def _undo_run(self) -> None:
        if self.run is not None:
            troubles = self.run.undo()
            if troubles:
                self.last["error"] = "; ".join(troubles)
            self.run = None

    def _restart(self) -> None:
        try:
            self._start(0, 0)
        except (HullError, OSError) as error:
            self.last["error"] = str(error)
            self.last["exit_code"] = error.exit_code if isinstance(error, LaunchError) else 125
            self._write_exit("exited")
            self.loop.finished = True

    def _finish(self) -> None:
        """The container stays down: everything goes, then all who wait hear of it."""
        self._clean_up()
        exit_frame = protocol.encode_json(protocol.EXIT, self.last)
        for client in list(self.clients.all):
            if client.wants:
                client.send(protocol.encode_json(protocol.ANSWER, self.last))
            elif client.attached:
                client.send(exit_frame)
        keep = self._starter if self.plan.auto_remove and self._starter in self.clients.all else None
        if keep is not None:
            self._await_removal(keep)
        self.clients.finish(monotonic_ns() + _FINISH_NS)
        if self.plan.auto_remove and self.plan.finisher and os.path.isdir(self.plan.root_directory):
            os.execve(self.plan.finisher[0], list(self.plan.finisher), {"PATH": os.defpath})

    def _await_removal(self, client: Client) -> None:
        """The client that started a container for one run removes it; this one looks whether it lived to do so."""
        self.clients.settle_all()
        deadline = monotonic_ns() + _REMOVAL_WAIT_NS
        while client in self.clients.all and monotonic_ns() < deadline:
            self.loop.run_once(1000)

    def _clean_up(self) -> None:
        self.loop.cancel_timer("state")
        self._undo_run()
        if self._listener is not None:
            self.loop.forget(self._listener.fileno())
            self._listener.close()
        if self.log is not None:
            self.log.close()
        if self._lock_fd >= 0:
            remove_run_directory(self.plan.run_directory)
            os.close(self._lock_fd)
            self._lock_fd = -1

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
        run, plan = self.run, self.plan
        record: dict[str, Any] = {
            "status": status,
            "boot_id": self._boot_id,
            "monitor_pid": os.getpid(),
            "monitor_start_time": self._start_time,
            "pid": 0 if status == "restarting" or run is None else run.pid,
            "start_time": 0 if status == "restarting" or run is None else run.start_time,
            "started_ns": run.started_ns if run is not None else 0,
            "restart_count": self.restarts.count,
            "cgroup": plan.cgroup,
            "frozen_witness": run.cgroup.frozen_witness() if run is not None else "",
            "namespaces": list(plan.namespaces),
            "userns": list(plan.userns) if plan.userns is not None else None,
            "join": plan.join,
            "health": self.health.record() if self.health is not None else None,
            "ports": to_ports(plan),
            "lost_log_bytes": self.log.lost_bytes if self.log is not None else 0,
        }
        if status == "restarting":
            record.update(self.last)
        state.write_json(f"{plan.run_directory}/{state.STATE_FILE}", record)

    def _write_exit(self, status: str) -> None:
        record: dict[str, Any] = {"status": status, "boot_id": self._boot_id, "restart_count": self.restarts.count}
        if status == "running":
            assert self.run is not None
            record["started_ns"] = self.run.started_ns
        else:
            record.update(self.last)
            record["stopped_by_user"] = self.stopping and not self.host_ends
        try:
            state.write_json(f"{self.plan.root_directory}/{state.EXIT_FILE}", record)
        except OSError as error:  # a full disk must not keep the container from ending
            self.last["error"] = f"write exit.json: {error.strerror}"

    # --- requests, called by control.py

    def ask_stop(self, signal: int, timeout_ns: int) -> None:
        """End the container for good: its signal first, SIGKILL to all of it after the timeout."""
        self.stopping = True
        if self.loop.has_timer("restart"):
            self.loop.cancel_timer("restart")
            self._write_exit("exited")
            self.loop.finished = True
            return
        if self.run is None:
            return
        send_signal(self.run.pid_fd, signal)
        self._thaw()
        if signal == SIGKILL or timeout_ns <= 0:
            self._kill_all()
        else:
            self.loop.set_timer("stop-kill", timeout_ns, self._kill_all)

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
            raise Conflict(f"kill container {self.plan.name}: it is not running")
        if signal == SIGKILL:
            self.stopping = True
            self._kill_all()
        else:
            send_signal(self.run.pid_fd, signal)


def run_monitor(connection: socket, decoder: protocol.Decoder, request: dict[str, Any], plan: LaunchPlan) -> NoReturn:
    """In the spawner's forked child: be the monitor of this plan, and end the process."""
    code = 1
    try:
        pthread_sigmask(SIG_SETMASK, ())
        set_name("hull-monitor")
        set_title(f"hull-monitor {plan.name} {plan.run_directory}")
        Monitor(plan).serve(
            Client(connection, decoder),
            attach=bool(request.get("attach")),
            rows=int(request.get("rows", 0)),
            columns=int(request.get("columns", 0)),
        )
        code = 0
    finally:
        os._exit(code)
