# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's log under load and under faults, its health check, and those who are attached to it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._runtime import client, logs
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    HealthPlan,
    LaunchPlan,
    LogPlan,
    RestartPlan,
)

from tests.support.box import Box, open_box, read_all, wait_for
from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MS = 1_000_000
MIB = 1 << 20
AWAIT_GO = "while ! test -e /go; do sleep 0.02; done; "


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with open_box() as opened:
        yield opened


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def stop(box: Box, plan: LaunchPlan) -> None:
    client.stop(box.paths, plan.container_id, 9, 0)


def tell(box: Box, plan: LaunchPlan, name: str = "go") -> None:
    """Make a file in the root of a running container."""
    with open(f"/proc/{box.observe(plan).pid}/root/{name}", "w"):
        pass


def long_lines(count: int) -> str:
    """A script that writes lines of about a hundred bytes: their numbers and many x."""
    return f"seq 1 {count} | sed s/$/{'x' * 90}/; "


def has(box: Box, plan: LaunchPlan, name: str) -> bool:
    return os.path.exists(f"/proc/{box.observe(plan).pid}/root/{name}")


def output(plan: LaunchPlan, stream: str = "stdout") -> bytes:
    return b"".join(line.data for line in logs.read_log(plan.root_directory) if line.stream == stream)


