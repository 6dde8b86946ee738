# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`update stats exec ps inspect rename stop rm create wait`, on many containers and beside what the kernel says."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine import containers
from ansible_collections.hull.engine.plugins.module_utils._engine import exec as execution
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup, detect

from tests.cli.conftest import Hull, wait_until

RUN = ("run", "-d", "--network", "none")
BUSY = "while :; do :; done"


@pytest.fixture(autouse=True)
def nothing_is_left(shared: Hull) -> Iterator[None]:
    yield
    if names := shared("ps", "-aq").split():
        shared("rm", "-f", "-v", *names)


@pytest.fixture
def box(shared: Hull) -> Hull:
    """An engine with the container `box`, which sleeps."""
    shared(*RUN, "--name", "box", "--memory", "96m", "busybox", "sleep", "9999")
    return shared


def facts(hull: Hull, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hull("inspect", name))[0]
    return found


def cgroup(hull: Hull, name: str) -> Cgroup:
    with Engine(hull.paths) as engine:
        return Cgroup(detect(), f"{engine.paths.cgroup}/{containers.find(engine, name).id}")


def test_update_changes_what_is_named_and_nothing_else(box: Hull) -> None:
    box("create", "--name", "idle", "--network", "none", "--memory", "32m", "busybox")
    pid = facts(box, "box")["State"]["Pid"]
    assert (
        box("update", "--memory", "48m", "--cpus", "0.5", "--restart", "on-failure:4", "box", "idle") == "box\nidle\n"
    )
    assert cgroup(box, "box").usage().memory_limit_bytes == 48 << 20
    box("update", "--pids-limit", "77", "box")
    box("update", "--memory-swap", "64m", "box")
    for name, pids in (("box", 77), ("idle", 2048)):
        host = facts(box, name)["HostConfig"]
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (48 << 20, 500_000_000, pids)
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 4}
    assert cgroup(box, "box").usage().pids_limit == 77 and facts(box, "box")["HostConfig"]["MemorySwap"] == 64 << 20
    assert facts(box, "box")["State"]["Pid"] == pid
    box("rm", "idle")


def test_a_wrong_update_changes_nothing(box: Hull) -> None:
    before = facts(box, "box")["HostConfig"]
    for words, message in (
        ((), "nothing is to be changed"),
        (("--memory", "1k"), "memory: 1024 bytes are too little"),
        (("--memory-swap", "16m"), "memory_swap: is less than memory"),
        (("--restart", "sometimes"), "restart_policy"),
    ):
        assert message in box.fails(1, "update", *words, "box"), words
    assert facts(box, "box")["HostConfig"] == before
    assert "no such container" in box.fails(1, "update", "--memory", "64m", "no-such")


def test_stats_tell_what_the_kernel_counts(box: Hull) -> None:
    script = f"dd if=/dev/zero of=/dev/shm/fill bs=1M count=24; echo filled; {BUSY}"
    box(*RUN, "--name", "busy", "--memory", "64m", "--cpus", "0.5", "busybox", "sh", "-c", script)
    wait_until(lambda: "filled" in box("logs", "busy"), "24 MiB in use")
    box("create", "--name", "idle", "busybox")
    rows = {row["Name"]: row for row in map(json.loads, box("stats", "--no-stream", "--format", "json").splitlines())}
    assert set(rows) >= {"box", "busy"} and "idle" not in rows
    used, limit = rows["busy"]["MemUsage"].split(" / ")
    assert limit == "64MiB" and 24 <= float(used.rstrip("MiB")) < 40 and float(rows["busy"]["MemPerc"][:-1]) > 37
    assert 5 < float(rows["busy"]["CPUPerc"][:-1]) < 75 and float(rows["box"]["CPUPerc"][:-1]) < 2
    assert rows["box"]["PIDs"] == "1" and rows["box"]["NetIO"] == "0B / 0B"
    heading, row = box("stats", "--no-stream", "idle").splitlines()
    assert heading.split("   ")[0] == "CONTAINER ID" and "0B / 0B" in row and row.split()[-1] == "0"
    assert "idle" in box("stats", "--no-stream", "-a", "--format", "{{.Name}}").split()
    assert "no such container" in box.fails(1, "stats", "--no-stream", "no-such")
    box("rm", "-f", "busy", "idle")


