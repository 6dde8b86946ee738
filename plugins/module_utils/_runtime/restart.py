# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""When an ended container is started again, and how long to wait before. Pure.

Docker's rules: 100 ms, doubling up to a minute; a run of ten seconds or more starts the sequence anew; a stop that the
user asked for is never undone.
"""

from __future__ import annotations

from .launch_plan import RestartPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .state import RunState

FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 60 * 10**9
GOOD_RUN_NS = 10 * 10**9

POLICIES = ("no", "always", "unless-stopped", "on-failure")


class RestartState:
    """The memory of one container's restarts: how many there were, and the delay that is next."""

    def __init__(self, count: int = 0, delay_ns: int = 0) -> None:
        self.count = count
        self.delay_ns = delay_ns or FIRST_DELAY_NS

    def record(self) -> dict[str, int]:
        """As state.json has it."""
        return {"restart_count": self.count, "restart_delay_ns": self.delay_ns}

    def next_delay(self, plan: RestartPlan, *, exit_code: int, ran_ns: int, stopped: bool) -> int | None:
        """Nanoseconds to wait before the next start, or None where the container stays down. Counts the restart."""
        if stopped or not wants_restart(plan, exit_code=exit_code, restarts=self.count):
            return None
        if ran_ns >= GOOD_RUN_NS:
            self.delay_ns = FIRST_DELAY_NS
        delay = self.delay_ns
        self.delay_ns = min(self.delay_ns * 2, LONGEST_DELAY_NS)
        self.count += 1
        return delay


def wants_restart(plan: RestartPlan, *, exit_code: int, restarts: int) -> bool:
    """Whether the policy wants another start after this exit. An unknown policy wants none."""
    if plan.policy in ("always", "unless-stopped"):
        return True
    return plan.policy == "on-failure" and exit_code != 0 and (plan.retries <= 0 or restarts < plan.retries)


def wants_boot(plan: RestartPlan, last: RunState) -> bool:
    """Whether the policy wants a container that does not run to be started after a boot; never one that never ran.

    `always` brings back also what a user has stopped. A container that went down with the host has failed.
    """
    if last.status == "created":
        return False
    if plan.policy == "always":
        return True
    return not last.stopped_by_user and wants_restart(plan, exit_code=last.exit_code, restarts=last.restart_count)
