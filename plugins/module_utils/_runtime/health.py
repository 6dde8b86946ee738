# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The health check of a running container: when it runs, what its result means, and the record in Docker's shape.

`HealthRecord` is the pure part. `HealthMonitor` runs the command as an exec and never blocks the monitor for longer
than the joining takes.
"""

from __future__ import annotations

import os
from time import monotonic_ns, time_ns

from .._base.clock import format_time
from .._base.errors import HullError
from .._base.values import replace
from .exec_process import Spawned, Target, spawn
from .launch_plan import HealthPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .monitor import Monitor

_KEPT_RESULTS = 5
_KEPT_OUTPUT = 4096
_JOIN_TIMEOUT_S = 3  # how long the container may keep its monitor from its other work by stopping a check
TIMED_OUT = -1


class HealthRecord:
    """Status, streak and last results of one run. Pure: times are given in."""

    def __init__(self, plan: HealthPlan) -> None:
        self.plan = plan
        self.status = "starting"
        self.failing_streak = 0
        self.log: list[dict[str, Any]] = []

    def add(self, exit_code: int, output: str, *, start_ns: int, end_ns: int, since_start_ns: int) -> None:
        """Take one result. A failure within the start period counts only once a check has passed."""
        entry = {"Start": format_time(start_ns), "End": format_time(end_ns), "ExitCode": exit_code, "Output": output}
        self.log = [*self.log, entry][-_KEPT_RESULTS:]
        if exit_code == 0:
            self.status, self.failing_streak = "healthy", 0
        elif self.status != "starting" or since_start_ns >= self.plan.start_period_ns:
            self.failing_streak += 1
            if self.failing_streak >= max(self.plan.retries, 1):
                self.status = "unhealthy"

    def next_delay_ns(self, since_start_ns: int) -> int:
        """How long to wait for the next check: shorter while the container starts."""
        starting = self.status == "starting" and since_start_ns < self.plan.start_period_ns
        return self.plan.start_interval_ns if starting and self.plan.start_interval_ns else self.plan.interval_ns

    def record(self) -> dict[str, Any]:
        """As state.json has it."""
        return {"status": self.status, "failing_streak": self.failing_streak, "log": self.log}


class HealthMonitor:
    """Runs the checks of one run of a container, one at a time."""

    def __init__(self, monitor: Monitor) -> None:
        assert monitor.plan.health is not None
        self._monitor = monitor
        self._plan = monitor.plan.health
        self._state = HealthRecord(self._plan)
        self._check: Spawned | None = None
        self._output = b""
        self._start_ns = 0
        self._timed_out = False
        self._schedule()

    def record(self) -> dict[str, Any]:
        """As state.json has it."""
        return self._state.record()

    def _since_start_ns(self) -> int:
        run = self._monitor.run
        return monotonic_ns() - run.started_monotonic_ns if run is not None else 0

    def _schedule(self) -> None:
        self._monitor.loop.set_timer("health", self._state.next_delay_ns(self._since_start_ns()), self._begin)

    def _begin(self) -> None:
        monitor = self._monitor
        run = monitor.run
        if run is None or monitor.stopping:
            return
        if run.cgroup.is_frozen():
            self._schedule()
            return
        process = replace(monitor.plan.process, args=self._plan.args, tty=False, open_stdin=False)
        namespaces = monitor.plan.namespaces
        if monitor.plan.userns is not None and "user" not in namespaces:
            namespaces = ("user", *namespaces)
        namespaces = (*namespaces, *(name for name in monitor.plan.join if name not in namespaces))
        target = Target(run.pid, run.start_time, monitor.plan.cgroup, namespaces, monitor.plan.userns)
        self._start_ns, self._output, self._timed_out = time_ns(), b"", False
        try:
            self._check = spawn(target, process, monitor.host, seccomp=monitor.seccomp, timeout_s=_JOIN_TIMEOUT_S)
        except (HullError, OSError) as error:
            self._finish(getattr(error, "exit_code", 125), str(error))
            return
        for fd in (self._check.wiring.stdout, self._check.wiring.stderr):
            monitor.loop.watch(fd, self._reader(fd))
        monitor.loop.watch(self._check.pid_fd, lambda _events: self._ended())
        monitor.loop.set_timer("health-timeout", self._plan.timeout_ns or 30 * 10**9, self._time_out)

    def _reader(self, fd: int) -> Callable[[int], None]:
        def read(_events: int) -> None:
            self._read(fd)

        return read

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            self._monitor.loop.forget(fd)
            return False
        self._output = (self._output + data)[:_KEPT_OUTPUT]
        return True

    def _time_out(self) -> None:
        self._timed_out = True
        if self._check is not None:
            self._check.kill()

    def _ended(self) -> None:
        check, loop = self._check, self._monitor.loop
        if check is None:
            return
        loop.cancel_timer("health-timeout")
        for fd in (check.wiring.stdout, check.wiring.stderr):
            while loop.watches(fd) and self._read(fd):
                pass
        exit_code = self._close()
        if self._timed_out:
            seconds = self._plan.timeout_ns / 10**9
            self._finish(TIMED_OUT, f"Health check exceeded timeout ({seconds:g}s)")
        else:
            self._finish(exit_code, self._output.decode("utf-8", "replace"))

    def _close(self) -> int:
        check, loop = self._check, self._monitor.loop
        assert check is not None
        for fd in (check.wiring.stdout, check.wiring.stderr, check.pid_fd):
            loop.forget(fd)
        self._check = None
        return check.finish()

    def _finish(self, exit_code: int, output: str) -> None:
        self._state.add(
            exit_code, output, start_ns=self._start_ns, end_ns=time_ns(), since_start_ns=self._since_start_ns()
        )
        self._monitor.write_state("running")
        self._schedule()

    def stop(self) -> None:
        """The run has ended: no more checks; one that runs is ended."""
        self._monitor.loop.cancel_timer("health")
        self._monitor.loop.cancel_timer("health-timeout")
        if self._check is not None:
            self._check.kill()
            self._close()
