# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The health check of a running container: when it runs, and how.

A check is an exec, made by a throw-away child of the monitor: joining a container can take as long as root in it likes,
and ending what a check started too. The child ends when it has the result, when the monitor asks for that, and when
the monitor has gone.
"""

from __future__ import annotations

import os
from _socket import SHUT_WR
from select import POLLIN, poll
from time import monotonic_ns, time_ns

from .._base.errors import HullError, Timeout
from .._base.values import replace
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from .._sys.file_calls import close_range
from .._sys.privilege_calls import set_name
from . import state
from .exec_process import Spawned, spawn, target_of
from .health import HealthRecord
from .launch_plan import HealthPlan
from .launch_worker import read_seccomp
from .patience import Patience
from .plan_file import read_plan
from .worker import Worker, give

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from .monitor import Monitor

TIMED_OUT = -1
_KEPT_OUTPUT = 4096
_DEFAULT_TIMEOUT_NS = 30 * 10**9
_LONGEST_JOIN_S = 30
_SIGKILL = 9


class HealthMonitor:
    """Runs the checks of one run of a container, one at a time. `before`: the record of an adopted container."""

    def __init__(self, monitor: Monitor, before: dict[str, Any] | None = None) -> None:
        self._monitor = monitor
        self._worker: Worker | None = None
        self._since_start_ns = 0
        self._unwanted = False  # the check that runs is not the container's any more
        self._state: HealthRecord | None = None
        self._take(before)

    def _take(self, before: dict[str, Any] | None = None) -> None:
        plan = self._monitor.facts["health"]
        self._state = HealthRecord(HealthPlan(**plan), before) if plan else None
        self._schedule()

    def change(self) -> None:
        """The monitor's facts have another check, or none: begin anew with that."""
        self._monitor.loop.cancel_timer("health")
        if self._worker is not None:
            self._unwanted = True
            self._worker.channel.shutdown(SHUT_WR)
        self._take()

    def record(self) -> dict[str, Any] | None:
        """As state.json has it."""
        return self._state.record() if self._state is not None else None

    def _age_ns(self) -> int:
        run = self._monitor.run
        return monotonic_ns() - run.started_monotonic_ns if run is not None else 0

    def _schedule(self) -> None:
        if self._state is not None:
            self._monitor.loop.set_timer("health", self._state.next_delay_ns(self._age_ns()), self._begin)

    def _begin(self) -> None:
        monitor = self._monitor
        if monitor.run is None or monitor.stopping or self._state is None:
            return
        if self._worker is not None or monitor.run.cgroup.is_frozen():
            self._schedule()
            return
        self._since_start_ns = self._age_ns()
        run_directory, plan = monitor.facts["run_directory"], self._state.plan
        self._worker = Worker(lambda channel: _check(channel, run_directory, plan))
        monitor.loop.watch(self._worker.channel.fileno(), lambda _events: self._ended())

    def _ended(self) -> None:
        result = self._reap()
        if self._unwanted or self._state is None:
            self._unwanted = False
            return
        now_ns = time_ns()
        exit_code, output, start_ns, end_ns = result or (125, "the check was killed", now_ns, now_ns)
        self._state.add(exit_code, output, start_ns=start_ns, end_ns=end_ns, since_start_ns=self._since_start_ns)
        self._monitor.write_state("running")
        self._schedule()

    def _reap(self) -> tuple[int, str, int, int] | None:
        worker = self._worker
        assert worker is not None
        self._worker = None
        self._monitor.loop.forget(worker.channel.fileno())
        result: tuple[int, str, int, int] | None = worker.result()[0]
        return result

    def stop(self) -> None:
        """The run has ended, and what a check started ends with it."""
        self._monitor.loop.cancel_timer("health")
        if self._worker is not None:
            os.kill(self._worker.pid, _SIGKILL)
            self._reap()


def _check(channel: socket, run_directory: str, health: HealthPlan) -> None:
    """The child: one check. Its result is the exit code, the output, and when it began and ended."""
    set_name("hull-health")
    close_range(3, channel.fileno() - 1)  # nothing of the monitor's stays open in here if that is killed
    close_range(channel.fileno() + 1)
    start_ns, timeout_ns = time_ns(), health.timeout_ns or _DEFAULT_TIMEOUT_NS
    too_late = f"Health check exceeded timeout ({timeout_ns / 10**9:g}s)"
    try:
        record = state.read_state(run_directory)
        if record is None:
            return
        plan = read_plan(run_directory)
        process = replace(plan.process, args=health.args, tty=False, open_stdin=False)
        patience_s = min(-(-timeout_ns // 10**9), _LONGEST_JOIN_S)
        check = spawn(target_of(record), process, detect(), seccomp=read_seccomp(plan), timeout_s=patience_s)
        exit_code, output = _follow(check, Cgroup(detect(), plan.cgroup), channel, timeout_ns)
        if exit_code == TIMED_OUT:
            output = f"{too_late}: {output}" if output else too_late
    except Timeout:
        exit_code, output = TIMED_OUT, too_late
    except (HullError, OSError) as error:
        exit_code, output = getattr(error, "exit_code", 125), str(error)
    give(channel, (exit_code, output, start_ns, time_ns()))


def _follow(check: Spawned, container: Cgroup, channel: socket, timeout_ns: int) -> tuple[int, str]:
    """Read what the check says until it ends, is late, or is not wanted any more; then end all that it started."""
    kept = b""
    outputs = {check.wiring.stdout, check.wiring.stderr}
    watch = poll()
    for fd in (*outputs, check.pid_fd, channel.fileno()):
        watch.register(fd, POLLIN)
    patience = Patience(timeout_ns, container.is_frozen)
    while True:
        ready = {fd for fd, _events in watch.poll(patience.left_ms())}
        if not ready and not patience.is_over():
            continue
        if not ready or ready & {check.pid_fd, channel.fileno()}:
            break
        for fd in outputs & ready:
            data = _read(fd)
            kept = (kept + data)[: _KEPT_OUTPUT + 1]
            if not data:
                watch.unregister(fd)
                outputs.discard(fd)
    check.kill()
    for fd in outputs:  # to the bound only: a process elsewhere that was handed the pipe may write for ever
        while len(kept) <= _KEPT_OUTPUT and (data := _read(fd)):
            kept = (kept + data)[: _KEPT_OUTPUT + 1]
    exit_code = check.finish()
    text = kept[:_KEPT_OUTPUT].decode("utf-8", "replace") + ("..." if len(kept) > _KEPT_OUTPUT else "")
    return (exit_code if check.pid_fd in ready else TIMED_OUT), text


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""
