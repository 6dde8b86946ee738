# SPDX-License-Identifier: GPL-3.0-or-later
"""A running container changes without a restart, as the kernel tells; what can't be done changes nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, live_update, logs
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    HealthPlan,
    LaunchPlan,
    LogPlan,
    RestartPlan,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime.plan_file import read_plan

from tests.support.box import CAPABILITIES, Box, comm, open_box, read_all, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MS = 1_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


def start(box: Box, *args: str, **fields: Any) -> tuple[LaunchPlan, int]:
    plan = box.plan(*(args or ("sleep", "1000")), **fields)
    return plan, box.start(plan).pid


def update(box: Box, plan: LaunchPlan, **changes: Any) -> tuple[LaunchPlan, tuple[str, ...]]:
    plan = replace(plan, **changes)
    return plan, client.update(box.paths, plan)


def stop(box: Box, plan: LaunchPlan) -> None:
    client.stop(box.paths, plan.container_id, 9, 0)


def cgroup_file(plan: LaunchPlan, controller: str, old: str, new: str) -> str:
    cgroup = Cgroup(detect(), plan.cgroup)
    directory = cgroup.directory(controller)
    with open(f"{directory}/{old if os.path.exists(f'{directory}/{old}') else new}") as file:
        return file.read().strip()


def limits_of(pid: int) -> dict[str, tuple[str, str]]:
    """Of /proc/PID/limits: (soft, hard) by the kernel's words."""
    with open(f"/proc/{pid}/limits") as file:
        lines = file.read().splitlines()[1:]
    return {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in lines}


