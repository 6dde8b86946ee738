# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers whose monitor is killed or stopped, and what every process of theirs leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._kernel.processes import (
    children,
    is_alive,
    is_stopped,
    start_time,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, logs, state
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    HealthPlan,
    LaunchPlan,
    RestartPlan,
)

from tests.support.box import Box, comm, open_box, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MS = 1_000_000
TALKER = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"


@pytest.fixture
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


def start(box: Box, *args: str, **fields: object) -> LaunchPlan:
    plan = box.plan(*args, **fields)  # type: ignore[arg-type]
    box.start(plan)
    return plan


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone or a zombie."""
    started = start_time(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid, started), "the process to die")


def kill_monitor(box: Box, plan: LaunchPlan, *, spawner_too: bool = False) -> int:
    monitor = int(box.state(plan)["monitor_pid"])
    if spawner_too:
        kill(box.spawner())
    kill(monitor)
    return monitor


def adopted(box: Box, plan: LaunchPlan, before: int) -> int:
    """Wait for another monitor; its pid."""

    def other() -> int:
        record = state.read_state(plan.run_directory)
        alive = record is not None and state.monitor_alive(record) and record["monitor_pid"] != before
        return int(record["monitor_pid"]) if record is not None and alive else 0

    return int(wait_for(other, "another monitor"))


def gone(plan: LaunchPlan) -> bool:
    return not os.path.exists(plan.run_directory) and not Cgroup(detect(), plan.cgroup).exists()


def last_line(plan: LaunchPlan) -> bytes:
    lines = list(logs.read_log(plan.root_directory, tail=1))
    return lines[0].data if lines else b""


def test_r02_a_killed_monitor_is_replaced_at_once_and_the_log_goes_on(box: Box) -> None:
    plan = start(box, "sh", "-c", TALKER)
    wait_for(lambda: last_line(plan), "output")
    pid = box.observe(plan).pid
    adopted(box, plan, kill_monitor(box, plan))
    seen = last_line(plan)
    wait_for(lambda: last_line(plan) != seen, "the log to go on")
    now = box.observe(plan)
    assert (now.status, now.pid, now.monitored, now.abandoned) == ("running", pid, True, False)
    numbers = [int(line.data.split()[1]) for line in logs.read_log(plan.root_directory)]
    assert numbers == list(range(1, len(numbers) + 1))
    client.stop(box.paths, plan.container_id, 9, 0)
    assert gone(plan)


def test_r02_the_exit_status_is_recorded_by_the_monitor_that_adopted(box: Box) -> None:
    plan = start(box, "sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.02; done; exit 7")
    adopted(box, plan, kill_monitor(box, plan))
    with open(f"/proc/{box.observe(plan).pid}/root/tmp/end", "w"):
        pass
    assert client.wait(box.paths, plan.container_id, timeout_s=60) in ((7,) if exit_is_told() else (7, 255))
    wait_for(lambda: gone(plan), "the clean-up")


def exit_is_told() -> bool:
    """Whether the kernel tells how another's child ended (PIDFD_INFO_EXIT)."""
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)


def test_r02_without_a_spawner_the_container_runs_on_until_somebody_looks(box: Box) -> None:
    plan = start(box, "sh", "-c", TALKER)
    before = kill_monitor(box, plan, spawner_too=True)
    now = box.observe(plan)
    assert (now.status, now.monitored, now.abandoned) == ("running", False, True)
    assert client.adopt(box.paths, plan.container_id)
    adopted(box, plan, before)
    seen = last_line(plan)
    wait_for(lambda: last_line(plan) != seen, "the log to go on")
    client.stop(box.paths, plan.container_id, 15, 0.2)
    assert box.observe(plan).stopped_by_user and gone(plan)


def test_r02_wait_returns_and_ps_never_says_up_for_a_dead_container(box: Box) -> None:
    plan = start(box, "sleep", "1000")
    pid = box.observe(plan).pid
    kill_monitor(box, plan, spawner_too=True)
    kill(pid)
    now = box.observe(plan)
    assert (now.status, now.exit_code, now.abandoned) == ("exited", 255, True) and "monitor was killed" in now.error
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 255
    wait_for(lambda: gone(plan), "the clean-up")
    assert not box.observe(plan).abandoned and "monitor was killed" in box.observe(plan).error


