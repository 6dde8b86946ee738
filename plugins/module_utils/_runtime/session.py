# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A client's end of a process's streams: of a container that was started or attached to, or of an exec."""

from __future__ import annotations

from _socket import MSG_DONTWAIT, MSG_NOSIGNAL
from select import POLLIN, POLLOUT, poll

from .._base import codec
from .._base.errors import HullError
from .._base.values import Value
from . import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from types import TracebackType

_KINDS = {
    protocol.STDOUT: "stdout",
    protocol.STDERR: "stderr",
    protocol.LOST: "lost",
    protocol.DETACHED: "detached",
}


class Frame(Value):
    """A piece of a session. `kind` and `data`:

    stdout, stderr   output bytes
    lost             decimal count of output bytes that were dropped because this client read too slowly
    exit             decimal exit status; the last frame
    detached         the process goes on without this client; the last frame
    error            UTF-8 message; the last frame
    """

    kind: str
    data: bytes
    oom_killed: bool = False


class Session:
    """Streams over one socket. A context manager. Not for threads.

    Input is queued and goes out whenever `read` or `flush` runs, so a process that writes while it is fed does not
    deadlock with a caller that first writes and then reads.
    """

    def __init__(self, connection: socket, decoder: protocol.Decoder, *, tty: bool = False, pid: int = 0) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._decoder = decoder
        self._frames: list[Frame] = []
        self._out = bytearray()
        self._ended = False
        self.tty = tty
        self.pid = pid  # on the host, of an exec's process
        self._take(b"")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket, for poll: readable when `read` may have something."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether input is queued that `flush` should send when the socket takes it."""
        return bool(self._out)

    def ready(self) -> bool:
        """Whether `read` has a frame at once, without the socket becoming readable."""
        return bool(self._frames) or self._ended

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame, waiting for it; None after the last one. With a timeout, TimeoutError when it passes."""
        watch = poll()
        while not self._frames:
            if self._ended:
                return None
            watch.register(self._socket.fileno(), POLLIN | (POLLOUT if self._out else 0))
            if not watch.poll(None if timeout_s is None else max(int(timeout_s * 1000), 0)):
                raise TimeoutError
            self.flush()
            self._receive()
        return self._frames.pop(0)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._take(data)

    def _end(self) -> None:
        """The connection broke off. Without a last frame the other side was killed."""
        if not self._ended:
            self._ended = True
            self._frames.append(Frame("error", b"the monitor went away; the exit status is not known"))

    def _take(self, data: bytes) -> None:
        try:
            received = self._decoder.feed(data)
        except HullError as error:
            self._frames.append(Frame("error", str(error).encode()))
            self._ended = True
            return
        for kind, payload in received:
            self._frames.append(self._frame(kind, payload))

    def _frame(self, kind: int, payload: bytes) -> Frame:
        if kind == protocol.EXIT:
            self._ended = True
            record = codec.parse(payload, source="an exit frame")
            return Frame("exit", b"%d" % int(record["exit_code"]), bool(record.get("oom_killed")))
        if kind == protocol.FAILURE:
            self._ended = True
            return Frame("error", str(protocol.failure_error(payload)).encode())
        if kind == protocol.DETACHED:
            self._ended = True
        return Frame(_KINDS.get(kind, "error"), payload)

    def write_stdin(self, data: bytes) -> None:
        """Queue input and send what goes at once. Dropped silently where the process takes none."""
        for at in range(0, len(data), 65536):
            self._out += protocol.encode(protocol.STDIN, data[at : at + 65536])
        self.flush()

    def close_stdin(self) -> None:
        """The end of the input."""
        self._out += protocol.encode(protocol.CLOSE_STDIN)
        self.flush()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal's size."""
        self._out += protocol.encode_resize(rows, columns)
        self.flush()

    def detach(self) -> None:
        """Ask to be let go; a `detached` frame ends the session."""
        self._out += protocol.encode(protocol.DETACH)
        self.flush()

    def flush(self) -> None:
        """Send of the queued input what the socket takes now."""
        try:
            while self._out:
                sent = self._socket.send(bytes(self._out[:262144]), MSG_DONTWAIT | MSG_NOSIGNAL)
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()

    def close(self) -> None:
        """Close the connection. A container goes on; an exec's process is ended."""
        self._socket.close()
