# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the results of a container's health checks mean, and the record in Docker's shape. Pure."""

from __future__ import annotations

from .._base.clock import format_time
from .launch_plan import HealthPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEPT_RESULTS = 5


class HealthRecord:
    """Status, streak and last results of one run. Pure: times are given in. `before`: the record to go on from."""

    def __init__(self, plan: HealthPlan, before: dict[str, Any] | None = None) -> None:
        known = before or {}
        self.plan = plan
        self.status: str = known.get("status", "starting")
        self.failing_streak: int = known.get("failing_streak", 0)
        self.log: list[dict[str, Any]] = known.get("log", [])

    def add(self, exit_code: int, output: str, *, start_ns: int, end_ns: int, since_start_ns: int) -> None:
        """Take one result. A failure of a check that began within the start period counts only once one has passed."""
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
