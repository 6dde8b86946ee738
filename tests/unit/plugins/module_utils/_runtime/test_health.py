# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the results of health checks mean."""

from __future__ import annotations

from ansible_collections.hull.engine.plugins.module_utils._runtime.health import HealthRecord
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import HealthPlan

SECOND = 10**9
PLAN = HealthPlan(("true",), 30 * SECOND, SECOND, 10 * SECOND, 2 * SECOND, 2)


def add(record: HealthRecord, exit_code: int, since_s: int = 60) -> None:
    record.add(exit_code, "said", start_ns=1, end_ns=2, since_start_ns=since_s * SECOND)


def test_success_is_healthy_at_once() -> None:
    record = HealthRecord(PLAN)
    assert record.status == "starting"
    add(record, 0, 1)
    assert record.status == "healthy"


def test_so_many_failures_in_a_row_are_unhealthy() -> None:
    record = HealthRecord(PLAN)
    for code, status, streak in (
        (0, "healthy", 0),
        (1, "healthy", 1),
        (0, "healthy", 0),
        (1, "healthy", 1),
        (1, "unhealthy", 2),
    ):
        add(record, code)
        assert (record.status, record.failing_streak) == (status, streak)
    add(record, 0)
    assert (record.status, record.failing_streak) == ("healthy", 0)


def test_failures_while_it_starts_do_not_count() -> None:
    record = HealthRecord(PLAN)
    for _ in range(5):
        add(record, 1, 3)
    assert (record.status, record.failing_streak) == ("starting", 0)
    add(record, 1, 11)
    add(record, 1, 12)
    assert record.status == "unhealthy"


def test_checks_are_closer_while_it_starts() -> None:
    record = HealthRecord(PLAN)
    assert record.next_delay_ns(SECOND) == 2 * SECOND
    assert record.next_delay_ns(11 * SECOND) == 30 * SECOND
    add(record, 0, 1)
    assert record.next_delay_ns(SECOND) == 30 * SECOND


def test_five_results_are_kept_in_dockers_shape() -> None:
    record = HealthRecord(PLAN)
    for code in range(8):
        add(record, code)
    assert [entry["ExitCode"] for entry in record.log] == [3, 4, 5, 6, 7]
    assert set(record.log[0]) == {"Start", "End", "ExitCode", "Output"}
