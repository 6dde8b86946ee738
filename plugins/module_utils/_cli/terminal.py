# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The user's terminal while a container has it: raw mode that is always undone, its size, and signals as bytes.

Signals do not run handlers of ours at odd moments: each writes its number to a pipe that the caller polls, so a loop
sees a key, output, a new window size and a SIGTERM in the same place. Source: termios(3), tty_ioctl(2), signal(7).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself loads enum: 3 ms
import os
import termios
from _struct import unpack
from fcntl import ioctl

from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

SIGINT, SIGTERM, SIGHUP, SIGWINCH = _signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGWINCH

# What a user may send to the command line in order to reach the container. Not those that mean this process itself
# (CHLD, PIPE, WINCH, TTIN, TTOU), nor faults.
PROXIED = (
    _signal.SIGHUP,
    _signal.SIGINT,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
    _signal.SIGALRM,
    _signal.SIGTERM,
    _signal.SIGCONT,
    _signal.SIGTSTP,
)
ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


class WindowSize(Value):
    """Rows and columns; zeros where there is no terminal or it does not say."""

    rows: int = 0
    columns: int = 0


def window_size(fd: int) -> WindowSize:
    """The size of the terminal behind a descriptor."""
    try:
        answer = ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return WindowSize()
    rows, columns = unpack("=HHHH", answer)[:2]
    return WindowSize(rows, columns)


def _raw(attributes: list[Any]) -> list[Any]:
    """The attributes as cfmakeraw(3) makes them: every byte at once and unchanged, both ways."""
    raw = list(attributes)
    raw[_IFLAG] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[_OFLAG] &= ~termios.OPOST
    raw[_CFLAG] = raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[_CC] = list(raw[_CC])
    raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
    return raw


class RawTerminal:
    """A terminal in raw mode inside a `with`; left as it was found, whatever ends the block."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] = []

    def __enter__(self) -> RawTerminal:
        self._saved = termios.tcgetattr(self._fd)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, _raw(self._saved))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
        except termios.error:  # the terminal is gone: there is nothing to restore
            pass


def _ignore(_number: int, _frame: object) -> None:
    """A handler has to exist for the signal's number to be written to the pipe."""


class SignalPipe:
    """Signals as bytes on a descriptor, inside a `with`; what was set before is set again afterwards.

    A signal that was ignored (`nohup`, a background job of a script) stays ignored.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._before: dict[int, Any] = {}
        self._reader = self._writer = self._previous = -1

    def __enter__(self) -> SignalPipe:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                self._before[number] = _signal.signal(number, _ignore)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(self._previous)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader

    def read(self) -> bytes:
        """The numbers of the signals that came, in order; empty where none did."""
        try:
            return os.read(self._reader, 512)
        except BlockingIOError:
            return b""
