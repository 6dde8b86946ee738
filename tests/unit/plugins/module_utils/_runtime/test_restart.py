# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Restart policies and their delays."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import RestartPlan
from ansible_collections.hull.engine.plugins.module_utils._runtime.restart import (
    RestartState,
    wants_boot,
    wants_restart,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime.state import RunState

SECOND = 10**9


@pytest.mark.parametrize(
    ("plan", "exit_code", "restarts", "wanted"),
    [
        (RestartPlan("no"), 1, 0, False),
        (RestartPlan("always"), 0, 99, True),
        (RestartPlan("unless-stopped"), 0, 0, True),
        (RestartPlan("on-failure"), 0, 0, False),
        (RestartPlan("on-failure"), 1, 10_000, True),
        (RestartPlan("on-failure", 3), 1, 2, True),
        (RestartPlan("on-failure", 3), 1, 3, False),
        (RestartPlan("sometimes"), 1, 0, False),
    ],
)
def test_which_exits_are_followed_by_a_start(plan: RestartPlan, exit_code: int, restarts: int, wanted: bool) -> None:
    assert wants_restart(plan, exit_code=exit_code, restarts=restarts) is wanted


def test_delays_double_up_to_a_minute() -> None:
    state, plan = RestartState(), RestartPlan("always")
    delays = [state.next_delay(plan, exit_code=1, ran_ns=0, stopped=False) for _ in range(12)]
    milliseconds = [delay // 10**6 for delay in delays if delay is not None]
    assert milliseconds == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
    assert state.count == 12


def test_a_good_run_starts_the_delays_anew() -> None:
    state, plan = RestartState(), RestartPlan("always")
    for _ in range(5):
        state.next_delay(plan, exit_code=1, ran_ns=SECOND, stopped=False)
    assert state.next_delay(plan, exit_code=1, ran_ns=10 * SECOND, stopped=False) == 100_000_000
    assert state.next_delay(plan, exit_code=1, ran_ns=9 * SECOND, stopped=False) == 200_000_000


def test_a_users_stop_is_never_undone() -> None:
    state = RestartState()
    assert state.next_delay(RestartPlan("always"), exit_code=1, ran_ns=0, stopped=True) is None
    assert state.count == 0


ENDED = RunState("exited", exit_code=255)
STOPPED = RunState("exited", exit_code=137, stopped_by_user=True)


@pytest.mark.parametrize(
    ("plan", "last", "wanted"),
    [
        (RestartPlan("always"), ENDED, True),
        (RestartPlan("always"), STOPPED, True),
        (RestartPlan("always"), RunState("created"), False),
        (RestartPlan("unless-stopped"), ENDED, True),
        (RestartPlan("unless-stopped"), STOPPED, False),
        (RestartPlan("on-failure"), ENDED, True),
        (RestartPlan("on-failure"), RunState("exited", exit_code=0), False),
        (RestartPlan("on-failure"), STOPPED, False),
        (RestartPlan("on-failure", 2), RunState("exited", exit_code=1, restart_count=2), False),
        (RestartPlan("no"), ENDED, False),
    ],
)
def test_what_is_started_after_a_boot(plan: RestartPlan, last: RunState, wanted: bool) -> None:
    assert wants_boot(plan, last) is wanted


def test_a_monitor_that_adopts_goes_on_with_the_delays() -> None:
    first = RestartState()
    first.next_delay(RestartPlan("always"), exit_code=1, ran_ns=0, stopped=False)
    record = first.record()
    second = RestartState(record["restart_count"], record["restart_delay_ns"])
    delay = second.next_delay(RestartPlan("always"), exit_code=1, ran_ns=0, stopped=False)
    assert (delay, second.count) == (200_000_000, 2)