def test_limits_of_the_cgroup(box: Box) -> None:
    plan, pid = start(box, limits={"memory_bytes": 32 * MIB, "pids": 50})
    plan, warnings = update(
        box,
        plan,
        limits={"memory_bytes": 64 * MIB, "pids": 77, "cpu_quota_us": 50_000, "cpu_shares": 512, "cpuset_cpus": "0"},
    )
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "77"
    assert cgroup_file(plan, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert cgroup_file(plan, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert cgroup_file(plan, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    plan, _ = update(box, plan, limits={"pids": 77})
    assert cgroup_file(plan, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "77"
    assert int(cgroup_file(plan, "memory", "memory.limit_in_bytes", "memory.max").replace("max", str(1 << 62))) >> 50
    assert box.observe(plan).pid == pid
    stop(box, plan)


def test_a_limit_that_has_gone_and_a_rate_that_has_gone_get_the_default_back() -> None:
    changed = live_update.changed_limits(
        {"pids": 5, "read_bps": {"/dev/sda": 1, "/dev/sdb": 2}, "memory_bytes": 1, "memory_swap_bytes": 3},
        {"pids": 2048, "read_bps": {"/dev/sdb": 2, "/dev/sdc": 4}, "memory_bytes": 2, "memory_swap_bytes": 3},
    )
    assert changed == {
        "pids": 2048,
        "read_bps": {"/dev/sda": 0, "/dev/sdb": 2, "/dev/sdc": 4},
        "memory_bytes": 2,
        "memory_swap_bytes": 3,  # its file depends on the memory's
    }
    assert live_update.changed_limits({"cpu_shares": 3}, {"cpu_shares": 3}) == {}


def test_devices(box: Box) -> None:
    attempt = "rm -f /dev/log; mknod /dev/log c 1 11 && true > /dev/log && echo opened || echo refused"
    script = f"while read _; do ({attempt}) 2> /dev/null; done"
    plan = box.plan("sh", "-c", script, process={"open_stdin": True, "capabilities": (*CAPABILITIES, "CAP_MKNOD")})
    started = box.start(plan, attach=True)
    assert started.session is not None
    with started.session as session:
        for access, expected in (
            ("", "refused"),
            ("wm", "opened"),
            ("rm", "refused"),
            ("rwm", "opened"),
            ("", "refused"),
        ):
            plan, _ = update(box, plan, device_rules=(("c", 1, 11, access),) if access else ())
            if "devices" in detect().mounts:  # version 2 has no list to look at
                listed = cgroup_file(plan, "devices", "devices.list", "").split("\n")
                assert [line for line in listed if " 1:11 " in line] == ([f"c 1:11 {access}"] if access else [])
            session.write_stdin(b"\n")
            frame = session.read(timeout_s=30)
            assert frame is not None and frame.data.decode() == f"{expected}\n"
    assert box.observe(plan).pid == started.pid
    stop(box, plan)


@pytest.mark.parametrize("init", [False, True])
def test_ulimits_and_oom_score_of_the_running_command(box: Box, init: bool) -> None:
    plan, pid = start(box, init=init, process={"rlimits": (("nofile", 1024, 4096), ("core", 0, 0))})
    process = replace(plan.process, rlimits=(("nofile", 200, 300), ("core", 0, 0)), oom_score_adj=500)
    plan, warnings = update(box, plan, process=process)
    assert warnings == ()
    pids = Cgroup(detect(), plan.cgroup).pids()
    assert len(pids) == (2 if init else 1) and pid in pids
    for number in pids:
        assert limits_of(number)["Max open files"] == ("200", "300")
        with open(f"/proc/{number}/oom_score_adj") as file:
            assert file.read().strip() == "500"
    with client.execute(box.paths, plan.container_id, process) as session:  # later processes of the plan: a check, say
        session.close()
    stop(box, plan)


def test_an_ulimit_that_the_host_does_not_let_raise_is_a_warning_and_the_rest_is_done(box: Box) -> None:
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))
    if effective >> 24 & 1:
        pytest.skip("this process may raise limits: CAP_SYS_RESOURCE")
    plan, pid = start(box, process={"rlimits": (("nofile", 100, 200),)})
    process = replace(plan.process, rlimits=(("nofile", 50_000, 100_000),))
    plan, (warning,) = update(box, plan, process=process, limits={"pids": 33})
    assert "ulimits: nofile" in warning and "more than this host allows" in warning
    assert limits_of(pid)["Max open files"] == ("200", "200")
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "33"
    stop(box, plan)


def test_what_the_kernel_refuses_changes_nothing(box: Box) -> None:
    plan, pid = start(
        box,
        "sh",
        "-c",
        "head -c 30000000 /dev/zero > /dev/shm/full; echo; exec sleep 1000",
        limits={"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB, "pids": 50},
        process={"rlimits": (("nofile", 100, 200),)},
    )
    wait_for(lambda: box.log(plan), "the memory to be used")
    before = read_plan(plan.run_directory)
    process = replace(plan.process, rlimits=(("nofile", 50, 60),))
    refused = replace(
        plan,
        limits={"memory_bytes": 8 * MIB, "memory_swap_bytes": 8 * MIB, "pids": 77},
        process=process,
        restart=RestartPlan("always"),
    )
    with pytest.raises(Conflict, match="memory"):
        client.update(box.paths, refused)
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "50"
    assert cgroup_file(plan, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert limits_of(pid)["Max open files"] == ("100", "200")
    assert read_plan(plan.run_directory) == before
    stop(box, plan)


def test_an_error_after_the_first_change_changes_that_back(box: Box) -> None:
    plan, pid = start(box, limits={"pids": 50})
    process = replace(plan.process, rlimits=(("nothing", 1, 1),))
    with pytest.raises(HullError, match="nothing"):
        client.update(box.paths, replace(plan, limits={"pids": 60}, process=process))
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "50"
    with pytest.raises(Invalid):
        client.update(box.paths, replace(plan, limits={"cpuset_cpus": "4000"}))
    stop(box, plan)


def test_a_container_without_monitor_changes_too(box: Box) -> None:
    plan, pid = start(box, limits={"pids": 50})
    monitor = box.state(plan)["monitor_pid"]
    os.kill(box.spawner(), signal.SIGKILL)  # it would have the container adopted
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: comm(monitor) != "hull-monitor", "the monitor to die")
    plan, _ = update(box, plan, limits={"pids": 60}, restart=RestartPlan("on-failure", 2))
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "60"
    assert read_plan(plan.run_directory).restart == RestartPlan("on-failure", 2)
    assert box.observe(plan).pid == pid
    stop(box, plan)


def test_a_container_that_does_not_run_is_a_conflict(box: Box) -> None:
    with pytest.raises(Conflict, match="not running"):
        client.update(box.paths, box.plan("true"))


def test_stop_settings_and_name(box: Box) -> None:
    plan, _ = start(box, "sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.02; done")
    monitor = box.state(plan)["monitor_pid"]
    plan, _ = update(box, plan, stop_signal=signal.SIGUSR1, stop_timeout_s=20, name="renamed")
    with open(f"/proc/{monitor}/cmdline") as file:
        assert "hull-monitor renamed" in file.read()
    os.kill(monitor, signal.SIGTERM)  # as when the host goes down: by the plan's stop signal
    wait_for(lambda: not os.path.exists(f"/proc/{monitor}"), "the monitor to end")
    assert box.observe(plan).exit_code in (7, 137)
    assert box.observe(plan).exit_code == 7


def test_restart_policy(box: Box) -> None:
    plan, pid = start(box)
    plan, _ = update(box, plan, restart=RestartPlan("always"))
    os.kill(pid, signal.SIGKILL)
    now = wait_for(lambda: (now := box.observe(plan)).status == "running" and now.pid != pid and now, "the restart")
    plan, _ = update(box, plan, restart=RestartPlan("no"))
    os.kill(now.pid, signal.SIGKILL)
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 137


def test_a_policy_that_wants_no_restart_ends_the_waiting_for_one(box: Box) -> None:
    plan, _ = start(box, "sh", "-c", "exit 3", restart=RestartPlan("always"))
    wait_for(lambda: box.observe(plan).restart_count >= 4, "a delay of more than a second")
    wait_for(lambda: box.observe(plan).status == "restarting", "the delay")
    plan, _ = update(box, plan, restart=RestartPlan("on-failure", 2))
    assert client.wait(box.paths, plan.container_id, timeout_s=60) == 3
    assert box.observe(plan).status == "exited"


def test_a_restarted_container_has_the_changed_limits(box: Box) -> None:
    plan, pid = start(box, restart=RestartPlan("always"), limits={"pids": 50})
    plan, _ = update(box, plan, limits={"pids": 60}, process=replace(plan.process, rlimits=(("nofile", 90, 90),)))
    os.kill(pid, signal.SIGKILL)
    now = wait_for(lambda: (now := box.observe(plan)).status == "running" and now.pid != pid and now, "the restart")
    assert cgroup_file(plan, "pids", "pids.max", "pids.max") == "60"
    assert limits_of(now.pid)["Max open files"] == ("90", "90")
    stop(box, plan)


def test_a_health_check_is_added_changed_and_removed(box: Box) -> None:
    plan, pid = start(box)
    assert box.observe(plan).health is None
    plan, _ = update(box, plan, health=HealthPlan(("sh", "-c", "echo first"), 20 * MS, 5000 * MS, 0, 0, 2))
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "healthy" and h, "healthy")
    assert now.log[-1]["Output"] == "first\n"
    plan, _ = update(box, plan, health=HealthPlan(("sh", "-c", "echo second; exit 1"), 20 * MS, 5000 * MS, 0, 0, 2))
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "unhealthy" and h, "unhealthy")
    assert {entry["Output"] for entry in now.log} == {"second\n"}
    plan, _ = update(box, plan, health=None)
    assert box.observe(plan).health is None
    assert box.observe(plan).pid == pid
    stop(box, plan)


def test_a_check_that_hangs_while_it_is_removed_ends_and_is_no_result(box: Box) -> None:
    plan, pid = start(box, health=HealthPlan(("sleep", "1000"), 10 * MS, 60_000 * MS, 0, 0, 1))
    cgroup = Cgroup(detect(), plan.cgroup)
    wait_for(lambda: len(cgroup.pids()) == 2, "the check to run")
    plan, _ = update(box, plan, health=HealthPlan(("true",), 10 * MS, 5000 * MS, 0, 0, 1))
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "healthy" and h, "the new check")
    assert all(entry["ExitCode"] == 0 for entry in now.log)
    plan, _ = update(box, plan, health=None)
    wait_for(lambda: cgroup.pids() == [pid], "no check to run")
    stop(box, plan)


def test_log_options(box: Box, tmp_path: Any) -> None:
    place = f"{tmp_path}/receiver"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(place)
        receiver.settimeout(60)
        plan = box.plan("cat", process={"open_stdin": True})
        log = LogPlan(f"{plan.root_directory}/container.log", 3000, 3, driver="syslog", tag="one")
        plan = replace(plan, log=replace(log, address=f"unixgram://{place}"))
        started = box.start(plan, attach=True)
        assert started.session is not None and started.warnings == ()
        with started.session as session:
            session.write_stdin(b"a\n")
            assert b" one[" in receiver.recv(65536)
            plan, warnings = update(box, plan, log=replace(plan.log, tag="two", max_size_bytes=500, max_files=2))
            assert warnings == ()
            session.write_stdin(b"b\n" * 20)
            assert b" two[" in receiver.recv(65536)
            session.close_stdin()
            assert read_all(session).code == 0
    names = sorted(name for name in os.listdir(plan.root_directory) if name.startswith("container.log"))
    assert names == ["container.log", "container.log.1"]
    assert all(os.path.getsize(f"{plan.root_directory}/{name}") <= 500 for name in names)
    assert list(logs.read_log(plan.root_directory))[-1].data == b"b\n"
