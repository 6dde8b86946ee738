# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The streams of one running process: its output to log and clients, the clients' input to it, never blocking."""

from __future__ import annotations

import os
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from time import monotonic_ns

from .._sys.heap import malloc_trim
from . import protocol
from .clients import Clients
from .console import set_size
from .event_loop import EventLoop
from .wiring import PIPE_BYTES, Wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .container_log import ContainerLog

_READ = 65536
_MUCH = 16384  # a flood of such pieces leaves megabytes of freed memory behind
_REST_NS = 10**9
_STDIN_LIMIT = 256 * 1024
_HOLD_UP_CHECK_NS = 50_000_000
_END_OF_INPUT = b"\x04"
_FRAMES = {"stdout": protocol.STDOUT, "stderr": protocol.STDERR}


class Streams:
    """Serves the parent's ends of a Wiring. The log gets every piece of output; clients get it as frames."""

    def __init__(self, loop: EventLoop, clients: Clients, wiring: Wiring, log: ContainerLog | None = None) -> None:
        self._loop = loop
        self._clients = clients
        self._wiring = wiring
        self._log = log
        self._pending = bytearray()
        self._close_stdin = False
        self._held_up = False
        self._outputs: dict[int, str] = {}
        if wiring.terminal >= 0:
            os.set_blocking(wiring.terminal, False)
            self._outputs[wiring.terminal] = "stdout"
        else:
            ends = ((wiring.stdout, "stdout"), (wiring.stderr, "stderr"))
            self._outputs = {fd: name for fd, name in ends if fd >= 0}
        for fd in self._outputs:
            self._watch(fd)

    @property
    def open(self) -> bool:
        """Whether more output may come."""
        return bool(self._outputs)

    def _watch(self, fd: int) -> None:
        writing = POLLOUT if fd == self._wiring.terminal and self._pending else 0
        reading = 0 if self._held_up or fd not in self._outputs else POLLIN
        if reading or writing:
            self._loop.watch(fd, lambda events: self._serve(fd, events), reading | writing)
        else:
            self._loop.forget(fd)

    def _serve(self, fd: int, events: int) -> None:
        if events & POLLOUT:
            self._write_stdin()
        if events & (POLLIN | POLLHUP | POLLERR):
            self._read(fd)

    def _read(self, fd: int) -> int:
        """Take one piece of output. Its length: 0 where there is none now, or no more."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the last process let go of the terminal
            data = b""
        if not data:
            self._finish_output(fd)
            return 0
        stream = self._outputs[fd]
        if len(data) >= _MUCH:
            self._loop.set_timer("heap", _REST_NS, malloc_trim)
        if self._log is not None:
            self._log.write(stream, data)
        self._clients.broadcast(_FRAMES[stream], data)
        self._check_hold_up()
        return len(data)

    def _finish_output(self, fd: int) -> None:
        self._outputs.pop(fd, None)
        self._loop.forget(fd)

    def _check_hold_up(self) -> None:
        held_up = self._clients.hold_up() or (self._log is not None and self._log.holds_up())
        if held_up:
            self._loop.set_timer("hold-up", _HOLD_UP_CHECK_NS, self._check_hold_up)
        if held_up != self._held_up:
            self._held_up = held_up
            for fd in list(self._outputs):
                self._watch(fd)

    def feed(self, data: bytes) -> None:
        """Input for the process; dropped where it takes none."""
        fd = self._input_fd()
        if fd >= 0 and not self._close_stdin:
            self._pending += data
            self._write_stdin()

    def close_stdin(self) -> None:
        """The end of the input, once what is pending has been written. On a terminal that is the character Ctrl-D."""
        if self._wiring.terminal >= 0:
            self.feed(_END_OF_INPUT)
        elif self._wiring.stdin >= 0:
            self._close_stdin = True
            self._write_stdin()

    def _input_fd(self) -> int:
        return self._wiring.terminal if self._wiring.terminal >= 0 else self._wiring.stdin

    def _write_stdin(self) -> None:
        fd = self._input_fd()
        try:
            while self._pending:
                written = os.write(fd, bytes(self._pending[:_READ]))
                del self._pending[:written]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: nobody reads any more
            self._pending.clear()
            self._close_stdin = True
        self._clients.pause_reading(len(self._pending) > _STDIN_LIMIT)
        if fd == self._wiring.terminal:
            self._watch(fd)
        elif self._pending:
            self._loop.watch(fd, self._serve_stdin, POLLOUT)
        else:
            self._loop.forget(fd)
            if self._close_stdin:
                os.close(fd)
                self._wiring.stdin = -1

    def _serve_stdin(self, _events: int) -> None:
        self._write_stdin()

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; nothing happens without a terminal."""
        if self._wiring.terminal >= 0:
            try:
                set_size(self._wiring.terminal, rows, columns)
            except OSError:
                pass

    def drain(self, deadline_ns: int) -> None:
        """After the process has ended: take what is left in the pipes, waiting for slow clients as always.

        No more than can be left: a process elsewhere that was handed a pipe's end may go on writing for ever.
        """
        for fd in list(self._outputs):
            left = PIPE_BYTES
            while left > 0 and (length := self._read(fd)):
                left -= length
                while self._held_up and monotonic_ns() < deadline_ns:
                    self._loop.run_once(50)

    def close(self) -> None:
        """Watch nothing any longer; the descriptors stay the Wiring's."""
        self._loop.cancel_timer("hold-up")
        for fd in (*self._outputs, self._wiring.stdin):
            self._loop.forget(fd)
        self._outputs = {}
