# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Between the user's terminal or pipes and a container's streams, until the process ends or the user detaches.

One poll loop: what the container writes, what is typed, signals, the size of the window. What is typed goes out in
pieces that the socket takes without blocking, so a container that does not read never keeps its output from the user.
"""

from __future__ import annotations

import os
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

from .._base.errors import HullError
from .._base.values import Value
from .detach_keys import DetachKeys
from .printing import STDERR, STDIN, STDOUT, write_all
from .terminal import ENDING, SIGINT, SIGTERM, SIGWINCH, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._runtime.session import Session
    from .terminal import SignalPipe

_BLOCK = 64 * 1024
_PIECE = 16 * 1024
_PATIENCE = 3  # so many SIGINT or SIGTERM end the command line, whatever the container does


class Streams(Value):
    """How a user is connected. `proxy` gets the number of each signal that is to reach the container."""

    stdin: bool
    tty: bool
    keys: bytes = b""
    proxy: Callable[[int], None] | None = None
    stdout: bool = True


class Ending(Value):
    """Why the relay ended: `exit` (with the process's exit code), `detached`, `signal` (with its number) or `lost`."""

    why: str
    code: int = 0


class Relay:
    """One session being relayed. Made for one call of `run`."""

    def __init__(self, session: Session, signals: SignalPipe, streams: Streams) -> None:
        self._session = session
        self._signals = signals
        self._streams = streams
        self._keys = DetachKeys(streams.keys if streams.tty else b"")
        self._pending = b""
        self._reading = streams.stdin
        self._impatience = 0
        self._ending: Ending | None = None

    def run(self) -> Ending:
        """Relay until the end. The session stays open; its owner closes it. Raises BrokenPipeError where the reader
        of standard output went away.
        """
        self._resize()
        while self._ending is None:
            for fd, events in self._poll():
                if fd == self._session.fileno():
                    self._on_session(events)
                elif fd == self._signals.fileno():
                    self._on_signals()
                elif fd == STDIN and self._reading:
                    self._on_stdin()
                if self._ending is not None:
                    break
        return self._ending

    def _poll(self) -> list[tuple[int, int]]:
        waiter = poll()
        waiter.register(self._session.fileno(), POLLIN | (POLLOUT if self._pending else 0))
        waiter.register(self._signals.fileno(), POLLIN)
        if self._reading and not self._pending:
            waiter.register(STDIN, POLLIN)
        return waiter.poll()

    def _on_session(self, events: int) -> None:
        if events & (POLLIN | POLLHUP | POLLERR):
            self._read_frames()
        if events & POLLOUT and self._pending and self._ending is None:
            piece, self._pending = self._pending[:_PIECE], self._pending[_PIECE:]
            self._session.write_stdin(piece)

    def _read_frames(self) -> None:
        for frame in self._session.read_ready():
            if frame.kind == "stdout":
                if self._streams.stdout:
                    write_all(STDOUT, frame.data)
            elif frame.kind == "stderr":
                if self._streams.stdout:
                    write_all(STDERR, frame.data)
            elif frame.kind == "exit":
                self._ending = Ending("exit", int(frame.data))
            elif frame.kind == "detached":
                self._ending = Ending("detached")
            elif frame.kind == "error":
                raise HullError(frame.data.decode("utf-8", "replace"))
        if self._ending is None and self._session.is_closed:
            self._ending = Ending("lost")

    def _on_stdin(self) -> None:
        try:
            typed = os.read(STDIN, _BLOCK)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            typed = b""
        if not typed:
            self._reading = False
            self._session.close_stdin()
            return
        self._pending, detached = self._keys.feed(typed)
        if detached:
            self._detach()

    def _detach(self) -> None:
        """What was typed before the keys goes out; then the container is left alone."""
        if self._pending:
            self._session.write_stdin(self._pending)
            self._pending = b""
        self._ending = Ending("detached")

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
