# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Between the user's terminal or pipes and a container's streams, until the process ends or the user detaches.

One poll loop: what the container writes, what is typed, signals, the size of the window. No more is read from the user
while the session has input that the container did not take, and nothing here waits for that: a container that does not
read never keeps its output from the user.
"""

from __future__ import annotations

import os
from select import POLLIN, POLLOUT, poll

from .._base.errors import HullError
from .._base.values import Value
from .detach_keys import DetachKeys
from .printing import STDERR, STDIN, STDOUT, put_error, write_all
from .terminal import ENDING, SIGHUP, SIGINT, SIGTERM, SIGWINCH, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._runtime.session import Frame, Session
    from .terminal import SignalPipe

_BLOCK = 64 * 1024
_PATIENCE = 3  # so many SIGINT or SIGTERM end the command line, whatever the container does


class Streams(Value):
    """How a user is connected. `proxy` gets the number of each signal that is to reach the container."""

    stdin: bool
    tty: bool
    keys: bytes = b""
    proxy: Callable[[int], None] | None = None


class Ending(Value):
    """Why the relay ended: `exit` (with the process's exit code), `detached` or `signal` (with its number)."""

    why: str
    code: int = 0


class Relay:
    """One session being relayed. Made for one call of `run`."""

    def __init__(self, session: Session, signals: SignalPipe, streams: Streams) -> None:
        self._session = session
        self._signals = signals
        self._streams = streams
        self._keys = DetachKeys(streams.keys if streams.tty else b"")
        self._reading = streams.stdin
        self._leaving = False
        self._impatience = 0
        self._ending: Ending | None = None

    def run(self) -> Ending:
        """Relay until the end. The session stays open; its owner closes it. Raises HullError where the monitor fails or
        goes away, BrokenPipeError where the reader of standard output does.
        """
        self._resize()
        while self._ending is None:
            while self._session.ready() and self._ending is None:
                self._on_frame()
            if self._ending is None:
                self._wait()
        return self._ending

    def _wait(self) -> None:
        """Wait for something to happen, and do it."""
        session_fd, signals_fd = self._session.fileno(), self._signals.fileno()
        blocked = self._session.wants_write
        waiter = poll()
        waiter.register(session_fd, POLLIN | (POLLOUT if blocked else 0))
        waiter.register(signals_fd, POLLIN)
        if self._reading and not blocked:
            waiter.register(STDIN, POLLIN)
        for fd, events in waiter.poll():
            if fd == signals_fd:
                self._on_signals()
            elif fd == STDIN:
                self._on_stdin()
            elif events & ~POLLOUT:
                self._on_frame()
            else:
                self._session.flush()

    def _on_frame(self) -> None:
        try:
            frame = self._session.read(0)
        except TimeoutError:
            return
        if frame is None or frame.kind == "error":
            message = frame.data.decode("utf-8", "replace") if frame else "the connection to the monitor was lost"
            raise HullError(message)
        if frame.kind == "exit":
            self._ending = Ending("exit", int(frame.data))
        elif frame.kind == "detached":
            self._ending = Ending("detached")
        elif not self._leaving:
            self._show(frame)

    def _show(self, frame: Frame) -> None:
        if frame.kind == "stdout":
            write_all(STDOUT, frame.data)
        elif frame.kind == "stderr":
            write_all(STDERR, frame.data)
        elif frame.kind == "lost":
            put_error(f"hull: {int(frame.data)} bytes of output were dropped: they were read too slowly; see hull logs")

    def _on_stdin(self) -> None:
        try:
            typed = os.read(STDIN, _BLOCK)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            typed = b""
        if not typed:
            self._on_end_of_input()
            return
        data, detached = self._keys.feed(typed)
        if data:
            self._session.write_stdin(data)
        if detached:
            self._reading, self._leaving = False, True
            self._session.detach()

    def _on_end_of_input(self) -> None:
        """The end of a pipe ends the input; a terminal that has gone leaves the container, as a hang-up does."""
        self._reading = False
        if self._streams.tty:
            self._ending = Ending("signal", SIGHUP)
        else:
            self._session.close_stdin()

    def _on_signals(self) -> None:
        for number in self._signals.read():
            if number == SIGWINCH:
                self._resize()
            elif self._streams.proxy is not None:
                self._pass_on(number)
            elif number in ENDING:
                self._ending = Ending("signal", number)

    def _pass_on(self, number: int) -> None:
        self._impatience += number in (SIGINT, SIGTERM)
        if self._impatience >= _PATIENCE:
            self._ending = Ending("signal", number)
            return
        assert self._streams.proxy is not None
        try:
            self._streams.proxy(number)
        except HullError:  # it has just ended: its exit is on the way
            pass

    def _resize(self) -> None:
        if self._streams.tty:
            size = window_size(STDIN if self._streams.stdin else STDOUT)
            if size.rows and size.columns:
                self._session.resize(size.rows, size.columns)
