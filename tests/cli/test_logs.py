# SPDX-License-Identifier: GPL-3.0-or-later
"""`logs` and the log drivers, as they are typed; an update that can't be recorded."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Hull, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens as a syslog daemon does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"{tmp_path}/log")
        listening.settimeout(20)
        yield listening


def run(shared: Hull, name: str, *words: str) -> None:
    shared("run", "--network", "none", "--name", name, *words)


def test_s41_logs_are_what_was_written_byte_by_byte(shared: Hull) -> None:
    script = (
        r"""printf '\033[31m\0\377\303\n{"stream":"stderr","log":"forged"}\n{{ 7*7 }}\\n\r'; head -c 40000 /dev/zero"""
    )
    run(shared, "binary", "-d", "busybox", "sh", "-c", script)
    shared("wait", "binary")
    expected = b'\x1b[31m\0\xff\xc3\n{"stream":"stderr","log":"forged"}\n{{ 7*7 }}\\n\r' + bytes(40000)
    done = shared.run("logs", "binary")
    assert (done.stdout, done.stderr) == (expected, b"")
    stamped = shared.run("logs", "-t", "binary").stdout  # a line of many records has one stamp
    assert len(stamped) == len(expected) + 3 * 31
    shared("rm", "binary")


def test_syslog_by_its_options(shared: Hull, receiver: socket.socket) -> None:
    place = receiver.getsockname()
    options = (f"syslog-address=unixgram://{place}", "syslog-facility=local0", "tag={{.Name}}/{{.ImageName}}")
    flags = [word for option in options for word in ("--log-opt", option)]
    run(shared, "told", "--log-driver", "syslog", *flags, "busybox", "sh", "-c", "echo hello; echo bad >&2")
    lines = {receiver.recv(65536) for _ in range(2)}
    assert {line[:5] for line in lines} == {b"<134>", b"<131>"}
    assert all(b" told/busybox[" in line for line in lines)
    assert {line.rpartition(b" ")[2] for line in lines} == {b"hello", b"bad"}
    done = shared.run("logs", "told")
    assert (done.stdout, done.stderr) == (b"hello\n", b"bad\n")
    config = json.loads(shared("inspect", "-f", "{{json .HostConfig.LogConfig}}", "told"))
    assert config["Type"] == "syslog" and config["Config"]["syslog-facility"] == "local0"
    shared("rm", "told")


def test_a_receiver_that_is_not_there_is_a_warning_of_the_start(shared: Hull, tmp_path: Path) -> None:
    flags = ("--log-driver", "syslog", "--log-opt", f"syslog-address=unixgram://{tmp_path}/nobody")
    done = shared.run("run", "-d", "--network", "none", "--name", "untold", *flags, "busybox", "echo", "hello")
    assert done.returncode == 0
    assert b"nobody: No such file" in done.stderr and b"hull logs has all lines" in done.stderr
    assert shared("wait", "untold").strip() == "0" and shared("logs", "untold") == "hello\n"
    shared("rm", "untold")


def test_no_log_at_all(shared: Hull) -> None:
    run(shared, "silent", "--log-driver", "none", "busybox", "echo", "hello")
    assert "its log_driver is none" in shared.fails(1, "logs", "silent")
    assert not [name for name in os.listdir(shared.paths.container(identify(shared, "silent"))) if "log" in name]
    shared("rm", "silent")


def identify(shared: Hull, name: str) -> str:
    return shared("inspect", "-f", "{{.Id}}", name).strip()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--log-driver", "fluentd"), "--log-driver"),
        (("--log-opt", "max-size=x"), "--log-opt"),
        (("--log-driver", "syslog", "--log-opt", "tag={{.Nope}}"), "tag"),
        (("--log-driver", "syslog", "--log-opt", "syslog-address=udp://127.0.0.1:nil"), "syslog-address"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(shared: Hull, flags: tuple[str, ...], message: str) -> None:
    assert message in shared.fails(1, "create", "--name", "wrong", *flags, "busybox")
    assert "no such container" in shared.fails(1, "inspect", "wrong")


def test_following_from_a_time_on_and_to_the_end(shared: Hull) -> None:
    script = "echo early; sleep 1.2; echo late; while [ ! -e /go ]; do sleep 0.02; done; echo last"
    run(shared, "timed", "-d", "busybox", "sh", "-c", script)
    with shared.start("logs", "-f", "--since", "0.6s", "timed", stdout=subprocess.PIPE) as following:
        wait_until(lambda: "late" in shared("logs", "timed"), "the second line")
        shared("exec", "timed", "touch", "/go")
        assert following.stdout is not None
        assert following.stdout.read().endswith(b"late\nlast\n")
    assert following.returncode == 0
    with shared.start("logs", "-f", "-n", "1", "--until", "0s", "timed", stdout=subprocess.PIPE) as following:
        assert following.stdout is not None and following.stdout.read() == b"last\n"
    shared("rm", "timed")


def test_an_update_that_can_not_be_recorded_is_undone_in_the_kernel(shared: Hull) -> None:
    run(shared, "kept", "-d", "--pids-limit", "50", "busybox", "sleep", "1000")
    pid = shared("inspect", "-f", "{{.State.Pid}}", "kept").strip()

    def limit() -> str:
        script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
        return shared("exec", "kept", "sh", "-c", script).strip()

    assert limit() == "50"
    (database,) = Path(shared.paths.root).glob("*.db")
    with sqlite3.connect(database) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON containers BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    try:
        assert shared.run("update", "--pids-limit", "60", "--restart", "always", "kept").returncode != 0
    finally:
        with sqlite3.connect(database) as connection:
            connection.execute("DROP TRIGGER refuse")
    assert limit() == "50"
    shared("update", "--pids-limit", "60", "kept")
    assert limit() == "60" and shared("inspect", "-f", "{{.State.Pid}}", "kept").strip() == pid
    shared("rm", "-f", "kept")
