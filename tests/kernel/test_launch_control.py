# SPDX-License-Identifier: GPL-3.0-or-later
"""A launched container's life: attach, stop, restart policy, health, exec, and deaths of everything around it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, LaunchError
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, logs
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    HealthPlan,
    LaunchPlan,
    LogPlan,
    ProcessPlan,
    RestartPlan,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime.reconcile import reconcile

from tests.support.box import CAPABILITIES, Box, comm, open_box, read_all, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MS = 1_000_000


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


def sleeper(box: Box, **fields: object) -> LaunchPlan:
    plan = box.plan("sleep", "1000", **fields)  # type: ignore[arg-type]
    box.start(plan)
    return plan


def process(*args: str, **fields: object) -> ProcessPlan:
    return ProcessPlan(args=args, env=("PATH=/bin",), capabilities=CAPABILITIES, **fields)  # type: ignore[arg-type]


def execute(box: Box, plan: LaunchPlan, *args: str, stdin: bytes | None = None, **fields: object):  # type: ignore[no-untyped-def]
    with client.execute(box.paths, plan.container_id, process(*args, **fields)) as session:
        return read_all(session, stdin)


def stop(box: Box, plan: LaunchPlan, number: int = 9, timeout_s: float = 0) -> None:
    client.stop(box.paths, plan.container_id, number, timeout_s)


def gone(plan: LaunchPlan) -> bool:
    return not os.path.exists(plan.run_directory) and not Cgroup(detect(), plan.cgroup).exists()


# --- observation


def test_states_of_a_life(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    assert box.observe(plan).status == "created"
    started = box.start(plan)
    now = box.observe(plan)
    assert (now.status, now.pid, now.monitored) == ("running", started.pid, True)
    assert abs(now.started_ns - time.time_ns()) < 60 * 10**9
    stop(box, plan)
    now = box.observe(plan)
    assert (now.status, now.exit_code, now.pid, now.stopped_by_user) == ("exited", 137, 0, True)
    assert now.finished_ns >= now.started_ns
    assert gone(plan)


def test_a_state_from_before_a_reboot_says_exited(box: Box) -> None:
    plan = sleeper(box)
    record = box.state(plan)
    for pid in (box.spawner(), record["monitor_pid"]):
        os.kill(pid, signal.SIGKILL)
    Cgroup(detect(), plan.cgroup).kill()
    from ansible_collections.hull.engine.plugins.module_utils._runtime import state

    exit_file = f"{plan.root_directory}/exit.json"
    state.write_json(exit_file, {**(state.read_json(exit_file) or {}), "boot_id": "another"})
    now = box.observe(plan)
    assert (now.status, now.exit_code) == ("exited", 255)
    assert "host went down" in now.error
    assert reconcile(box.paths, plan)
    assert gone(plan) and not reconcile(box.paths, plan)


# --- stop and kill


def test_stop_sends_the_signal_first(box: Box) -> None:
    plan = box.plan("sh", "-c", "trap 'echo bye; exit 5' USR1; while :; do sleep 0.02; done")
    started = box.start(plan, attach=True)
    assert started.session is not None
    time.sleep(0.2)
    stop(box, plan, signal.SIGUSR1, 10)
    with started.session as session:
        result = read_all(session)
    assert (result.text, result.code) == ("bye\n", 5)


def test_stop_kills_what_ignores_the_signal_in_time(box: Box) -> None:
    plan = box.plan("sh", "-c", "trap '' TERM; while :; do sleep 0.02; done")
    box.start(plan)
    begin = time.monotonic()
    stop(box, plan, 15, 0.3)
    assert 0.25 < time.monotonic() - begin < 10
    assert box.observe(plan).exit_code == 137 and gone(plan)


def test_a_paused_container_can_be_stopped(box: Box) -> None:
    plan = sleeper(box)
    Cgroup(detect(), plan.cgroup).freeze()
    assert box.observe(plan).status == "paused"
    stop(box, plan, 15, 0.2)
    assert box.observe(plan).status == "exited" and gone(plan)


def test_a_monitor_that_is_told_to_end_as_the_host_goes_down_stops_its_container_first(box: Box) -> None:
    deaf = box.plan(
        "sh", "-c", "trap '' TERM; while :; do sleep 0.02; done", restart=RestartPlan("always"), stop_timeout_s=1
    )
    polite = box.plan("sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.02; done", stop_signal=signal.SIGUSR1)
    for plan, code in ((deaf, 137), (polite, 5)):
        pid = box.start(plan).pid
        wait_for(lambda pid=pid: any(_handles(pid, number) for number in (10, 15)), "the trap")  # type: ignore[misc]
        monitor = f"/proc/{box.state(plan)['monitor_pid']}"
        os.kill(int(monitor[6:]), signal.SIGTERM)
        wait_for(lambda path=monitor: not os.path.exists(path), "the monitor to end")  # type: ignore[misc]
        seen = box.observe(plan)
        assert (seen.status, seen.exit_code, seen.stopped_by_user) == ("exited", code, False)
        assert gone(plan)


def _handles(pid: int, number: int) -> bool:
    """Whether the process catches or ignores the signal."""
    with open(f"/proc/{pid}/status") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigCgt", "SigIgn"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_kill_sends_any_signal(box: Box) -> None:
    plan = box.plan("sh", "-c", "trap 'exit 9' HUP; while :; do sleep 0.02; done", init=True)
    box.start(plan)
    time.sleep(0.2)
    client.kill(box.paths, plan.container_id, signal.SIGHUP)
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 9
    with pytest.raises(Conflict):
        client.kill(box.paths, plan.container_id, 15)


def test_stopping_what_does_not_run_is_well(box: Box) -> None:
    stop(box, box.plan("true"))


# --- streams


def test_several_clients_see_the_output_and_detach(box: Box) -> None:
    plan = box.plan("cat", process={"open_stdin": True})
    started = box.start(plan, attach=True)
    first = started.session
    assert first is not None
    second = client.attach(box.paths, plan.container_id)
    first.write_stdin(b"one\n")
    for session in (first, second):
        frame = session.read(60)
        assert frame is not None and (frame.kind, frame.data) == ("stdout", b"one\n")
    first.detach()
    frame = first.read(60)
    assert frame is not None and frame.kind == "detached" and first.read(60) is None
    first.close()
    second.write_stdin(b"two\n")
    second.close_stdin()
    result = read_all(second)
    second.close()
    assert (result.text, result.code) == ("two\n", 0)


def test_the_end_of_a_clients_input_is_not_that_of_a_container_started_in_the_background(box: Box) -> None:
    plan = box.plan("cat", process={"open_stdin": True})
    box.start(plan)
    for text in (b"one\n", b"two\n"):
        with client.attach(box.paths, plan.container_id) as session:
            session.write_stdin(text)
            session.close_stdin()
            frame = session.read(60)
            assert frame is not None and frame.data == text
    client.stop(box.paths, plan.container_id, 9, 0)


def test_a_client_that_goes_leaves_the_container_alone(box: Box) -> None:
    plan = box.plan("cat", process={"open_stdin": True})
    started = box.start(plan, attach=True)
    assert started.session is not None
    started.session.close()
    with client.attach(box.paths, plan.container_id) as session:
        session.write_stdin(b"still here\n")
        frame = session.read(60)
        assert frame is not None and frame.data == b"still here\n"
    stop(box, plan)


def test_stdin_once_ends_with_its_client(box: Box) -> None:
    plan = box.plan("cat", process={"open_stdin": True, "stdin_once": True})
    started = box.start(plan, attach=True)
    assert started.session is not None
    started.session.close()
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 0


def test_a_reader_that_stops_does_not_stop_the_container(box: Box) -> None:
    plan = box.plan("sh", "-c", "head -c 8000000 /dev/zero; echo done >&2", log=None)
    started = box.start(plan, attach=True)
    assert started.session is not None
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 0
    with started.session as session:
        result = read_all(session)
    assert len(result.stdout) < 8_000_000


def test_a_slow_reader_that_reads_gets_everything(box: Box) -> None:
    plan = box.plan("head", "-c", "20000000", "/dev/zero")
    started = box.start(plan, attach=True)
    assert started.session is not None
    time.sleep(0.5)
    with started.session as session:
        result = read_all(session)
    assert (len(result.stdout), result.code) == (20_000_000, 0)


# --- log


def test_the_log_keeps_every_byte(box: Box) -> None:
    script = r"""printf 'a\nb\377\000c\n'; printf '\n{"stream":"stderr"}\n'; echo e >&2; printf unfinished"""
    plan = box.plan("sh", "-c", script)
    box.run(plan)
    lines = list(logs.read_log(plan.root_directory))
    stdout = b"".join(line.data for line in lines if line.stream == "stdout")
    assert stdout == b'a\nb\xff\x00c\n\n{"stream":"stderr"}\nunfinished'
    assert [line.data for line in lines if line.stream == "stderr"] == [b"e\n"]
    assert [line.data for line in logs.read_log(plan.root_directory, tail=1)][0] in (b"unfinished", b"e\n")


def test_a_flood_stays_within_the_logs_bounds(box: Box) -> None:
    plan = box.plan("sh", "-c", "yes | head -n 300000")
    plan = replace(plan, log=LogPlan(f"{plan.root_directory}/container.log", 500_000, 2))
    assert box.run(plan).code == 0
    sizes = [
        entry.stat().st_size for entry in os.scandir(plan.root_directory) if entry.name.startswith("container.log")
    ]
    assert len(sizes) == 2 and sum(sizes) <= 1_000_000


# --- restart policy


def test_on_failure_restarts_so_many_times(box: Box) -> None:
    plan = box.plan("sh", "-c", "echo run; exit 3", restart=RestartPlan("on-failure", 2))
    box.start(plan)
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 3
    now = box.observe(plan)
    assert (now.status, now.restart_count, now.exit_code) == ("exited", 2, 3)
    assert box.log(plan).count("run") == 3
    wait_for(lambda: gone(plan), "the clean-up")


def test_always_restarts_until_it_is_stopped(box: Box) -> None:
    plan = box.plan("sh", "-c", "echo run; exit 0", restart=RestartPlan("always"))
    box.start(plan)
    wait_for(lambda: box.log(plan).count("run") >= 3, "two restarts")
    stop(box, plan, 15, 2)
    assert box.observe(plan).status == "exited" and box.observe(plan).stopped_by_user
    assert gone(plan)


def test_kill_minus_9_restarts_no_container(box: Box) -> None:
    plan = sleeper(box, restart=RestartPlan("always"))
    client.kill(box.paths, plan.container_id, 9)
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 137


def test_a_restarted_container_is_a_new_one(box: Box) -> None:
    plan = box.plan("sleep", "1000", restart=RestartPlan("always"))
    first = box.start(plan).pid
    os.kill(first, signal.SIGKILL)
    now = wait_for(lambda: (now := box.observe(plan)).status == "running" and now.pid != first and now, "the restart")
    assert now.restart_count == 1
    with client.attach(box.paths, plan.container_id):
        pass
    stop(box, plan)


# --- limits


def test_out_of_memory_is_told(box: Box) -> None:
    plan = box.plan(
        "sh",
        "-c",
        "head -c 100000000 /dev/zero | tail",
        limits={"memory_bytes": 16 << 20, "memory_swap_bytes": 16 << 20},
    )
    box.run(plan)
    plan = box.plan("tail", "/dev/zero", limits={"memory_bytes": 16 << 20, "memory_swap_bytes": 16 << 20})
    result = box.run(plan)
    assert (result.code, result.oom_killed) == (137, True)
    assert box.observe(plan).oom_killed


def test_limits_and_policy_change_live(box: Box) -> None:
    plan = sleeper(box, limits={"memory_bytes": 32 << 20})
    changed = replace(plan, limits={"memory_bytes": 64 << 20, "pids": 77}, restart=RestartPlan("on-failure", 1))
    client.update(box.paths, changed)
    old, new = "pids/pids.max memory/memory.limit_in_bytes", "pids.max memory.max"
    script = f"cd /sys/fs/cgroup; cat {old} 2>/dev/null || cat {new}"
    assert execute(box, plan, "sh", "-c", script).text.split() == ["77", str(64 << 20)]
    stop(box, plan)


# --- health


def test_health_goes_from_starting_to_healthy_to_unhealthy(box: Box) -> None:
    plan = box.plan("sh", "-c", "touch /up; exec sleep 1000")
    health = HealthPlan(("sh", "-c", "echo looked; test -e /up"), 30 * MS, 5000 * MS, 0, 0, 2)
    plan = replace(plan, health=health)
    box.start(plan)
    found = box.observe(plan).health
    assert found is not None and found.status in ("starting", "healthy")
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "healthy" and h, "healthy")
    assert now.log[-1]["Output"] == "looked\n" and now.log[-1]["ExitCode"] == 0
    execute(box, plan, "rm", "/up")
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "unhealthy" and h, "unhealthy")
    assert now.failing_streak >= 2 and len(now.log) <= 5
    stop(box, plan)
    assert gone(plan)


def test_a_health_check_that_hangs_is_killed(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    plan = replace(plan, health=HealthPlan(("sh", "-c", "sleep 777 & sleep 778"), 20 * MS, 100 * MS, 0, 0, 1))
    box.start(plan)
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "unhealthy" and h, "unhealthy")
    assert now.log[-1]["ExitCode"] == -1 and "timeout" in now.log[-1]["Output"]
    stop(box, plan)


# --- exec


def test_exec_runs_in_the_container(box: Box) -> None:
    plan = sleeper(box)
    result = execute(box, plan, "sh", "-c", "hostname; cat /proc/1/cmdline | head -c 5; id -u; exit 4", user="alice")
    assert (result.text, result.code) == ("box\nsleep1000\n", 4)
    stop(box, plan)


def test_exec_in_a_container_whose_init_manages_cgroups(box: Box) -> None:
    if detect().version != "2":
        pytest.skip("only version 2 has cgroups that take no process")
    manage = (
        "cd /sys/fs/cgroup && mkdir init.scope && echo 1 > init.scope/cgroup.procs"
        " && echo +pids +memory > cgroup.subtree_control && touch /managed; exec sleep 1000"
    )
    plan = box.plan("sh", "-c", manage, privileged=True)
    box.start(plan)
    wait_for(lambda: os.path.exists(f"{plan.root_directory}/upper/managed"), "controllers to be passed on")
    result = execute(box, plan, "sh", "-c", "cat /proc/1/cgroup /proc/self/cgroup")
    init_cgroup, own = result.text.splitlines()
    assert init_cgroup == "0::/init.scope" and own.startswith("0::/exec-")
    stop(box, plan)


def test_exec_feeds_standard_input(box: Box) -> None:
    plan = sleeper(box)
    data = os.urandom(500_000)
    assert execute(box, plan, "cat", stdin=data, open_stdin=True).stdout == data
    stop(box, plan)


def test_exec_with_a_terminal(box: Box) -> None:
    plan = sleeper(box)
    result = execute(box, plan, "sh", "-c", "tty; stty size", tty=True, rows=20, columns=70)
    assert result.text == "/dev/pts/0\r\n20 70\r\n"
    stop(box, plan)


def test_exec_errors(box: Box) -> None:
    plan = sleeper(box)
    with pytest.raises(LaunchError, match="no such file in the image's PATH") as caught:
        execute(box, plan, "nothing")
    assert caught.value.exit_code == 127
    with pytest.raises(LaunchError, match="user"):
        execute(box, plan, "true", user="nobody-here")
    Cgroup(detect(), plan.cgroup).freeze()
    with pytest.raises(Conflict, match="paused"):
        execute(box, plan, "true")
    stop(box, plan)
    with pytest.raises(Conflict, match="not running"):
        execute(box, plan, "true")


def test_exec_has_the_strictness_of_the_container(box: Box) -> None:
    plan = sleeper(box)
    text = execute(box, plan, "grep", "-E", "^(Cap|NoNew)", "/proc/self/status").text
    values = dict(line.split(":\t") for line in text.strip().split("\n"))
    assert values["NoNewPrivs"] == "1" and values["CapInh"] == values["CapAmb"] == "0" * 16
    assert values["CapBnd"] == values["CapEff"] == "00000000800405fb"
    assert "exec-" not in execute(box, plan, "ls", "/proc/self/fd").text
    stop(box, plan)


def test_a_client_that_goes_ends_its_exec_with_all_children(box: Box) -> None:
    plan = sleeper(box)
    session = client.execute(
        box.paths, plan.container_id, process("sh", "-c", "(setsid sleep 5151 &) ; echo go; sleep 5152")
    )
    frame = session.read(60)
    assert frame is not None and frame.data == b"go\n"
    cgroup = Cgroup(detect(), plan.cgroup)
    assert len(cgroup.pids()) >= 3
    session.close()
    wait_for(lambda: len(cgroup.pids()) == 1, "the exec's processes to end")
    stop(box, plan)
    assert gone(plan)


def test_an_exec_ends_with_its_container(box: Box) -> None:
    plan = sleeper(box)
    session = client.execute(box.paths, plan.container_id, process("sleep", "1000"))
    stop(box, plan)
    assert read_all(session).code == 137
    session.close()
    wait_for(lambda: gone(plan), "the clean-up")
    wait_for(lambda: "hull-exec" not in [comm(pid) for pid in box.processes()], "the helper to end")


def test_the_container_can_not_look_into_an_exec_on_its_way(box: Box) -> None:
    script = """
    while :; do for p in /proc/[0-9]*; do
        if [ ${p#/proc/} != $$ ]; then ls -l $p/exe $p/fd 2>/dev/null | grep -E 'python|hull' && echo LEAK; fi
        tr '\\0' '\\n' < $p/environ 2>/dev/null | grep CANARY && echo LEAK
    done; done"""
    plan = box.plan("sh", "-c", script)
    box.start(plan)
    for _ in range(10):
        execute(box, plan, "true")
    stop(box, plan)
    assert "LEAK" not in box.log(plan)


# --- deaths


def test_a_killed_spawner_is_replaced_and_its_containers_live(box: Box) -> None:
    plan = sleeper(box)
    old = box.spawner()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: comm(old) != "hull-spawner", "the spawner to die")
    assert box.observe(plan).status == "running"
    assert execute(box, plan, "echo", "hi").text == "hi\n"
    assert box.spawner() != old
    stop(box, plan)
    assert gone(plan)


def test_a_client_killed_during_the_launch_leaves_a_whole_container_or_none(box: Box) -> None:
    for delay_ms in (0, 1, 2, 4, 8, 16):
        plan = box.plan("sleep", "1000")
        pid = os.fork()
        if pid == 0:
            try:
                box.start(plan)
            finally:
                os._exit(0)
        time.sleep(delay_ms / 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        time.sleep(0.1)
        wait_for(lambda plan=plan: box.observe(plan).status in ("running", "created"), "a settled state")
        if box.observe(plan).status == "created":
            box.start(plan)
        assert box.observe(plan).status == "running"
        stop(box, plan)
        assert gone(plan)


def test_a_monitor_killed_during_the_launch_leaves_nothing_after_reconcile(box: Box) -> None:
    box.run(box.plan("true"))
    spawner = box.spawner()
    for delay_ms in (0, 1, 2, 3, 4, 6, 8, 10, 12):
        plan = box.plan("sleep", "1000")
        pid = os.fork()
        if pid == 0:
            try:
                box.start(plan)
            finally:
                os._exit(0)
        time.sleep(delay_ms / 1000)
        for process_id in box.processes():
            if process_id != spawner and process_id != pid and comm(process_id).startswith("hull"):
                try:
                    os.kill(process_id, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        time.sleep(0.05)
        stop(box, plan)
        reconcile(box.paths, plan)
        assert gone(plan)


def test_a_spawner_without_its_launch_code_goes_and_takes_its_cgroup_along(box: Box) -> None:
    with open_box() as other:
        other.run(other.plan("true"))
        pid = other.spawner()
        os.rename(other.paths.launch, other.paths.launch + ".gone")
        wait_for(lambda: comm(pid) != "hull-spawner", "the spawner to end", 20)
        assert other.leftovers() == []


def test_two_starts_at_once_give_one_container(box: Box) -> None:
    plan = box.plan("sleep", "1000")
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                box.start(plan)
                code = 0
            except Conflict:
                code = 3
            finally:
                os._exit(code)
        children.append(pid)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
    assert codes == [0, 3, 3, 3]
    stop(box, plan)


def test_the_finisher_runs_after_the_final_exit(box: Box) -> None:
    marker = f"{box.top}/finished"
    plan = box.plan("true", auto_remove=True, finisher=("/bin/touch", marker))
    box.start(plan)
    wait_for(lambda: os.path.exists(marker), "the finisher")
