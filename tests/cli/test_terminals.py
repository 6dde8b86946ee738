# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`run -it`, `exec -it`, `attach` and `start -ai` at a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.cli.conftest import wait_until

CTRL_P, CTRL_Q = b"\x10", b"\x11"
BARE = ("run", "-it", "--network", "none")


@pytest.fixture
def box(shared):
    """A container with a terminal and a shell, running in the background."""
    shared("run", "-dit", "--network", "none", "--name", "box", "busybox", "sh")
    yield shared
    shared("rm", "-f", "box")


def test_every_key_reaches_the_container(shared):
    with shared.terminal(*BARE, "--rm", "busybox", "sh") as terminal:
        terminal.wait_for("# ")
        assert terminal.is_raw()
        terminal.type("sh -c \"echo sta''rted; sleep 100\"\r")
        terminal.wait_for("started\r\n")
        terminal.type(b"\x03")
        terminal.wait_for("# ")
        terminal.type("echo $?\r")
        terminal.wait_for("130\r\n")
        terminal.wait_for("# ")  # before its prompt the shell lets the terminal edit lines: the key would be eaten
        terminal.type(b"\x04")
        assert terminal.exit_code() == 0
        assert terminal.attributes() == terminal.before


def test_the_size_of_the_window_follows(shared):
    with shared.terminal(*BARE, "--rm", "busybox", "sh", rows=40, columns=100) as terminal:
        terminal.wait_for("# ")
        terminal.type("stty size\r")
        terminal.wait_for("40 100\r\n")
        terminal.resize(33, 111)
        terminal.type("while [ \"$(stty size)\" != '33 111' ]; do :; done; echo resi''zed\r")
        terminal.wait_for("resized\r\n")
        terminal.type("exit\r")
        assert terminal.exit_code() == 0


def test_detaching_leaves_the_container_and_restores_the_terminal(shared):
    with shared.terminal(*BARE, "--name", "left", "busybox", "sh") as terminal:
        terminal.wait_for("# ")
        terminal.type(b"echo a" + CTRL_P)
        terminal.wait_for("echo a")
        terminal.seen = b""
        terminal.type(CTRL_Q)
        assert terminal.exit_code() == 0
        assert terminal.attributes() == terminal.before
        assert terminal.seen == b""
    assert shared.status("left") == "running"
    shared("rm", "-f", "left")


def test_attached_again_the_session_goes_on(box):
    for number in (1, 2):
        with box.terminal("attach", "box") as terminal:
            terminal.wait_until_raw()
            terminal.type(f"echo $((20 + {number}))\r")
            terminal.wait_for(f"\r\n2{number}\r\n")
            terminal.type(CTRL_P + CTRL_Q)
            assert terminal.exit_code() == 0
    assert box.status("box") == "running"


def test_other_keys_detach_where_they_are_asked_for(box):
    with box.terminal("attach", "--detach-keys", "ctrl-x,x", "box") as terminal:
        terminal.wait_until_raw()
        terminal.type(CTRL_P + CTRL_Q + b"echo here\r")
        terminal.wait_for("\r\nhere\r\n")
        terminal.type(b"\x18x")
        assert terminal.exit_code() == 0


def test_the_end_of_the_container_ends_attach_with_its_code(box):
    with box.terminal("attach", "box") as terminal:
        terminal.wait_until_raw()
        terminal.type("exit 9\r")
        assert terminal.exit_code() == 9
        assert terminal.attributes() == terminal.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_command_restores_the_terminal_and_leaves_the_container(box, number):
    with box.terminal("attach", "box") as terminal:
        terminal.wait_until_raw()
        os.kill(terminal.pid, number)
        assert terminal.exit_code() == 128 + number
        assert terminal.attributes() == terminal.before
    assert box.status("box") == "running"


def test_a_closed_window_ends_the_command_and_leaves_the_container(box):
    with box.terminal("attach", "box") as terminal:
        terminal.wait_until_raw()
        terminal.hang_up()
        terminal.exit_code()
    assert box.status("box") == "running"


def test_exec_with_a_terminal_of_its_own(box):
    with box.terminal("exec", "-it", "-e", "A=from exec", "-w", "/tmp", "box", "sh", rows=30, columns=90) as terminal:
        terminal.wait_for("# ")
        terminal.type("tty; pwd; echo $A; stty size\r")
        terminal.wait_for("/dev/pts/1\r\n/tmp\r\nfrom exec\r\n30 90\r\n")
        terminal.type("exit 3\r")
        assert terminal.exit_code() == 3
        assert terminal.attributes() == terminal.before


def test_detaching_from_exec_leaves_its_process(box):
    with box.terminal("exec", "-it", "box", "sh") as terminal:
        terminal.wait_for("# ")
        terminal.type("while true; do sleep 1; done\r")
        terminal.wait_for("done\r\n")
        terminal.type(CTRL_P + CTRL_Q)
        assert terminal.exit_code() == 0
    assert "sh" in box("exec", "box", "ps").split("sh", 1)[1]


def test_start_with_a_terminal(box):
    box("stop", "-t", "0", "box")
    with box.terminal("start", "-ai", "box") as terminal:
        terminal.wait_for("# ")
        terminal.type("exit 4\r")
        assert terminal.exit_code() == 4


def test_a_terminal_without_input_shows_output_and_stays_as_it_is(shared):
    with shared.terminal("run", "-t", "--rm", "--network", "none", "busybox", "sh", "-c", "tty; stty size") as terminal:
        terminal.wait_for("/dev/pts/0")
        terminal.wait_for("24 80")
        assert terminal.attributes() == terminal.before
        assert terminal.exit_code() == 0


def test_a_container_with_a_terminal_can_write_into_a_pipe(shared):
    assert shared("run", "-t", "--rm", "--network", "none", "busybox", "sh", "-c", "echo a; echo b") == "a\r\nb\r\n"


def test_exec_streams_and_exit_codes_without_a_terminal(box):
    done = box.run("exec", "-i", "box", "sh", "-c", "cat; echo err >&2; exit 6", stdin=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (6, b"in", b"err\n")
    assert box.run("exec", "box", "/nowhere").returncode == 127
    assert box.run("exec", "box", "/etc/passwd").returncode == 126
    assert box.run("exec", "-d", "box", "touch", "/made").returncode == 0
    wait_until(lambda: box.run("exec", "box", "test", "-e", "/made").returncode == 0, "the file")


def test_exec_needs_a_running_container(shared):
    shared("create", "--name", "idle", "busybox")
    assert "it is not running; start it first" in shared.fails(125, "exec", "idle", "true")
    assert "it is not running; start it first" in shared.fails(1, "attach", "idle")
    shared("rm", "idle")


def test_attach_without_a_terminal_passes_signals_on(shared):
    script = "trap 'echo bye; exit 3' USR1; while true; do sleep 0.05; echo tick; done"
    shared("run", "-d", "--network", "none", "--name", "ticking", "busybox", "sh", "-c", script)
    with shared.start("attach", "ticking", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as attached:
        assert attached.stdout.readline() == b"tick\n"
        attached.send_signal(signal.SIGUSR1)
        assert attached.stdout.read().endswith(b"bye\n")
    assert attached.returncode == 3
    shared("rm", "ticking")
