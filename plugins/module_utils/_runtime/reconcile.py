# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Cleaning up after a container that died without its monitor: cgroup, published ports, run-time directory.

Everything else of a container goes with its processes: mounts, namespaces and both ends of its veth pair are the
kernel's, and exit.json, which still says "running", is put right here.
"""

from __future__ import annotations

import os
from time import time_ns

from .._base.errors import Conflict, HullError
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from . import state
from .run_directory import remove_run_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths
    from .launch_plan import LaunchPlan


def reconcile(paths: Paths, plan: LaunchPlan) -> bool:
    """Remove what a dead container left. Nothing happens to one that lives, or whose monitor does. Whether it cleaned.

    Raises Conflict where its processes can't be ended.
    """
    run_directory = paths.container_run(plan.container_id)
    record = state.read_state(run_directory)
    if record is not None and (state.init_alive(record) or state.monitor_alive(record)):
        return False
    unwitnessed = _is_unwitnessed(paths.container(plan.container_id))
    cgroup = Cgroup(detect(), plan.cgroup)
    left = os.path.isdir(run_directory) or cgroup.exists()
    if not left and not unwitnessed:
        return False
    try:
        cgroup.kill()
        cgroup.remove()
    except HullError as error:
        raise Conflict(f"clean up container {plan.name}: {error.message}") from error
    if plan.network is not None and plan.network.ports:
        from .launcher import unpublish

        unpublish(plan)
    if unwitnessed:
        _record_end(paths, plan.container_id, stopped=False)
    remove_run_directory(run_directory)
    return True


def clean_dead(paths: Paths, container_id: str, record: dict[str, Any]) -> None:
    """After a stop without monitor: its record, cgroup, ports and directory."""
    Cgroup(detect(), str(record["cgroup"])).remove()
    if record.get("ports"):
        from .launcher import unpublish_record

        unpublish_record(record["ports"])
    _record_end(paths, container_id, stopped=True)
    remove_run_directory(paths.container_run(container_id))


def _is_unwitnessed(root_directory: str) -> bool:
    try:
        record = state.read_json(f"{root_directory}/{state.EXIT_FILE}")
    except HullError:
        return True
    return record is not None and record.get("status") == "running"


def _record_end(paths: Paths, container_id: str, *, stopped: bool) -> None:
    """Close the record of a run that nobody saw end."""
    before = state.observe_ended(paths.container(container_id))
    if before.status == "created":
        return
    state.write_json(
        f"{paths.container(container_id)}/{state.EXIT_FILE}",
        {
            "status": "exited",
            "exit_code": state.UNKNOWN_EXIT,
            "started_ns": before.started_ns,
            "finished_ns": time_ns(),
            "restart_count": before.restart_count,
            "oom_killed": False,
            "error": before.error,
            "stopped_by_user": stopped,
        },
    )
