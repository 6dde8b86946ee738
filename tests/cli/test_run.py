# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`run` and `create` without a terminal: streams, exit codes, flags, what remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.cli.conftest import wait_until

BARE = ("run", "--rm", "--network", "none")


def test_standard_output_and_error_stay_apart(shared):
    done = shared.run(*BARE, "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [(["true"], 0), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -9 $$"], 137), (["sh", "-c", "exit 255"], 255)],
)
def test_the_exit_code_is_the_containers(shared, command, code):
    assert shared.run(*BARE, "--init", "busybox", *command).returncode == code


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["busybox", "/nowhere"], 127, "/nowhere"),
        (["busybox", "/etc/passwd"], 126, "/etc/passwd"),
        (["no-such-image:1"], 125, "no-such-image"),
        (["--device", "/dev/nowhere", "busybox"], 125, "--device: /dev/nowhere: no such device"),
        (["--memory", "1", "busybox"], 125, "--memory: 1 bytes are too little"),
        (["--mount", "type=bind,src=/nowhere/at/all,dst=/x", "busybox"], 125, "/nowhere/at/all"),
    ],
)
def test_what_can_not_be_started_gives_one_message_and_leaves_nothing(shared, words, code, part):
    before = shared("ps", "-aq")
    message = shared.fails(code, "run", "--rm", "--network", "none", *words)
    assert part in message.splitlines()[-1] and message.splitlines()[-1].startswith("hull: ")
    assert shared("ps", "-aq") == before


def test_a_container_of_rm_is_gone_when_the_command_returns(shared):
    shared("run", "--rm", "--network", "none", "--name", "brief", "busybox", "true")
    assert shared.run("inspect", "brief").returncode == 1


def test_a_detached_container_of_rm_goes_when_it_ends(shared):
    shared("run", "-d", "--rm", "--network", "none", "--name", "brief2", "busybox", "sleep", "0.1")
    wait_until(lambda: shared.run("inspect", "brief2").returncode == 1, "the removal")


def test_a_taken_name_is_refused(shared):
    shared("create", "--name", "taken", "busybox")
    assert "taken: the name is taken" in shared.fails(125, "run", "--name", "taken", "busybox")
    assert "taken: the name is taken" in shared.fails(1, "create", "--name", "taken", "busybox")
    shared("rm", "taken")


def test_input_is_passed_on_with_i_only(shared):
    assert shared(*BARE, "-i", "busybox", "cat", stdin=b"text") == "text"
    assert shared(*BARE, "busybox", "cat", stdin=b"text") == ""


def test_a_megabyte_goes_through_in_both_directions_unchanged(shared):
    data = os.urandom(1 << 20)
    done = shared.run(*BARE, "-i", "busybox", "cat", stdin=data)
    assert (done.returncode, done.stdout == data) == (0, True)


def test_the_process_may_end_without_reading_its_input(shared):
    assert shared.run(*BARE, "-i", "busybox", "true", stdin=bytes(1 << 20)).returncode == 0


def test_a_reader_that_goes_away_ends_the_command_silently(shared):
    script = "hull run --name pipe --network none busybox yes | head -n 1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", script], env=shared.env, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"y\n", b"")
    shared("rm", "-f", "pipe")


def test_flags_reach_the_container(shared):
    shown = shared.run(
        *(*BARE, "-h", "box", "-u", "1000:1000", "-w", "/tmp", "-e", "A=1", "-e", "OWN", "--tmpfs", "/t:size=1m"),
        *("-m", "64M", "--pids-limit", "50", "--cap-drop", "ALL", "--read-only", "busybox"),
        *(
            "sh",
            "-c",
            "hostname; id -u; pwd; echo $A $OWN; grep CapEff /proc/self/status; touch /x; grep ' /t ' /proc/mounts",
        ),
        env={"OWN": "mine"},
    )
    lines = shown.stdout.decode().splitlines()
    assert lines[:5] == ["box", "1000", "/tmp", "1 mine", "CapEff:\t0000000000000000"]
    assert "size=1024k" in lines[5]
    assert b"Read-only file system" in shown.stderr


def test_the_id_file_holds_the_id_and_must_not_exist(shared, tmp_path):
    path = tmp_path / "id"
    container = shared("create", "--cidfile", str(path), "busybox").strip()
    assert path.read_text() == container
    assert f"--cidfile: {path} exists" in shared.fails(1, "create", "--cidfile", str(path), "busybox")
    shared("rm", container)


def test_no_id_file_remains_of_a_container_that_could_not_be_made(shared, tmp_path):
    path = tmp_path / "id"
    shared.fails(1, "create", "--cidfile", str(path), "--pull", "never", "no-such-image")
    assert not path.exists()


def test_signals_are_passed_on(shared):
    script = "trap 'echo got term; exit 7' TERM; echo ready; while true; do sleep 0.05; done"
    running = shared.start(*BARE, "busybox", "sh", "-c", script, stdout=subprocess.PIPE)
    with running:
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.read() == b"got term\n"
    assert running.returncode == 7


def test_a_third_interrupt_ends_a_command_whose_container_ignores_it(shared):
    script = "trap '' INT; echo ready; while true; do sleep 0.05; done"
    running = shared.start("run", "--network", "none", "--name", "deaf", "busybox", "sh", "-c", script, stdout=-1)
    with running:
        assert running.stdout.readline() == b"ready\n"
        for _ in range(100):
            running.send_signal(signal.SIGINT)
            try:
                running.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                pass
    assert running.returncode == 130
    assert shared.status("deaf") == "running"
    shared("rm", "-f", "deaf")


def test_without_the_proxy_a_signal_ends_the_command_only(shared):
    running = shared.start(
        *("run", "--network", "none", "--sig-proxy=false", "--name", "own", "busybox"),
        *("sh", "-c", "echo ready; sleep 100"),
        stdout=subprocess.PIPE,
    )
    with running:
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
    assert running.returncode == 128 + 15
    assert shared.status("own") == "running"
    shared("rm", "-f", "own")


def test_a_pull_is_told_on_standard_error_only(hull):
    done = hull.run("run", "--rm", "--network", "none", "busybox", "echo", "hello")
    assert done.stdout == b"hello\n"
    lines = done.stderr.decode().splitlines()
    assert ": Pulling from " in lines[0] and lines[-1].endswith(": Pull complete")
    assert hull.run("run", "--rm", "--network", "none", "busybox", "true").stderr == b""


def test_inspect_shows_what_was_asked_for(shared):
    shared(
        *("create", "--name", "shown", "-p", "127.0.0.1:18080:80", "-l", "a=1", "--restart", "on-failure:2"),
        *("--health-cmd", "true", "-v", "/data", "busybox", "sleep", "1"),
    )
    facts = json.loads(shared("inspect", "shown"))[0]
    assert facts["Name"] == "/shown" and facts["Config"]["Labels"]["a"] == "1"
    assert facts["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert facts["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}]}
    assert facts["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    shared("rm", "-v", "shown")
    assert shared("volume", "ls", "-q") == ""


def test_only_root_may(shared):
    # without an id map the user inside is nobody, who may still read a checkout that only root may
    done = subprocess.run(["unshare", "--user", *shared.command, "ps"], env=shared.env, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"hull: only root can manage containers; use sudo\n"


def test_closed_standard_streams_do_no_harm(shared):
    script = "hull run --rm -i --network none busybox sh -c 'cat; echo end' <&-; hull ps >&-; hull ps -q 2>&-"
    assert shared.shell(script) == "end\n"


def test_a_full_disk_behind_standard_output_is_told(shared):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*shared.command, "ps"], env=shared.env, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"hull: ps: no space left on device\n")
