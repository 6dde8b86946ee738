# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The terminal of a user, a real pseudo-terminal here: raw while a container has it, as before afterwards."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from fcntl import ioctl

import pytest

PLUGINS = os.path.join(os.path.dirname(__file__), "..", "..", "plugins")
DEADLINE_S = 10

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


class Session:
    """The program above on a pseudo-terminal."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", PROGRAM, PLUGINS])
        self.seen = b""

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 4096)

    def exit_code(self) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def local_flags(self) -> int:
        flags: int = termios.tcgetattr(self.fd)[3]
        return flags

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def session():
    made = Session()
    before = termios.tcgetattr(made.fd)
    yield made, before
    made.close()


COOKED = termios.ICANON | termios.ECHO | termios.ISIG


def test_keys_arrive_one_by_one_and_unchanged(session):
    running, _ = session
    running.wait_for(b"ready\n")
    assert running.local_flags() & COOKED == 0
    os.write(running.fd, b"\x03")
    running.wait_for(b"typed 03\n")
    os.write(running.fd, b"\r")
    running.wait_for(b"typed 0d\n")


@pytest.mark.parametrize(("keys", "code"), [(b"q", 3), (b"e", 1)])
def test_the_terminal_is_restored_after_an_exit_and_after_an_error(session, keys, code):
    running, before = session
    running.wait_for(b"ready\n")
    os.write(running.fd, keys)
    running.wait_for(b"left")
    assert termios.tcgetattr(running.fd) == before
    assert running.exit_code() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_restored_after_a_signal(session, number):
    running, before = session
    running.wait_for(b"ready\n")
    os.kill(running.pid, number)
    running.wait_for(b"left")
    assert termios.tcgetattr(running.fd) == before
    assert running.exit_code() == 128 + number


def test_a_new_window_size_is_seen(session):
    running, _ = session
    running.wait_for(b"ready\n")
    ioctl(running.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    running.wait_for(b"size 33 111\n")


def test_signals_are_seen_in_order_and_none_is_lost(session):
    running, _ = session
    running.wait_for(b"ready\n")
    for _ in range(3):
        os.kill(running.pid, signal.SIGUSR1)
        running.wait_for(b"signal 10\n")
        running.seen = b""


def test_a_terminal_that_hangs_up_ends_the_program(session):
    running, _ = session
    running.wait_for(b"ready\n")
    os.close(running.fd)
    running.fd = os.open("/dev/null", os.O_RDONLY)
    assert running.exit_code() != 0
