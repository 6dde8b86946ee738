# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile containers: what an image or root inside tries on the host, the engine's processes and other containers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._runtime import client
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import HealthPlan

from tests.support.box import Box, Result, open_box, read_all, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
MS = 1_000_000


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


def execute(box: Box, container_id: str, script: str, *, stdin: bool = False) -> Result:
    """Run a shell script in a running container, to its end."""
    process = replace(box.plan().process, args=("sh", "-c", script), open_stdin=stdin)
    with client.execute(box.paths, container_id, process) as session:
        return read_all(session)


def test_s16_a_masked_file_gives_no_hold_on_the_hosts_null_device(box: Box) -> None:
    before = os.stat("/dev/null")
    script = "chmod 666 $0; echo $?; touch -d @1 $0; echo $?; echo x >$0; cat $0; echo $?"
    result = box.run(box.plan("sh", "-c", script, "/proc/version", masked_paths=("/proc/version",)))
    assert result.text == "1\n1\n0\n"
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("fd", range(3, 16))
def test_s02_a_null_device_that_leads_to_descriptors_gives_none_of_them(box: Box, fd: int) -> None:
    health = HealthPlan(("sh", "-c", "echo FORGED >&0; echo looked"), 20 * MS, 5000 * MS, 0, 0, 3)
    script = f"rm /dev/null; ln -s /proc/self/fd/{fd} /dev/null; exec sleep 100"
    plan = box.plan("sh", "-c", script, health=health)
    box.start(plan)
    found = wait_for(lambda: (h := box.observe(plan).health) and len(h.log) > 1 and h, "two checks")
    assert "FORGED" not in box.log(plan)
    assert "looked" in found.log[-1]["Output"]
    stdin = execute(box, plan.container_id, "cat; readlink /proc/self/fd/0").text
    assert stdin.startswith("pipe:")
    client.stop(box.paths, plan.container_id, 9, 0)


def test_s42_what_a_health_check_leaves_running_does_not_hold_its_monitor(box: Box) -> None:
    health = HealthPlan(("sh", "-c", "yes & exit 0"), 20 * MS, 5000 * MS, 0, 0, 3)
    plan = box.plan("sleep", "100", health=health)
    box.start(plan)
    found = wait_for(lambda: (h := box.observe(plan).health) and h.log and h, "the first check")
    assert found.log[0]["ExitCode"] == 0  # not late
    client.stop(box.paths, plan.container_id, 9, 0)
    assert box.observe(plan).status == "exited"


def test_s42_what_an_exec_leaves_running_does_not_keep_its_session(box: Box) -> None:
    plan = box.plan("sleep", "100")
    box.start(plan)
    assert execute(box, plan.container_id, "yes & exit 3").code == 3
    client.stop(box.paths, plan.container_id, 9, 0)


def test_a_container_that_stops_its_health_checks_is_stopped_soon(box: Box) -> None:
    health = HealthPlan(("true",), 20 * MS, 5000 * MS, 0, 0, 3)
    script = "cd /proc; while :; do for p in [2-9]* 1?*; do kill -STOP $p; done 2>/dev/null; done"
    plan = box.plan("sh", "-c", script, health=health)
    box.start(plan)
    found = wait_for(lambda: (h := box.observe(plan).health) and h.log and h, "the first check", 20)
    started = time.monotonic()
    client.stop(box.paths, plan.container_id, 9, 0)
    assert time.monotonic() - started < 10
    assert box.observe(plan).status == "exited"
    assert found.log[0]["ExitCode"] != 0
