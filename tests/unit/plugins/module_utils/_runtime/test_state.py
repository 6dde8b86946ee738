# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the two state files say where the kernel knows nothing of the container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._kernel.processes import start_time
from ansible_collections.hull.engine.plugins.module_utils._runtime import state

ID = "0" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(f"{tmp_path}/root", f"{tmp_path}/run", f"{tmp_path}/etc")
    os.makedirs(paths.container(ID))
    os.makedirs(paths.container_run(ID))
    return paths


def put(paths: Paths, *, exit_file: dict[str, Any] | None = None, state_file: dict[str, Any] | None = None) -> None:
    if exit_file is not None:
        state.write_json(f"{paths.container(ID)}/exit.json", exit_file)
    if state_file is not None:
        state.write_json(f"{paths.container_run(ID)}/state.json", {"boot_id": state.boot_id(), **state_file})


def test_no_files_is_created(paths: Paths) -> None:
    assert state.observe(paths, ID) == state.RunState("created")
    assert state.observe(paths, "1" * 64).status == "created"


def test_an_exit_is_told_as_it_was_recorded(paths: Paths) -> None:
    put(
        paths,
        exit_file={"status": "exited", "exit_code": 3, "finished_ns": 5, "oom_killed": True, "stopped_by_user": True},
    )
    now = state.observe(paths, ID)
    assert (now.status, now.exit_code, now.finished_ns, now.oom_killed, now.stopped_by_user) == (
        "exited",
        3,
        5,
        True,
        True,
    )


def test_a_damaged_exit_record_is_an_unknown_exit(paths: Paths) -> None:
    Path(f"{paths.container(ID)}/exit.json").write_bytes(b"")
    now = state.observe(paths, ID)
    assert (now.status, now.exit_code) == ("exited", 255) and "exit.json" in now.error
    with pytest.raises(Damaged):
        state.read_json(f"{paths.container(ID)}/exit.json")


def test_running_in_the_record_but_not_in_the_kernel_is_exited(paths: Paths) -> None:
    put(paths, exit_file={"status": "running", "boot_id": "another", "started_ns": 7})
    now = state.observe(paths, ID)
    assert (now.status, now.exit_code, now.started_ns) == ("exited", 255, 7) and "host went down" in now.error
    put(
        paths,
        exit_file={"status": "running", "boot_id": state.boot_id()},
        state_file={"pid": 2**22 + 1, "start_time": 1},
    )
    assert "monitor was killed" in state.observe(paths, ID).error


def test_a_pid_that_was_given_away_is_dead(paths: Paths) -> None:
    own = start_time(os.getpid())
    assert own is not None
    put(paths, exit_file={"status": "running"}, state_file={"pid": os.getpid(), "start_time": own + 1})
    assert state.observe(paths, ID).status == "exited"
    put(paths, state_file={"pid": os.getpid(), "start_time": own})
    now = state.observe(paths, ID)
    assert (now.status, now.pid, now.monitored) == ("running", os.getpid(), False)
    put(paths, state_file={"pid": os.getpid(), "start_time": own, "boot_id": "another"})
    assert state.observe(paths, ID).status == "exited"


def test_between_two_runs_it_is_restarting(paths: Paths) -> None:
    monitor = {"monitor_pid": os.getpid(), "monitor_start_time": start_time(os.getpid())}
    put(paths, state_file={"status": "restarting", "pid": 0, "exit_code": 4, "restart_count": 2, **monitor})
    now = state.observe(paths, ID)
    assert (now.status, now.exit_code, now.restart_count) == ("restarting", 4, 2)
