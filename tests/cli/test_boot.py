# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`boot` after a reboot (processes gone, run-time directory empty) and after a shutdown by `boot --down`."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3

import pytest

from tests.cli.conftest import wait_until
from tests.support.residue import residue

SLEEPER = ("busybox", "sleep", "1000")


def processes(hull) -> list[int]:
    """All that a reboot ends: the engine's processes and the containers'."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as comm, open(f"/proc/{name}/cmdline") as line:
                ours = comm.read().startswith("hull-") and hull.paths.run in line.read()
            with open(f"/proc/{name}/cgroup") as file:
                ours = ours or f"/{hull.paths.cgroup}/" in file.read()
        except OSError:
            continue
        if ours and int(name) != os.getpid():
            found.append(int(name))
    return found


def reboot(hull) -> None:
    """Kill everything at once, and lose what lies in memory."""
    pids = processes(hull)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
    wait_until(lambda: not [pid for pid in processes(hull) if not is_zombie(pid)], "everything to be dead")
    shutil.rmtree(hull.paths.run)


def is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture
def five(shared):
    for name, policy in (("always", "always"), ("unless", "unless-stopped"), ("failing", "on-failure"), ("no", "no")):
        shared("run", "-d", "--network", "none", "--name", name, "--restart", policy, *SLEEPER)
    shared("run", "-d", "--network", "container:always", "--name", "joining", "--restart", "always", *SLEEPER)
    yield shared
    shared("rm", "-f", "joining", "always", "unless", "failing", "no")
    wait_until(lambda: not residue(shared.paths), "an engine without containers")


def test_r24_after_a_reboot_the_policies_decide(five):
    five("stop", "-t", "0", "unless")
    reboot(five)
    assert five.status("always") == five.status("no") == "exited"
    assert five("boot").splitlines() == ["started always", "started failing", "started joining"]
    assert [five.status(name) for name in ("always", "unless", "failing", "no", "joining")] == [
        "running",
        "exited",
        "running",
        "exited",
        "running",
    ]
    assert five("boot") == ""


def test_r24_always_brings_back_what_a_user_stopped_and_one_error_keeps_no_other(five):
    five("stop", "-t", "0", "joining", "always", "failing")
    reboot(five)
    shutil.rmtree(five.paths.container(five("inspect", "-f", "{{.Id}}", "unless").strip()) + "/work")
    done = five.run("boot")
    assert done.returncode == 1 and done.stderr.startswith(b"unless: start container unless: work of its files")
    assert b"hull doctor --fix makes them anew" in done.stderr
    assert done.stdout.decode().splitlines() == ["started always", "started joining"]
    assert five.status("failing") == "exited"


def test_what_is_no_error_of_the_engine_keeps_no_other_container_either(five):
    reboot(five)
    etc = five.paths.container(five("inspect", "-f", "{{.Id}}", "always").strip()) + "/etc"
    shutil.rmtree(etc)
    with open(etc, "w"):
        pass
    done = five.run("boot")
    assert done.returncode == 1 and b"always: " in done.stderr and b"Traceback" not in done.stderr
    assert done.stdout.decode().splitlines() == ["started unless", "started failing"]
    os.unlink(etc)
    assert five("boot").splitlines() == ["started always", "started joining"]


DAMAGES = {
    "bytes that are no text": "launch = CAST(replace(launch, '\"restart\"', x'f3') AS TEXT)",
    "a plan of other types": 'launch = replace(launch, \'"restart":{\', \'"restart":null,"x":{\')',
    "a declaration of other types": "spec = replace(spec, '\"none\"', '5')",
    "a state of other types": "",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_somebody_has_written_into_one_container_keeps_no_other(hull, damage):
    for name in ("first", "second", "third"):
        hull("run", "-d", "--network", "none", "--name", name, "--restart", "always", *SLEEPER)
    identifier = hull("inspect", "-f", "{{.Id}}", "second").strip()
    reboot(hull)
    if damage:
        database = sqlite3.connect(hull.paths.database)
        database.text_factory = bytes
        before = database.execute("SELECT launch, spec FROM containers WHERE id = ?", (identifier,)).fetchone()
        database.execute(f"UPDATE containers SET {damage} WHERE id = ?", (identifier,))
        assert database.execute("SELECT launch, spec FROM containers WHERE id = ?", (identifier,)).fetchone() != before
        database.commit()
        database.close()
    else:
        with open(hull.paths.container(identifier) + "/exit.json", "w") as file:
            file.write('{"status":"running","started_ns":"x","exit_code":null}')
    started = hull.run("boot").stdout.decode().splitlines()
    assert [line for line in started if "second" not in line] == ["started first", "started third"]
    assert hull.status("first") == hull.status("third") == "running"
    stopped = hull.run("boot", "--down").stdout.decode().splitlines()
    assert {"stopped first", "stopped third"} <= set(stopped)
    assert hull.status("first") == hull.status("third") == "exited"


def test_that_nobody_reads_what_is_told_keeps_no_container_down_or_up(five):
    reboot(five)
    reader, writer = os.pipe()
    os.close(reader)
    assert five.start("boot", stdout=writer).wait(60) == 1
    os.close(writer)
    assert [five.status(name) for name in ("always", "unless", "failing", "joining")] == ["running"] * 4
    with open("/dev/full", "w") as full:
        assert five.start("boot", "--down", stdout=full.fileno()).wait(60) == 1
    assert [five.status(name) for name in ("always", "unless", "failing", "joining")] == ["exited"] * 4


def test_a_shutdown_stops_all_and_is_no_stop_by_the_user(five):
    lines = five("boot", "--down").splitlines()
    assert lines[0] == "stopped joining" and sorted(lines) == sorted(
        f"stopped {name}" for name in ("always", "unless", "failing", "no", "joining")
    )
    assert five("boot", "--down") == ""
    assert five("boot").splitlines() == ["started always", "started unless", "started failing", "started joining"]


def test_what_never_ran_is_not_started(shared):
    shared("create", "--network", "none", "--name", "idle", "--restart", "always", *SLEEPER)
    try:
        assert shared("boot") == ""
        assert shared.status("idle") == "created"
    finally:
        shared("rm", "idle")