def test_stats_count_the_containers_own_network(box: Hull) -> None:
    box("run", "-d", "--name", "linked", "busybox", "sh", "-c", "nc -l -p 7 > /dev/null; echo over; sleep 999")
    address = facts(box, "linked")["NetworkSettings"]["IPAddress"]
    done = subprocess.run(
        ["python3", "-c", f"import socket; socket.create_connection(('{address}', 7), 9).sendall(bytes(300_000))"],
        check=False,
    )
    if done.returncode:
        pytest.fail("the container's port could not be reached")
    wait_until(lambda: "over" in box("logs", "linked"), "the transfer")
    table = Path(f"/proc/{facts(box, 'linked')['State']['Pid']}/net/dev").read_text()
    (line,) = [line for line in table.splitlines() if "eth0" in line]
    shown = box("stats", "--no-stream", "--format", "{{.NetIO}}", "linked").strip()
    assert 300_000 < int(line.split()[1]) < 400_000 and 300 <= float(shown.split("kB")[0]) < 400
    box("rm", "-f", "linked")


def test_stats_go_on_until_they_are_interrupted(box: Hull) -> None:
    with box.start("stats", "--format", "{{.Name}}", stdout=subprocess.PIPE) as streaming:
        assert streaming.stdout is not None
        for _ in range(3):
            assert b"box" in streaming.stdout.readline()
        streaming.send_signal(2)
    assert streaming.returncode in (130, -2)


def test_s42_a_flood_of_output_is_cut_counted_and_ended(box: Hull) -> None:
    """S42: `yes` with a time limit, many times: memory stays flat, the process is gone, what was dropped is told."""

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Engine(box.paths) as engine:
        record = containers.find(engine, "box")
        sizes, dropped = [], 0
        for _ in range(8):
            process = execution.process_plan(record, ("yes", "x" * 100))
            done = execution.run(engine, record, process, timeout_s=0.6)
            assert done.timed_out and done.rc == -1 and len(done.stdout) <= 16 << 20
            assert done.stdout[:101] == b"x" * 100 + b"\n"
            dropped += done.dropped_bytes
            del done
            sizes.append(resident_bytes())
        assert dropped > 0 and max(sizes[2:]) - sizes[1] < 24 << 20
    wait_until(lambda: len(cgroup(box, "box").pids()) == 1, "the end of all `yes`")


def test_exec_of_a_paused_or_stopped_container_is_refused_by_name(box: Hull) -> None:
    box("pause", "box")
    assert 'Cannot execute command in paused container "box"' in box.fails(125, "exec", "box", "true")
    box("unpause", "box")
    box("kill", "box")
    box("wait", "box")
    assert "execute in container box: it is not running" in box.fails(125, "exec", "box", "true")


def test_exec_has_the_environment_user_and_directory_that_it_is_given(box: Hull, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("# comment\nFROM_FILE=1\nOWN\n")
    words = ("-e", "A=b c", "--env-file", str(tmp_path / "vars"), "-u", "1000:1001", "-w", "/tmp")
    script = "echo $A $FROM_FILE $OWN; id -u; id -g; pwd; grep CapEff /proc/self/status"
    shown = box("exec", *words, "box", "sh", "-c", script, env={"OWN": "passed"})
    assert shown.split() == ["b", "c", "1", "passed", "1000", "1001", "/tmp", "CapEff:", "0" * 16]
    script = "grep -e CapEff -e Seccomp: -e NoNewPrivs /proc/self/status"
    shown = dict(line.split() for line in box("exec", "--privileged", "box", "sh", "-c", script).splitlines())
    host = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)
    assert (shown["CapEff:"], shown["Seccomp:"], shown["NoNewPrivs:"]) == (host["CapEff"].strip(), "0", "0")
    assert box("exec", "-d", "box", "sh", "-c", "sleep 0.1; touch /detached") == ""
    wait_until(lambda: box.run("exec", "box", "test", "-e", "/detached").returncode == 0, "the detached command")


