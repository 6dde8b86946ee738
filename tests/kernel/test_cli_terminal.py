# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The terminal of a user, a real pseudo-terminal here: raw while a container has it, as before afterwards."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.support.terminal import Terminal

PLUGINS = os.path.join(os.path.dirname(__file__), "..", "..", "plugins")

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from module_utils._cli.terminal import PROXIED, SIGWINCH, RawTerminal, SignalPipe, window_size
from select import POLLIN, poll
with SignalPipe((*PROXIED, SIGWINCH)) as signals:
    try:
        with RawTerminal(0):
            os.write(1, b"ready\\n")
            waiter = poll()
            waiter.register(0, POLLIN)
            waiter.register(signals.fileno(), POLLIN)
            while True:
                for fd, _ in waiter.poll():
                    if fd == 0:
                        typed = os.read(0, 100)
                        os.write(1, b"typed " + typed.hex().encode() + b"\\n")
                        if typed == b"e":
                            raise RuntimeError("asked for")
                        if typed == b"q":
                            sys.exit(3)
                    for number in signals.read() if fd != 0 else ():
                        if number == SIGWINCH:
                            size = window_size(0)
                            os.write(1, f"size {size.rows} {size.columns}\\n".encode())
                        else:
                            os.write(1, f"signal {number}\\n".encode())
                            if number != 10:
                                sys.exit(128 + number)
    finally:
        os.write(1, b"left\\n")
"""


@pytest.fixture
def terminal():
    with Terminal([sys.executable, "-I", "-S", "-c", PROGRAM, PLUGINS]) as made:
        made.wait_for("ready\n")
        yield made


def test_keys_arrive_one_by_one_and_unchanged(terminal):
    assert terminal.is_raw()
    terminal.type(b"\x03")
    terminal.wait_for("typed 03\n")
    terminal.type(b"\r")
    terminal.wait_for("typed 0d\n")


@pytest.mark.parametrize(("keys", "code"), [("q", 3), ("e", 1)])
def test_the_terminal_is_restored_after_an_exit_and_after_an_error(terminal, keys, code):
    terminal.type(keys)
    terminal.wait_for("left")
    assert terminal.attributes() == terminal.before
    assert terminal.exit_code() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_restored_after_a_signal(terminal, number):
    os.kill(terminal.pid, number)
    terminal.wait_for("left")
    assert terminal.attributes() == terminal.before
    assert terminal.exit_code() == 128 + number


def test_a_new_window_size_is_seen(terminal):
    terminal.resize(33, 111)
    terminal.wait_for("size 33 111\n")


def test_signals_are_seen_and_none_is_lost(terminal):
    for _ in range(3):
        os.kill(terminal.pid, signal.SIGUSR1)
        terminal.wait_for("signal 10\n")


def test_a_terminal_that_hangs_up_ends_the_program(terminal):
    terminal.hang_up()
    assert terminal.exit_code() != 0
