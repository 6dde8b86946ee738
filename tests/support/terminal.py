# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A user at a terminal: a program on a real pseudo-terminal, keys typed, the screen's bytes waited for."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from typing import Any

DEADLINE_S = 20


class Terminal:
    """A program that runs on a pseudo-terminal of its own. Close it at the end; `with` does."""

    def __init__(
        self, command: Sequence[str], *, env: dict[str, str] | None = None, rows: int = 24, columns: int = 80
    ) -> None:
        gate, opened = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.close(opened)
            os.read(gate, 1)
            os.execvpe(command[0], list(command), {**os.environ, **(env or {})})
        os.close(gate)
        self.resize(rows, columns)
        self.before = self.attributes()
        os.close(opened)
        self.seen = b""
        self._exit_code: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def resize(self, rows: int, columns: int) -> None:
        """As if the window were dragged."""
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[Any]:
        """The terminal's attributes."""
        return termios.tcgetattr(self.fd)

    def is_raw(self) -> bool:
        """Whether the program has taken line editing, echo and keyboard signals off."""
        flags: int = self.attributes()[3]
        return flags & (termios.ICANON | termios.ECHO | termios.ISIG) == 0

    def type(self, keys: bytes | str) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode() if isinstance(keys, str) else keys)

    def wait_for(self, text: bytes | str) -> bytes:
        """Wait until this is on the screen; what was there up to it, and forget that."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + DEADLINE_S
        while wanted not in self.seen:
            assert time.monotonic() < deadline, f"{wanted!r} did not come, only {self.seen!r}"
            if not self._read(0.1) and self._has_ended():
                self._read(0)
                assert wanted in self.seen, f"ended with {self._exit_code} without {wanted!r}: {self.seen!r}"
        before, _, self.seen = self.seen.partition(wanted)
        return before

    def wait_until_raw(self) -> None:
        """Wait until the program has the terminal to itself."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.is_raw():
            assert time.monotonic() < deadline and not self._has_ended(), self.seen
            self._read(0.01)

    def _read(self, timeout_s: float) -> bool:
        if self.fd < 0:
            time.sleep(timeout_s)
            return False
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return False
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: the last program on it has gone
            piece = b""
        self.seen += piece
        return bool(piece)

    def _has_ended(self) -> bool:
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code is not None

    def exit_code(self) -> int:
        """Wait for the end of the program; its exit code, minus a signal's number. The screen is read meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while not self._has_ended():
            assert time.monotonic() < deadline, self.seen
            self._read(0.02)
        while self._read(0):
            pass
        assert self._exit_code is not None
        return self._exit_code

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        """End the program if it still runs."""
        if not self._has_ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.fd >= 0:
            os.close(self.fd)
