# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The plan that a container runs by, in its run-time directory: for its restarts, and for its next monitor.

Not in the monitor's memory: it is larger than what a monitor needs all the time, and parsing it costs more.
"""

from __future__ import annotations

from .._base.errors import NotFound
from . import state
from .launch_plan import plan_from_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .launch_plan import LaunchPlan

PLAN_FILE = "plan.json"


def write_plan(run_directory: str, plan: dict[str, Any]) -> None:
    """Keep a plan, as `to_record` gives it."""
    state.write_json(f"{run_directory}/{PLAN_FILE}", plan)


def read_plan(run_directory: str) -> LaunchPlan:
    """The plan that was kept, of any version of the engine. Raises NotFound, Damaged."""
    record = state.read_json(f"{run_directory}/{PLAN_FILE}")
    if record is None:
        raise NotFound(f"read {run_directory}/{PLAN_FILE}: not there", hint="stop the container and start it again")
    return plan_from_record(record)
