# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Changing a running container: what the kernel keeps of it here and now, what its monitor keeps through the monitor.

The client does the kernel's part itself, so it works too where the monitor is dead; the next monitor finds the rest in
the plan's file. All or nothing: what was changed before an error is changed back.
"""

from __future__ import annotations

from errno import EACCES, ENOENT, EPERM, ESRCH, errorcode

from .._base.codec import render
from .._base.errors import Conflict, HullError
from .._base.spec import Limits
from .._base.values import replace, to_record
from .._kernel.cgroup_devices import allow_devices
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from .._kernel.processes import children
from .._sys.process_calls import prlimit
from .._sys.sched_flags import RLIMITS
from . import process_setup, state
from .launch_plan import LaunchPlan, with_live_part
from .log_drivers import receiver_warnings
from .plan_file import read_plan, write_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._base.paths import Paths

    AskMonitor = Callable[[dict[str, Any]], "dict[str, Any] | None"]

_TOGETHER = (("memory_bytes", "memory_swap_bytes"), ("cpu_quota_us", "cpu_period_us"))  # one file depends on both
_RATES = ("read_bps", "write_bps", "read_iops", "write_iops")
_ATTEMPTS = 3


def update(paths: Paths, plan: LaunchPlan, ask_monitor: AskMonitor) -> tuple[str, ...]:
    """Give a running container the live part of a plan. Warnings. Raises Conflict where it does not run."""
    run_directory = paths.container_run(plan.container_id)
    for _ in range(_ATTEMPTS):
        record = state.read_state(run_directory)
        alive = record is not None and state.init_alive(record)
        if record is None or not (alive or state.monitor_alive(record)):
            raise Conflict(f"update container {plan.name}: it is not running")
        present = read_plan(run_directory)
        wanted = with_live_part(present, plan)
        change = _KernelChange(present, wanted)
        try:
            if alive:
                change.apply(int(record["pid"]))
            answer = ask_monitor({"op": "update", "plan": render(to_record(wanted))})
            if answer is None:
                write_plan(run_directory, to_record(wanted))
        except BaseException:
            change.undo()
            raise
        if answer is None or answer["pid"] in (0, record["pid"]):
            if wanted.log != present.log:
                change.warnings += receiver_warnings(wanted.log)
            return tuple(change.warnings)
    raise Conflict(f"update container {plan.name}: it is started again and again", hint="try again")


class _KernelChange:
    """From one plan to another, in the kernel."""

    def __init__(self, present: LaunchPlan, wanted: LaunchPlan) -> None:
        self._present = present
        self._wanted = wanted
        self._cgroup = Cgroup(detect(), present.cgroup)
        self._undo: list[Callable[[], object]] = []
        self.warnings: list[str] = []

    def apply(self, pid: int) -> None:
        """Change what differs, for a container whose first process this is."""
        present, wanted, cgroup = self._present, self._wanted, self._cgroup
        limits = changed_limits(present.limits, wanted.limits)
        if limits:
            self.warnings += cgroup.set(limits)
            self._undo.append(lambda: cgroup.set(changed_limits(wanted.limits, present.limits)))
        if wanted.allowed_devices != present.allowed_devices:
            self._undo.append(lambda: _allow(cgroup, present))
            _allow(cgroup, wanted)
        pids = [pid]
        if wanted.init:  # the engine's own PID 1; the command is its first child
            pids += children(pid)[:1]
        for number in pids:
            self._set_oom_score(number)
            self._set_rlimits(number)
        self.warnings = list(dict.fromkeys(self.warnings))

    def undo(self) -> None:
        """Change it back, newest first, as far as the kernel lets."""
        while self._undo:
            try:
                self._undo.pop()()
            except (HullError, OSError):
                pass

    def _set_oom_score(self, pid: int) -> None:
        before, after = self._present.process.oom_score_adj, self._wanted.process.oom_score_adj
        if before != after:
            self._undo.append(lambda: _write_oom_score(pid, before))
            try:
                _write_oom_score(pid, after)
            except OSError as error:
                if error.errno not in (EACCES, EPERM):
                    raise _gone(self._wanted, error) from error
                cause = "it is less than the host's own, which takes CAP_SYS_RESOURCE"
                self.warnings.append(f"oom_score_adj: {after}: {cause}; the running process keeps what it has")

    def _set_rlimits(self, pid: int) -> None:
        before = {name: (soft, hard) for name, soft, hard in self._present.process.rlimits}
        after = {name: (soft, hard) for name, soft, hard in self._wanted.process.rlimits}
        own = {name: prlimit(0, RLIMITS[name]) for name in before if name not in after}  # what a new start would have
        changed = [(name, *limits) for name, limits in {**after, **own}.items() if before.get(name) != limits]
        for name, soft, hard in changed:
            process = replace(self._wanted.process, rlimits=((name, soft, hard),))
            try:
                old = prlimit(pid, RLIMITS[name]) if name in RLIMITS else (0, 0)
                self.warnings += process_setup.set_limits(process, pid)
                self._undo.append(_setter(pid, RLIMITS[name], old))
            except OSError as error:
                if error.errno != EPERM:
                    raise _gone(self._wanted, error) from error
                cause = "this host does not let the engine change it for a running process of another user"
                self.warnings.append(f"ulimits: {name}: {cause}; it counts from the next start on")


def _setter(pid: int, number: int, limits: tuple[int, int]) -> Callable[[], object]:
    return lambda: prlimit(pid, number, limits)


def _gone(plan: LaunchPlan, error: OSError) -> Conflict:
    cause = "it has just ended" if error.errno in (ESRCH, ENOENT) else errorcode.get(error.errno or 0, str(error))
    return Conflict(f"update container {plan.name}: {cause}")


def _allow(cgroup: Cgroup, plan: LaunchPlan) -> None:
    allow_devices(cgroup, plan.allowed_devices, privileged=plan.privileged)


def _write_oom_score(pid: int, score: int) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"%d" % score)


def changed_limits(present: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What `Cgroup.set` is to be told, both being LaunchPlan.limits: a limit that has gone gets its default. Pure."""
    defaults = Limits().fields()
    before, after = {**defaults, **present}, {**defaults, **wanted}
    changed = {name: value for name, value in after.items() if before[name] != value}
    for name in _RATES:
        if name in changed:
            changed[name] = {**dict.fromkeys(before[name], 0), **after[name]}
    for names in _TOGETHER:
        if any(name in changed for name in names):
            changed.update({name: after[name] for name in names})
    return changed