def test_r03_the_restart_policy_acts_after_everything_was_killed(box: Box) -> None:
    plan = start(box, "sh", "-c", "echo run; exec sleep 1000", restart=RestartPlan("always"))
    pid = box.observe(plan).pid
    kill_monitor(box, plan, spawner_too=True)
    kill(pid)
    assert client.adopt(box.paths, plan.container_id)
    now = wait_for(lambda: (n := box.observe(plan)).status == "running" and n, "the restart")
    assert now.pid != pid and now.restart_count == 1
    client.stop(box.paths, plan.container_id, 9, 0)
    assert box.observe(plan).status == "exited"
    assert not client.adopt(box.paths, plan.container_id) or box.observe(plan).status == "exited"


def test_r03_a_monitor_killed_between_two_runs_goes_on_with_the_restarts(box: Box) -> None:
    plan = start(box, "false", restart=RestartPlan("on-failure", 4))
    wait_for(lambda: box.observe(plan).restart_count >= 2, "restarts")
    wait_for(lambda: box.observe(plan).status == "restarting", "a pause")
    kill_monitor(box, plan)
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 1
    assert box.observe(plan).restart_count == 4


def test_r04_control_works_right_after_the_kill(box: Box) -> None:
    """Nothing waits for who has gone: it takes as long as with a monitor, and a new spawner's start."""
    plan = start(box, "sleep", "1000")

    def control() -> float:
        begin = time.monotonic()
        client.stop(box.paths, plan.container_id, 9, 0)
        box.start(plan)
        return time.monotonic() - begin

    undisturbed = control()
    kill_monitor(box, plan, spawner_too=True)
    assert control() < 3 + 10 * undisturbed
    assert box.observe(plan).status == "running"


def test_r05_a_foreign_pid_in_the_state_file_is_never_signalled(box: Box) -> None:
    plan = start(box, "sleep", "1000")
    other = os.fork()
    if other == 0:
        signal.pause()
        os._exit(0)
    try:
        record = box.state(plan)
        kill_monitor(box, plan, spawner_too=True)
        state.write_json(f"{plan.run_directory}/state.json", {**record, "pid": other})
        assert box.observe(plan).status == "exited"
        client.stop(box.paths, plan.container_id, 9, 0)
        assert os.waitpid(other, os.WNOHANG) == (0, 0)
        with pytest.raises(Conflict):
            client.kill(box.paths, plan.container_id, 15)
        wait_for(lambda: gone(plan), "the clean-up")
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_r05_a_zombie_is_not_alive(box: Box) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    started = start_time(pid) or 0
    wait_for(lambda: not is_alive(pid, started), "the zombie to count as dead")
    assert start_time(pid) == started
    os.waitpid(pid, 0)


def test_r06_a_stopped_monitor_does_not_hold_the_container_up(box: Box) -> None:
    """While nobody reads, a megabyte of output waits in the pipe."""
    plan = start(box, "sh", "-c", "head -c 900000 /dev/zero | tr '\\0' 'x'; echo; touch /tmp/done; exec sleep 1000")
    monitor = int(box.state(plan)["monitor_pid"])
    os.kill(monitor, signal.SIGSTOP)
    wait_for(lambda: os.path.exists(f"/proc/{box.observe(plan).pid}/root/tmp/done"), "the container to go on")
    os.kill(monitor, signal.SIGCONT)
    wait_for(lambda: sum(len(line.data) for line in logs.read_log(plan.root_directory)) == 900001, "the whole output")


def test_a_stopped_monitor_is_let_go_on_by_who_wants_something_of_it(box: Box) -> None:
    plan = start(box, "sleep", "1000")
    monitor = int(box.state(plan)["monitor_pid"])
    os.kill(monitor, signal.SIGSTOP)
    wait_for(lambda: is_stopped(monitor, start_time(monitor) or 0), "the monitor to stop")
    begin = time.monotonic()
    client.stop(box.paths, plan.container_id, 9, 0)
    assert time.monotonic() - begin < 5 and gone(plan)


def test_r18_an_init_reaps_what_its_command_leaves(box: Box) -> None:
    script = "i=0; while [ $i -lt 200 ]; do (sleep 0.01 &) ; i=$((i+1)); done; touch /tmp/done; exec sleep 1000"
    plan = start(box, "sh", "-c", script, init=True)
    wait_for(lambda: os.path.exists(f"/proc/{box.observe(plan).pid}/root/tmp/done"), "the orphans", 30)
    wait_for(lambda: len(Cgroup(detect(), plan.cgroup).pids()) == 2, "the orphans to be reaped")