def memory_kb(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{field}:"))


def log_bytes(plan: LaunchPlan) -> int:
    sizes = []
    for name in os.listdir(plan.root_directory):
        try:
            if name.startswith("container.log"):
                sizes.append(os.path.getsize(f"{plan.root_directory}/{name}"))
        except FileNotFoundError:
            pass
    return sum(sizes)


# --- log


def test_r06_a_stopped_monitor_makes_nobody_wait_who_writes_less_than_a_megabyte(box: Box) -> None:
    plan = box.plan("sh", "-c", AWAIT_GO + long_lines(9000) + "touch /done; exec sleep 1000")
    plan = replace(plan, log=LogPlan(f"{plan.root_directory}/container.log", 100 * MIB, 3))
    box.start(plan)
    monitor = box.state(plan)["monitor_pid"]
    os.kill(monitor, signal.SIGSTOP)
    try:
        tell(box, plan)
        wait_for(lambda: has(box, plan, "done"), "the container to go on")
        assert output(plan) == b""
    finally:
        os.kill(monitor, signal.SIGCONT)
    expected = b"".join(b"%d%b\n" % (number, b"x" * 90) for number in range(1, 9001))
    assert 700_000 < len(expected) < MIB
    wait_for(lambda: b"".join(line.data for line in logs.read_log(plan.root_directory, tail=1))[:5] == b"9000x", "all")
    assert output(plan) == expected
    stop(box, plan)


def test_r07_a_flood_stays_within_the_bounds_at_every_moment_and_in_memory(box: Box) -> None:
    plan = box.plan("sh", "-c", "echo y; " + AWAIT_GO + "timeout 3 yes; touch /done; exec sleep 1000")
    plan = replace(plan, log=LogPlan(f"{plan.root_directory}/container.log", 2 * MIB, 3))
    box.start(plan)
    monitor = box.state(plan)["monitor_pid"]
    wait_for(lambda: box.log(plan), "the first line")
    before = memory_kb(monitor, "Private_Dirty")
    tell(box, plan)
    largest, memory = 0, 0
    while not has(box, plan, "done"):
        largest = max(largest, log_bytes(plan))
        memory = max(memory, memory_kb(monitor, "Private_Dirty"))
        time.sleep(0.01)
    assert 4 * MIB < largest <= 3 * 2 * MIB * 1.1
    assert memory < 8 * 1024
    wait_for(lambda: memory_kb(monitor, "Private_Dirty") < before + 512, f"{memory} kB to be given back")
    assert {line.data for line in logs.read_log(plan.root_directory)} == {b"y\n"}
    stop(box, plan)


def test_s41_whatever_a_container_writes_is_read_back_byte_by_byte(box: Box) -> None:
    data = b'\n{"stream":"stderr","log":"forged\\n","time":"2026-01-01T00:00:00Z"}\n'
    data += b"\x1b]0;title\x07\x1b[2J\0\xff\xc3\n" + "{{ lookup('pipe','id') }} ä€".encode()[:-1] + b"\n"
    data += os.urandom(300_000) + b"\n" + b"x" * (10 * MIB) + b"\nend"
    plan = box.plan("cat", process={"open_stdin": True})
    plan = replace(plan, log=LogPlan(f"{plan.root_directory}/container.log", 100 * MIB, 3))
    result = box.run(plan, data)
    assert result.code == 0 and result.stdout == data
    found = list(logs.read_log(plan.root_directory))
    assert b"".join(line.data for line in found) == data
    assert {line.stream for line in found} == {"stdout"}
    assert max(len(line.data) for line in found) <= 16 * 1024 + 1


def test_r09_a_log_on_a_full_disk_stops_nobody_and_tells_what_it_lost(box: Box, small: Path) -> None:
    script = "seq 1 100000; touch /done; " + AWAIT_GO + "echo after; exec sleep 1000"
    plan = box.plan("sh", "-c", script)
    plan = replace(plan, log=LogPlan(f"{small}/container.log", 100 * MIB, 3))
    other = box.plan("sh", "-c", "echo unhurt; exec sleep 1000")
    box.start(other)
    box.start(plan)
    wait_for(lambda: has(box, plan, "done"), "the container to go on")
    wait_for(lambda: box.observe(plan).lost_log_bytes > 0, "the state to tell")
    assert box.observe(plan).status == box.observe(other).status == "running"
    subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
    tell(box, plan)

    def lines() -> list[logs.LogLine]:
        return list(logs.read_log(str(small)))

    wait_for(lambda: lines()[-1].data == b"after\n", "the log to go on")
    notes = [line.data.split()[1] for line in lines() if line.stream == "stderr"]
    assert lines()[-2].data == b"[hull: %b bytes of log could not be written]\n" % notes[-1]
    assert sum(map(int, notes)) == box.observe(plan).lost_log_bytes
    kept = [int(line.data) for line in lines()[:-1] if line.stream == "stdout"]
    assert kept == sorted(set(kept)) and 5000 < len(kept) < 100_000 and kept[:5000] == list(range(1, 5001))
    for one in (plan, other):
        stop(box, one)


def test_r09_a_blocking_log_on_a_full_disk_holds_up_its_own_container_only(box: Box, small: Path) -> None:
    plan = box.plan("sh", "-c", long_lines(30000) + "touch /done; exec sleep 1000")
    plan = replace(plan, log=LogPlan(f"{small}/container.log", 100 * MIB, 3, blocking=True))
    box.start(plan)
    wait_for(lambda: os.statvfs(small).f_bavail == 0, "the disk to be full")
    monitor = box.state(plan)["monitor_pid"]
    with client.attach(box.paths, plan.container_id):  # the monitor serves others meanwhile
        pass
    assert not has(box, plan, "done") and box.observe(plan).lost_log_bytes == 0
    assert memory_kb(monitor, "Private_Dirty") < 16 * 1024
    subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
    wait_for(lambda: has(box, plan, "done"), "the container to go on", 30)
    wait_for(lambda: list(logs.read_log(str(small), tail=1))[0].data[:6] == b"30000x", "the log")
    expected = b"".join(b"%d%b\n" % (number, b"x" * 90) for number in range(1, 30_001))
    assert b"".join(line.data for line in logs.read_log(str(small))) == expected
    stop(box, plan)


def test_following_goes_on_across_restarts_and_ends_with_the_container(box: Box) -> None:
    plan = box.plan("sh", "-c", "echo run; sleep 0.05; exit 1", restart=RestartPlan("on-failure", 2))
    box.start(plan)
    begin = time.monotonic()
    follow = logs.read_log(plan.root_directory, follow=lambda: box.observe(plan).is_up)
    assert [line.data for line in follow] == [b"run\n"] * 3
    assert time.monotonic() - begin < 10


def test_journald_is_found_where_it_listens() -> None:
    run_isolated(_log_to_a_journal)


def _log_to_a_journal() -> None:
    """With /run of its own, in a mount namespace of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "own", "/run"], check=True)
    os.makedirs("/run/systemd/journal")
    address = "unixgram:///run/systemd/journal/socket"
    with open_box() as box:
        plan = box.plan("sh", "-c", "echo hello; printf 'a\\000b'")
        log = LogPlan(f"{plan.root_directory}/container.log", MIB, 3, driver="journald", tag="web", address=address)
        plan = replace(plan, log=log)
        (warning,) = box.start(plan).warnings
        assert "log_driver: journald" in warning and "No such file" in warning
        assert client.wait(box.paths, plan.container_id, timeout_s=60) == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.bind("/run/systemd/journal/socket")
            journal.settimeout(60)
            assert box.start(plan).warnings == ()
            entries = [journal.recv(65536) for _ in range(2)]
        assert client.wait(box.paths, plan.container_id, timeout_s=60) == 0
        for entry, message in zip(entries, (b"hello", b"a\0b")):
            assert b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n" in entry
        assert output(plan) == b"hello\na\0bhello\na\0b"


# --- those who are attached


def test_s42_a_client_that_is_stopped_holds_up_neither_the_container_nor_the_others(box: Box) -> None:
    plan = box.plan("sh", "-c", AWAIT_GO + "head -c 5000000 /dev/zero; echo end >&2", log=None)
    box.start(plan)
    monitor = box.state(plan)["monitor_pid"]
    stopped = client.attach(box.paths, plan.container_id)
    with client.attach(box.paths, plan.container_id) as reading:
        tell(box, plan)
        result = read_all(reading)
        memory = memory_kb(monitor, "Private_Dirty")
    assert (len(result.stdout), result.stderr, result.code) == (5_000_000, b"end\n", 0)
    assert memory < 16 * 1024
    with stopped:
        late = read_all(stopped)
    assert len(late.stdout) < 5_000_000


def test_s42_a_flood_that_nobody_reads_takes_a_bounded_amount_of_memory(box: Box) -> None:
    plan = box.plan("yes", log=None)
    box.start(plan)
    monitor = box.state(plan)["monitor_pid"]
    with client.attach(box.paths, plan.container_id) as session:
        deadline, memory = time.monotonic() + 3.5, 0  # two seconds it waits for the client, then it skips it
        while time.monotonic() < deadline:
            memory = max(memory, memory_kb(monitor, "Private_Dirty"))
            time.sleep(0.02)
        assert memory < 8 * 1024
        lost = 0
        while not lost:
            frame = session.read(60)
            assert frame is not None
            lost = int(frame.data) if frame.kind == "lost" else 0
    stop(box, plan)


def test_the_last_size_counts_and_input_comes_from_all(box: Box) -> None:
    plan = box.plan("sh", "-c", "while read line; do echo got $line $(stty size); done", process={"tty": True})
    box.start(plan)
    with client.attach(box.paths, plan.container_id) as one, client.attach(box.paths, plan.container_id) as two:
        one.resize(20, 70)
        one.write_stdin(b"a\n")
        two.resize(30, 90)
        two.write_stdin(b"b\n")
        for session in (one, two):
            text = b""
            while b"got b" not in text or not text.endswith(b"\r\n"):
                frame = session.read(60)
                assert frame is not None
                text += frame.data
            assert b"got b 30 90" in text
    stop(box, plan)


# --- health


def test_checks_leave_no_zombie_and_their_output_is_limited(box: Box) -> None:
    script = "head -c 10000 /dev/zero | tr '\\0' x; sleep 300 & exit 0"
    plan = box.plan("sleep", "1000", init=True, health=HealthPlan(("sh", "-c", script), 10 * MS, 5000 * MS, 0, 0, 1))
    box.start(plan)
    seen = set()

    def several() -> bool:
        health = box.observe(plan).health
        assert health is not None
        seen.update(entry["Start"] for entry in health.log)
        return len(seen) >= 8

    wait_for(several, "eight checks", 20)
    health = box.observe(plan).health
    assert health is not None and health.status == "healthy"
    assert all(entry["Output"] == "x" * 4096 + "..." for entry in health.log)
    record = box.state(plan)
    cgroup = Cgroup(detect(), plan.cgroup)

    def zombies() -> list[int]:
        listed = subprocess.run(["ps", "-eo", "pid,ppid,stat"], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in listed.splitlines()[1:]]
        ours = {record["monitor_pid"], record["pid"], *cgroup.pids()}
        return [int(pid) for pid, parent, state in rows if state.startswith("Z") and int(parent) in ours]

    stopped = replace(plan, health=None)
    client.update(box.paths, stopped)
    wait_for(lambda: len(cgroup.pids()) == 2 and not zombies(), "what the checks started to be gone")
    stop(box, plan)


def test_a_late_check_is_ended_with_all_that_it_started_and_tells_what_it_said(box: Box) -> None:
    script = "echo before; (setsid sleep 777 &) ; sleep 778"
    health = HealthPlan(("sh", "-c", script), 20 * MS, 200 * MS, 0, 0, 1)
    plan = replace(box.plan("sleep", "1000", init=True), health=health)
    box.start(plan)
    now = wait_for(lambda: (h := box.observe(plan).health) and h.status == "unhealthy" and h, "unhealthy")
    assert now.log[-1]["ExitCode"] == -1
    assert now.log[-1]["Output"] == "Health check exceeded timeout (0.2s): before\n"
    client.update(box.paths, replace(plan, health=None))
    wait_for(lambda: len(Cgroup(detect(), plan.cgroup).pids()) == 2, "nothing of the check to be left")
    stop(box, plan)


def test_a_paused_container_is_not_checked_and_not_late(box: Box) -> None:
    health = HealthPlan(("sh", "-c", AWAIT_GO + "exit 0"), 10 * MS, 1500 * MS, 0, 0, 1)
    plan = replace(box.plan("sleep", "1000"), health=health)
    box.start(plan)
    cgroup = Cgroup(detect(), plan.cgroup)
    wait_for(lambda: len(cgroup.pids()) > 1, "a check to run")
    cgroup.freeze()
    time.sleep(2)  # longer than the check may take
    before = box.observe(plan).health
    assert before is not None and before.status == "starting" and before.log == ()
    tell(box, plan)
    cgroup.thaw()
    now = wait_for(lambda: (h := box.observe(plan).health) and h.log and h, "a result")
    assert now.status == "healthy"
    stop(box, plan)


def test_a_check_that_never_ends_keeps_nobody_from_the_monitor(box: Box) -> None:
    health = HealthPlan(("sleep", "1000"), 10 * MS, 100_000 * MS, 0, 0, 1)
    plan = replace(box.plan("cat", process={"open_stdin": True}), health=health)
    started = box.start(plan, attach=True)
    assert started.session is not None
    wait_for(lambda: len(Cgroup(detect(), plan.cgroup).pids()) > 1, "the check to run")
    with started.session as session:
        session.write_stdin(b"hello\n")
        frame = session.read(60)
        assert frame is not None and frame.data == b"hello\n"
        begin = time.monotonic()
        stop(box, plan)
        assert time.monotonic() - begin < 5
        assert read_all(session).code == 137
    wait_for(lambda: not os.path.exists(plan.run_directory), "the clean-up")


def test_a_check_ends_with_its_killed_monitor(box: Box) -> None:
    plan = box.plan("sleep", "1000", health=HealthPlan(("sleep", "999"), 10 * MS, 100_000 * MS, 0, 0, 1))
    box.start(plan)
    cgroup = Cgroup(detect(), plan.cgroup)
    wait_for(lambda: len(cgroup.pids()) > 1, "the check to run")
    first = set(cgroup.pids())
    os.kill(box.state(plan)["monitor_pid"], signal.SIGKILL)
    wait_for(lambda: not (first - {box.observe(plan).pid}) & set(cgroup.pids()), "the check to end")
    assert box.observe(plan).status == "running"
    stop(box, plan)