def test_ten_containers_that_do_not_listen_stop_in_the_time_of_one(shared: Hull) -> None:
    names = [f"deaf{number}" for number in range(10)]
    for name in names:
        shared(*RUN, "--name", name, "busybox", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    wait_until(lambda: all("ready" in shared("logs", name) for name in names), "ten traps")
    began = time.monotonic()
    done = shared.run("stop", "-t", "3", *names, "no-such")
    assert time.monotonic() - began < 15
    assert done.stdout.decode().split() == names and done.stderr == b"hull: container no-such: no such container\n"
    assert done.returncode == 1
    assert {facts(shared, name)["State"]["ExitCode"] for name in names} == {137}
    assert shared("rm", *names).split() == names


def test_a_removal_does_not_wait_for_a_patient_stop(shared: Hull) -> None:
    shared(*RUN, "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    wait_until(lambda: "ready" in shared("logs", "deaf"), "the trap")
    with shared.start("stop", "-t", "300", "deaf", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stopping:
        wait_until(lambda: "deaf" in os.listdir(shared.paths.locks).__str__(), "the lock of the stop")
        shared("rm", "-f", "deaf")
        shared("create", "--name", "deaf", "busybox")
        assert stopping.wait(20) == 0
    shared("rm", "deaf")


def test_the_name_of_a_removed_container_is_free_before_its_files_are_gone(shared: Hull) -> None:
    """A file that can't be deleted stands for many that take long."""
    shared("create", "--name", "large", "--network", "none", "busybox")
    upper = Path(facts(shared, "large")["GraphDriver"]["Data"]["UpperDir"])
    (upper / "fixed").write_text("immutable\n")
    subprocess.run(["chattr", "+i", str(upper / "fixed")], check=True)
    try:
        assert "immutable" in shared.fails(1, "rm", "-f", "large")
        shared("create", "--name", "large", "--network", "none", "busybox")
    finally:
        for path in Path(shared.paths.root).rglob("fixed"):
            subprocess.run(["chattr", "-i", str(path)], check=True)


def test_r13_of_ten_creations_of_one_name_one_wins(shared: Hull) -> None:
    """R13: nothing remains of the others."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    before = shared("ps", "-aq").split(), sorted(os.listdir(f"{shared.paths.root}/containers"))
    running = [shared.start("create", "--name", "one", "-v", "/anonymous", "busybox", **pipes) for _ in range(10)]
    outcomes = [(*process.communicate(), process.returncode) for process in running]
    won = [out.decode().strip() for out, _, code in outcomes if code == 0]
    assert len(won) == 1 and won[0] == facts(shared, "one")["Id"]
    for _, message, code in outcomes:
        assert code == 0 or (code == 1 and b"create container one: the name is taken; remove that" in message)
    assert len(shared("volume", "ls", "-q").split()) == len(facts(shared, "one")["Mounts"])
    shared("rm", "-v", "one")
    assert (shared("ps", "-aq").split(), sorted(os.listdir(f"{shared.paths.root}/containers"))) == before


def test_a_run_that_can_not_start_leaves_nothing(shared: Hull) -> None:
    before = os.listdir(f"{shared.paths.root}/containers")
    assert "no-such-program" in shared.fails(
        127, "run", "--network", "none", "--name", "broken", "busybox", "no-such-program"
    )
    assert shared("ps", "-aq", "-f", "name=broken") == "" and os.listdir(f"{shared.paths.root}/containers") == before


def test_rename_reaches_a_running_container_and_its_old_name_is_free(box: Hull) -> None:
    pid = facts(box, "box")["State"]["Pid"]
    box("rename", "box", "renamed")
    assert facts(box, "renamed")["State"]["Pid"] == pid and "no such container" in box.fails(1, "stop", "box")
    box("create", "--name", "box", "--network", "none", "busybox")
    assert "the name is taken" in box.fails(1, "rename", "renamed", "box")
    assert "it has this name already" in box.fails(1, "rename", "box", "box")
    assert "not a valid name" in box.fails(1, "rename", "box", "../x")
    box("rm", "-f", "renamed")


def test_wait_tells_all_statuses_in_order(shared: Hull) -> None:
    for code in (3, 0, 5):
        shared(*RUN, "--name", f"ends{code}", "busybox", "sh", "-c", f"exit {code}")
    shared("create", "--name", "never", "busybox")
    done = shared.run("wait", "ends3", "ends0", "no-such", "ends5", "never")
    assert (done.returncode, done.stdout.split()) == (1, [b"3", b"0", b"5", b"0"])
    shared("rm", "ends3", "ends0", "ends5", "never")


def test_ps_filters_as_docker_does(box: Hull) -> None:
    box("create", "--name", "web-1", "--network", "none", "-l", "a=1", "-l", "b=2", "-v", "stuff:/srv", "busybox")
    box("create", "--name", "web-10", "--network", "none", "-l", "a=1", "busybox", "false")
    box.run("run", "--name", "failed", "--network", "none", "busybox", "sh", "-c", "exit 4")

    def names(*filters: str, all: bool = True) -> list[str]:
        flags = [word for given in filters for word in ("-f", given)]
        return sorted(box("ps", *(["-a"] if all else []), *flags, "--format", "{{.Names}}").split())

    assert names("name=web") == ["web-1", "web-10"] and names("name=^web-1$") == ["web-1"] == names("name=^/web-1$")
    assert names("label=a", "label=b=2") == ["web-1"] and names("label=a=1") == ["web-1", "web-10"]
    assert names("volume=stuff") == ["web-1"] == names("volume=/srv")
    assert names("status=created", "status=exited", all=False) == ["failed", "web-1", "web-10"]
    assert names("exited=4", all=False) == ["failed"] and names("exited=5") == []
    assert names("before=web-10") == ["box", "web-1"] and names("since=web-1") == ["failed", "web-10"]
    assert names("since=web-1", all=False) == [] and names("network=none", "name=web-10") == ["web-10"]
    assert names("health=none", all=False) == ["box"]
    assert names("ancestor=busybox", all=False) == ["box"]
    assert "'nope' is no status; use created" in box.fails(1, "ps", "-f", "status=nope")
    assert "no such container" in box.fails(1, "ps", "-f", "before=no-such")
    box("rm", "web-1", "web-10", "failed")


def test_sizes_are_of_what_a_container_has_written(box: Hull, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 123_456)
    box("cp", str(tmp_path / "file"), "box:/one")
    box("exec", "box", "ln", "/one", "/two")
    found = json.loads(box("inspect", "-s", "box"))[0]
    assert 123_456 <= found["SizeRw"] < 130_000 and found["SizeRootFs"] > found["SizeRw"] + 500_000
    heading, row = box("ps", "-s").splitlines()
    assert heading.endswith("SIZE") and row.split("  ")[-1].strip().startswith("123kB (virtual ")
    assert "SizeRw" not in facts(box, "box")


def test_the_container_forms_are_understood(box: Hull) -> None:
    assert "box" in box("container", "stats", "--no-stream") and "sleep 9999" in box("container", "top", "box")
    box("container", "update", "--memory", "128m", "box")
    box("container", "cp", "box:/etc/hosts", "-")
    assert box("container", "wait", "--help") and box("container", "rename", "--help")
