# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Messages to a receiver of logs (journald, syslog) over a socket that makes nobody wait.

What the receiver does not take at once is kept, up to a bound, and sent when it does; beyond the bound it is dropped
and counted. A receiver that is not there, or goes, is looked for again, after longer and longer pauses.
"""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack
from errno import EINPROGRESS, EMSGSIZE, EPROTOTYPE
from os import close, strerror
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from time import monotonic_ns

from .._sys.file_calls import sealed_memory_file
from .event_loop import EventLoop

_OVERHEAD = 64  # of a message that is kept
_FIRST_PAUSE_NS = 100_000_000
_LONGEST_PAUSE_NS = 30 * 10**9
_TIMER = "log-receiver"
_GONE = POLLERR | POLLHUP
_RECEIVE = 4096


class Forwarder:
    """One receiver. `address` as LogPlan's; `by_file` sends what is too large for a datagram as a memory file.

    `limit` is of the bytes that are kept, and may be changed.
    """

    def __init__(self, loop: EventLoop, address: str, limit: int, *, by_file: bool = False) -> None:
        self._loop = loop
        self._address = address
        self._by_file = by_file
        self.limit = limit
        self._socket: socket | None = None
        self._is_stream = False
        self._is_torn = False  # the first message of the queue has gone in part
        self._connecting = False
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._pause_ns = _FIRST_PAUSE_NS
        self.trouble = ""
        self._connect()

    @property
    def full(self) -> bool:
        """Whether the next message would be dropped."""
        return self._queued >= self.limit

    def send(self, message: bytes) -> bool:
        """Send or keep it. False where it is dropped."""
        if self.full:
            return False
        self._queue.append(message)
        self._queued += len(message) + _OVERHEAD
        if len(self._queue) == 1:
            self.flush()
        return True

    def flush(self) -> None:
        """Send what the receiver takes now, and have the rest sent when it takes more."""
        if self._socket is None or self._connecting:
            return
        try:
            while self._queue:
                self._send_first(self._socket)
            self._pause_ns = _FIRST_PAUSE_NS
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)
            return
        self._watch(self._socket)

    def _watch(self, receiver: socket) -> None:
        """A stream's end is seen by reading; a datagram socket's when something is sent."""
        writing = POLLOUT if self._queue or self._connecting else 0
        self._loop.watch(receiver.fileno(), self._serve, writing | (POLLIN if self._is_stream else 0))

    def _send_first(self, receiver: socket) -> None:
        message = self._queue[0]
        if self._is_stream:
            sent = receiver.send(message + b"\n", MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent <= len(message):  # the newline has not gone
                self._queue[0] = message[sent:]
                self._queued -= sent
                self._is_torn = True
                raise BlockingIOError
            self._is_torn = False
        else:
            try:
                receiver.send(message, MSG_DONTWAIT | MSG_NOSIGNAL)
            except OSError as error:
                if error.errno != EMSGSIZE or not self._by_file:
                    raise
                _send_file(receiver, message)
        self._queue.popleft()
        self._queued -= len(message) + _OVERHEAD

    def _serve(self, events: int) -> None:
        assert self._socket is not None
        try:
            number = self._socket.getsockopt(SOL_SOCKET, SO_ERROR) if events & _GONE or self._connecting else 0
            if number or events & _GONE or (events & POLLIN and not self._socket.recv(_RECEIVE, MSG_DONTWAIT)):
                raise OSError(number, strerror(number) if number else "the receiver closed the connection")
        except OSError as error:
            self._lose(error)
            return
        self._connecting = False
        self.flush()

    def _lose(self, error: OSError) -> None:
        """The receiver has gone: look for it again after a pause, longer each time that it is not there."""
        self.trouble = error.strerror or str(error)
        self._disconnect()
        if self._is_torn:
            self._queued -= len(self._queue.popleft()) + _OVERHEAD
            self._is_torn = False
        self._loop.set_timer(_TIMER, self._pause_ns, self._connect)
        self._pause_ns = min(self._pause_ns * 2, _LONGEST_PAUSE_NS)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._connecting = False

    def _connect(self) -> None:
        kind, _, place = self._address.partition("://")
        try:
            self._connect_to(kind, place)
        except OSError as error:
            if error.errno == EPROTOTYPE and kind == "unixgram":  # the local daemon listens for a stream
                self._address = f"unix://{place}"
                self._disconnect()
                self._connect()
                return
            self._lose(error)
            return
        self.trouble = ""
        self.flush()

    def _connect_to(self, kind: str, place: str) -> None:
        self._is_stream = kind in ("unix", "tcp")
        style = (SOCK_STREAM if self._is_stream else SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC
        if kind in ("unix", "unixgram"):
            self._socket = socket(AF_UNIX, style)
            self._socket.connect(place)
        else:
            host, _, port = place.rpartition(":")
            family = AF_INET6 if ":" in host else AF_INET
            self._socket = socket(family, style)
            number = self._socket.connect_ex((host.strip("[]"), int(port)))
            self._connecting = number == EINPROGRESS
            if number and not self._connecting:
                raise OSError(number, strerror(number))
        self._watch(self._socket)

    def drain(self, deadline_ns: int) -> None:
        """Wait until a receiver that is there has everything, to the deadline (monotonic) at most."""
        while self._queue and self._socket is not None and monotonic_ns() < deadline_ns:
            self._loop.run_once(50)

    def close(self) -> int:
        """Send nothing any more. How many bytes were not sent."""
        self._loop.cancel_timer(_TIMER)
        self._disconnect()
        left = sum(map(len, self._queue))
        self._queue.clear()
        return left


def _send_file(receiver: socket, message: bytes) -> None:
    """As journald takes what is too large: an empty datagram with a sealed memory file. Source: Native Journal
    Protocol, systemd's documentation."""
    fd = sealed_memory_file("journal-entry", message)
    try:
        receiver.sendmsg([b""], [(SOL_SOCKET, SCM_RIGHTS, pack("i", fd))], MSG_DONTWAIT | MSG_NOSIGNAL)
    finally:
        close(fd)
