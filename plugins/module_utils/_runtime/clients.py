# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The connections that a monitor serves: their requests in, the container's streams out, each with a bounded buffer.

A client that reads slowly makes the container wait only as long as it makes progress; one that has not read anything
for two seconds while a megabyte waits is skipped from then on, and told how many bytes it missed once it reads again.
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, MSG_NOSIGNAL
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from sys import byteorder
from time import monotonic_ns

from .._base.errors import Damaged
from . import protocol
from .event_loop import EventLoop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    FrameHandler = Callable[["Client", int, bytes], None]

BUFFER_LIMIT = 1024 * 1024
STALL_NS = 2 * 10**9
_RECEIVE = 65536
_GONE = POLLERR | POLLHUP


class Client:
    """One connection. `attached` clients get the streams; `wants` tells what a waiting one has asked for."""

    def __init__(self, connection: socket, decoder: protocol.Decoder | None = None) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.decoder = decoder or protocol.Decoder()
        self.attached = False
        self.starting = False
        self.wants = ""
        self.open = True
        self.lost = 0
        self._out = bytearray()
        self._progress_ns = 0
        self._stalled = False

    def send(self, frame: bytes) -> None:
        """Send a control frame, buffered as far as the client does not read."""
        if self.open:
            self._queue(frame)

    def stream(self, frame: bytes, size: int) -> None:
        """Send output, unless the client is too slow for it."""
        if self._stalled and self._out:
            self.lost += size
            return
        self._stalled = False
        if self.lost:
            self._queue(protocol.encode(protocol.LOST, b"%d" % self.lost))
            self.lost = 0
        self._queue(frame)

    def _queue(self, frame: bytes) -> None:
        if not self._out:
            self._progress_ns = monotonic_ns()
        self._out += frame
        if len(self._out) == len(frame):
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        try:
            while self._out:
                sent = self.socket.send(bytes(self._out[:262144]), MSG_DONTWAIT | MSG_NOSIGNAL)
                del self._out[:sent]
                self._progress_ns = monotonic_ns()
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
            self._out.clear()

    @property
    def waiting(self) -> bool:
        """Whether something is left to send."""
        return bool(self._out)

    def holds_up(self) -> bool:
        """Whether the container should wait for this client: its buffer is full, and it was reading a moment ago."""
        if len(self._out) < BUFFER_LIMIT or self._stalled or not self.open:
            return False
        if monotonic_ns() - self._progress_ns > STALL_NS:
            self._stalled = True
            return False
        return True


class Clients:
    """All connections of one monitor."""

    def __init__(self, loop: EventLoop, on_frame: FrameHandler, on_gone: Callable[[Client], None]) -> None:
        self._loop = loop
        self._on_frame = on_frame
        self._on_gone = on_gone
        self.all: list[Client] = []
        self.read_paused = False

    def add(self, client: Client) -> None:
        """Serve a connection from now on."""
        client.socket.setblocking(False)
        self.all.append(client)
        self._watch(client)

    def _watch(self, client: Client) -> None:
        events = (0 if self.read_paused and client.attached else POLLIN) | (POLLOUT if client.waiting else 0)
        self._loop.watch(client.fd, lambda events: self._serve(client, events), events)

    def pause_reading(self, paused: bool) -> None:
        """Take no input from attached clients for now: the container does not read its own fast enough."""
        if paused != self.read_paused:
            self.read_paused = paused
            for client in self.all:
                self._watch(client)

    def _serve(self, client: Client, events: int) -> None:
        if events & POLLOUT:
            client.flush()
        if events & POLLIN:
            self._receive(client)
        elif events & _GONE:
            client.open = False
        self._settle(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.socket.recv(_RECEIVE)
            if not data:
                client.open = False
            for kind, payload in client.decoder.feed(data):
                self._on_frame(client, kind, payload)
        except BlockingIOError:
            pass
        except (OSError, Damaged):
            client.open = False

    def _settle(self, client: Client) -> None:
        if client.open:
            self._watch(client)
        else:
            self.drop(client)

    def deliver_pending(self, client: Client) -> None:
        """Frames that came together with the request that made the client."""
        for kind, payload in client.decoder.feed(b""):
            self._on_frame(client, kind, payload)

    def drop(self, client: Client) -> None:
        """Close a connection."""
        if client in self.all:
            self.all.remove(client)
            self._loop.forget(client.fd)
            client.open = False
            client.socket.close()
            self._on_gone(client)

    def settle_all(self) -> None:
        """After frames were queued: watch for room, drop who is gone."""
        for client in list(self.all):
            self._settle(client)

    def broadcast(self, kind: int, data: bytes) -> None:
        """Output to all attached clients."""
        frame = b""
        for client in list(self.all):
            if client.attached:
                frame = frame or protocol.encode(kind, data)
                client.stream(frame, len(data))
                self._settle(client)

    def hold_up(self) -> bool:
        """Whether the container should wait for an attached client."""
        return any(client.attached and client.holds_up() for client in self.all)

    def finish(self, deadline_ns: int) -> None:
        """Deliver what is buffered until the deadline (monotonic), then close everything."""
        while any(client.waiting for client in self.all) and monotonic_ns() < deadline_ns:
            self._loop.run_once(100)
        for client in list(self.all):
            self.drop(client)


def peer_uid(connection: socket) -> int:
    """The user at the other end of a local socket. Source: unix(7), SO_PEERCRED."""
    credentials = connection.getsockopt(1, 17, 12)  # SOL_SOCKET, SO_PEERCRED, struct ucred
    return int.from_bytes(credentials[4:8], byteorder)