def test_s42_who_else_has_the_end_of_a_containers_output_does_not_keep_it_from_ending(box: Box) -> None:
    """A descriptor can be handed on, to a process of another container for instance, which writes for ever."""
    plan = start(box, "sleep", "1000")
    pid = box.observe(plan).pid
    with open(f"/proc/{pid}/fd/1", "wb") as output:
        writers = [subprocess.Popen(["yes"], stdout=output) for _ in range(4)]
    try:
        wait_for(lambda: last_line(plan) == b"y\n", "the flood")
        begin = time.monotonic()
        client.stop(box.paths, plan.container_id, 9, 0)
        assert time.monotonic() - begin < 15 and gone(plan)
        assert all(writer.poll() in (None, -signal.SIGPIPE) for writer in writers)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_s42_what_a_container_leaves_to_the_spawner_makes_it_fork_nobody(box: Box) -> None:
    """In the host's pid namespace orphans become the spawner's children, and may be killed as monitors are."""
    script = "i=0; while [ $i -lt 100 ]; do (sh -c 'kill -9 $$' &) ; i=$((i+1)); done; touch /tmp/done; sleep 1000"
    plan = box.plan("sh", "-c", script)
    plan = replace(plan, namespaces=tuple(name for name in plan.namespaces if name != "pid"))
    box.start(plan)
    spawner, monitor = box.spawner(), int(box.state(plan)["monitor_pid"])
    seen: set[int] = set()

    def ended() -> bool:
        found = [pid for pid in children(spawner) if pid != monitor]
        seen.update(pid for pid in found if comm(pid).startswith("hull-"))
        return not found and os.path.exists(f"/proc/{box.observe(plan).pid}/root/tmp/done")

    wait_for(ended, "the orphans to be reaped", 30)
    assert not seen and comm(monitor) == "hull-monitor"


def test_r21_a_socket_and_a_fifo_that_a_crash_left_are_replaced(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    os.makedirs(plan.run_directory)
    os.mkfifo(f"{plan.run_directory}/monitor.sock")
    for name in ("state.json", "state.json.new", "plan.json.new"):
        os.mkfifo(f"{plan.run_directory}/{name}")
    box.start(plan)
    assert box.observe(plan).status == "running"


def test_r31_state_and_plan_of_another_version_are_understood(box: Box) -> None:
    plan = start(box, "sleep", "1000")
    for name, changes in (("plan.json", {"new": {"a": 1}, "userns_new": None}), ("state.json", {"new": [1, 2]})):
        path = f"{plan.run_directory}/{name}"
        state.write_json(path, {**(state.read_json(path) or {}), **changes})
    old = state.read_json(f"{plan.run_directory}/plan.json") or {}
    old.pop("device_rules", None)
    state.write_json(f"{plan.run_directory}/plan.json", old)
    adopted(box, plan, kill_monitor(box, plan))
    client.update(box.paths, replace(plan, limits={"pids": 50}))
    client.stop(box.paths, plan.container_id, 9, 0)
    assert gone(plan)


def test_r32_a_restart_loop_is_bounded_and_leaves_one_record(box: Box) -> None:
    plan = start(box, "sh", "-c", "exit 3", restart=RestartPlan("on-failure", 3))
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 3
    now = box.observe(plan)
    took_ns = now.finished_ns - now.started_ns
    assert now.restart_count == 3 and took_ns < 60 * 10**9
    wait_for(lambda: gone(plan), "the clean-up")


def test_a_health_check_goes_on_after_an_adoption(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    plan = replace(plan, health=HealthPlan(("true",), 20 * MS, 5000 * MS, 0, 0, 2))
    box.start(plan)
    wait_for(lambda: (h := box.observe(plan).health) and h.status == "healthy", "healthy")
    adopted(box, plan, kill_monitor(box, plan))
    seen = (box.observe(plan).health or state.HealthState("")).log[-1]
    wait_for(lambda: (h := box.observe(plan).health) and h.log and h.log[-1] != seen, "another check")


def test_a_monitor_that_waits_is_small_and_has_few_descriptors(box: Box) -> None:
    for _ in range(10):
        plan = start(box, "sleep", "1000")
    monitor = int(box.state(plan)["monitor_pid"])
    with open(f"/proc/{monitor}/smaps_rollup") as file:
        private = next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:"))
    assert private < 800 and len(os.listdir(f"/proc/{monitor}/fd")) <= 14
    assert comm(monitor) == "hull-monitor"


def test_a_monitor_shows_whose_it_is(box: Box) -> None:
    plan = start(box, "sleep", "1000")
    monitor = int(box.state(plan)["monitor_pid"])

    def title() -> str:
        with open(f"/proc/{monitor}/cmdline") as file:
            return file.read()

    wait_for(lambda: plan.name in title(), "the title")
