# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`start stop restart kill rm pause unpause wait rename logs ps port top`."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.cli.conftest import wait_until


@pytest.fixture
def sleeper(shared):
    """A container that ends on SIGTERM with code 3."""
    script = "trap 'exit 3' TERM; echo out; echo err >&2; while true; do sleep 0.05; done"
    shared("run", "-d", "--network", "none", "--name", "sleeper", "-l", "a=1", "busybox", "sh", "-c", script)
    wait_until(lambda: "err" in shared.run("logs", "sleeper").stderr.decode(), "the output")
    yield shared
    shared("rm", "-f", "sleeper")


def test_stop_start_and_restart_print_what_was_typed(sleeper):
    prefix = sleeper("ps", "-q").strip()[:6]
    assert sleeper("stop", prefix) == f"{prefix}\n"
    assert sleeper.status("sleeper") == "exited"
    assert sleeper("stop", "sleeper") == "sleeper\n"
    assert sleeper("start", "sleeper") == "sleeper\n"
    assert sleeper.status("sleeper") == "running"
    assert sleeper("restart", "-t", "5", "sleeper") == "sleeper\n"
    assert sleeper.status("sleeper") == "running"


def test_stop_kills_after_its_time(shared):
    shared("run", "-d", "--network", "none", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; sleep 100")
    began = time.monotonic()
    shared("stop", "--time=0", "deaf")
    assert time.monotonic() - began < 5
    assert shared("inspect", "-f", "{{.State.ExitCode}}", "deaf") == "137\n"
    shared("rm", "deaf")


def test_a_negative_time_waits_without_end(sleeper):
    sleeper("stop", "-t", "-1", "sleeper")
    assert sleeper("inspect", "-f", "{{.State.ExitCode}}", "sleeper") == "3\n"


def test_kill_sends_the_signal_that_is_named(sleeper):
    sleeper("kill", "-s", "TERM", "sleeper")
    assert sleeper("wait", "sleeper") == "3\n"
    assert "it is not running" in sleeper.fails(1, "kill", "sleeper")
    assert "--signal: 'NOPE' is not a signal" in sleeper.fails(1, "kill", "-s", "NOPE", "sleeper")


def test_wait_returns_at_the_end(sleeper):
    with sleeper.start("wait", "sleeper", stdout=subprocess.PIPE) as waiting:
        sleeper("stop", "sleeper")
        assert waiting.stdout.read() == b"3\n"


def test_pause_and_unpause(sleeper):
    sleeper("pause", "sleeper")
    assert sleeper.status("sleeper") == "paused"
    assert "(Paused)" in sleeper("ps")
    assert "already paused" in sleeper.fails(1, "pause", "sleeper")
    sleeper("unpause", "sleeper")
    assert sleeper.status("sleeper") == "running"


def test_rename(sleeper):
    sleeper("rename", "sleeper", "other")
    assert sleeper.status("other") == "running"
    sleeper("rename", "other", "sleeper")


def test_a_running_container_is_removed_by_force_only(sleeper):
    assert "it is running; stop it first" in sleeper.fails(1, "rm", "sleeper")
    assert sleeper("rm", "-f", "sleeper") == "sleeper\n"
    assert "no such container" in sleeper.fails(1, "rm", "sleeper")
    assert sleeper.run("rm", "-f", "sleeper").returncode == 0


def test_of_several_names_the_good_ones_are_done(sleeper):
    done = sleeper.run("stop", "no-such", "sleeper")
    assert (done.returncode, done.stdout) == (1, b"sleeper\n")
    assert done.stderr == b"hull: container no-such: no such container\n"


def test_logs_keep_the_streams_apart(sleeper):
    done = sleeper.run("logs", "sleeper")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_logs_by_number_time_and_with_stamps(sleeper):
    assert sleeper.run("logs", "-n", "1", "sleeper").stdout + sleeper.run("logs", "-n1", "sleeper").stderr == b"err\n"
    assert sleeper("logs", "--since", "1h", "sleeper") == "out\n"
    assert sleeper("logs", "--until", "1h", "sleeper") == ""
    stamp, _, text = sleeper("logs", "-t", "sleeper").partition(" ")
    assert text == "out\n" and stamp.endswith("Z") and len(stamp) == 30
    assert "--tail: 'x' is not a number" in sleeper.fails(1, "logs", "--tail", "x", "sleeper")


def test_following_logs_ends_with_the_container(shared):
    script = "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo last"
    shared("run", "-d", "--network", "none", "--name", "talker", "busybox", "sh", "-c", script)
    with shared.start("logs", "-f", "talker", stdout=subprocess.PIPE) as following:
        assert following.stdout.readline() == b"first\n"
        shared("exec", "talker", "touch", "/go")
        assert following.stdout.read() == b"last\n"
    assert following.returncode == 0
    shared("rm", "-f", "talker")


def test_ps_shows_the_columns_of_docker(sleeper):
    heading, row = sleeper("ps").splitlines()
    assert heading.split("  ")[0] == "CONTAINER ID"
    assert [word.strip() for word in heading.split("   ") if word.strip()] == (
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    )
    assert row[:12] == sleeper("ps", "-q").strip()
    assert "busybox" in row and "\"sh -c 'trap 'exit 3…\"" not in row and " Up " in row and row.endswith("sleeper")


def test_ps_formats_and_filters(sleeper):
    sleeper("create", "--name", "idle", "busybox", "true")
    assert sleeper("ps", "--format", "{{.Names}} {{.State}}") == "sleeper running\n"
    assert sleeper("ps", "-a", "--format", "{{.Names}}").split() == ["idle", "sleeper"]
    facts = json.loads(sleeper("ps", "--format", "json"))
    assert (facts["Names"], facts["Labels"], facts["Image"]) == ("sleeper", "a=1", "busybox")
    assert len(json.loads(sleeper("ps", "--no-trunc", "--format", "json"))["ID"]) == 64
    for given in ("label=a", "label=a=1", "name=sleep", "status=running", "network=none"):
        assert sleeper("ps", "-a", "--filter", given, "--format", "{{.Names}}") == "sleeper\n", given
    assert sleeper("ps", "-f", "label=b", "-q") == ""
    image = sleeper("images", "-q", "busybox").strip() or sleeper("inspect", "-f", "{{.Image}}", "sleeper").strip()
    for given in ("busybox", "busybox:latest", image):
        assert sleeper("ps", "-f", f"ancestor={given}", "--format", "{{.Names}}") == "sleeper\n", given
    assert sleeper("ps", "-f", "ancestor=ubuntu:14.04", "-q") == ""
    assert sleeper("ps", "-l", "--format", "{{.Names}} {{.Status}}") == "idle Created\n"
    assert sleeper("ps", "--format", "table {{.Names}}\\t{{.State}}").splitlines()[0].split() == ["NAMES", "STATE"]
    assert "--filter: 'colour=red' is not known" in sleeper.fails(1, "ps", "-f", "colour=red")
    sleeper("rm", "idle")


def test_ps_tells_how_a_container_ended(sleeper):
    sleeper("stop", "sleeper")
    assert sleeper("ps", "-q") == ""
    assert sleeper("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3) ")
    assert sleeper("ps", "-f", "exited=3", "--format", "{{.Names}}") == "sleeper\n"


def test_top_shows_the_processes_as_the_host_sees_them(sleeper):
    pid = sleeper("inspect", "-f", "{{.State.Pid}}", "sleeper").strip()
    rows = [line.split(None, 7) for line in sleeper("top", "sleeper").splitlines()]
    assert rows[0] == "UID PID PPID C STIME TTY TIME CMD".split()
    assert any(row[:2] == ["root", pid] and row[7].startswith("sh -c") for row in rows[1:])
    rows = [line.split(None, 2) for line in sleeper("top", "sleeper", "-o", "pid,uid,args").splitlines()]
    assert rows[0] == "PID UID COMMAND".split() and [pid, "0"] in [row[:2] for row in rows]
    assert sleeper("top", "sleeper", "aux").split()[:4] == "USER PID %CPU %MEM".split()
    assert "there is no column 'colour'" in sleeper.fails(1, "top", "sleeper", "-o", "colour")


def test_port_tells_where_a_container_is_reached(shared):
    shared(
        "run", "-d", "--name", "published", "-p", "127.0.0.1::80", "-p", "127.0.0.1::53/udp", "busybox", "sleep", "99"
    )
    lines = dict(line.split(" -> ") for line in shared("port", "published").splitlines())
    assert set(lines) == {"80/tcp", "53/udp"}
    assert shared("port", "published", "80") == lines["80/tcp"] + "\n"
    assert f"{lines['80/tcp']}->80/tcp" in shared("ps", "--format", "{{.Ports}}")
    assert "port 81/tcp is not published" in shared.fails(1, "port", "published", "81")
    shared("rm", "-f", "published")


def test_a_label_can_not_steer_the_terminal(shared):
    shared("create", "--name", "evil", "-l", "a=\x1b[31mred", "busybox")
    template = "{{json .Config.Labels.a}} {{.Config.Labels.a}}"
    for words in (["ps", "-a", "--format", "{{.Labels}}"], ["inspect", "-f", template, "evil"]):
        with shared.terminal(*words) as terminal:
            assert terminal.exit_code() == 0
            assert b"\\x1b[31mred" in terminal.seen and b"\x1b" not in terminal.seen
    assert shared("ps", "-a", "--format", "{{.Labels}}") == "a=\x1b[31mred\n"
    shared("rm", "evil")


@pytest.mark.parametrize("asked_by", ["flag", "container"])
def test_a_stop_timeout_of_minus_one_never_kills(shared, asked_by):
    flags = ["--stop-timeout", "-1"] if asked_by == "container" else []
    script = "trap 'sleep 1; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    shared("run", "-d", "--name", "slow", "--network", "none", *flags, "busybox", "sh", "-c", script)
    wait_until(lambda: "ready" in shared("logs", "slow"), "the output")
    shared("stop", *(["-t", "-1"] if asked_by == "flag" else []), "slow")
    assert json.loads(shared("inspect", "slow"))[0]["State"]["ExitCode"] == 3
    shared("rm", "slow")
