# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""HTTP/1.1 over one socket: connect, TLS, send a request, read its answer.

Why not `http.client`: it imports ssl and email always, 30 to 45 ms against 2 ms for the built-in `_socket`, and a
check whether an image is newer is a single HEAD. Not here: redirects, retries, pools, proxies' choice (`http.py`).
A broken connection or answer is an OSError; `http.py` decides what becomes of it.

Source: RFC 9110, RFC 9112 (message framing: section 6), RFC 9110 section 9.3.6 (CONNECT).
"""

from __future__ import annotations

import _socket
import time

from .._base.errors import Damaged, RegistryError
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any, Protocol, Union

    from .urls import Url

    class Source(Protocol):
        """What a body is read from: any object with `read(n)`, a context manager."""

        def __enter__(self) -> Source: ...

        def __exit__(self, *_: object) -> bool | None: ...

        def read(self, size: int, /) -> bytes: ...

    class BodySource(Protocol):
        """A request's body that need not be in memory. Opened anew for each time that it is sent."""

        @property
        def size(self) -> int: ...

        def open(self) -> Source: ...

    RequestBody = Union[bytes, BodySource]

CONNECT_TIMEOUT_S = 10.0
_TRICKLE = 64 * 1024  # what has to come for each stall timeout of waiting
_MAX_HEAD = 128 * 1024
_MAX_LINE = 8192
_MOST_INTERIM = 32
_MOST_TRAILERS = 128
_CHUNK = 65536
_PIECE = 256 * 1024
_HEX = frozenset(b"0123456789abcdefABCDEF")
_HTTP = b"HTTP/1."
_NO_BODY = frozenset((204, 304))


class Broken(OSError):
    """The other side ended, cut or garbled an answer."""


class NotHttp(Broken):
    """The other side speaks something else, such as TLS; trying again does not help."""


class Stalled(Broken):
    """The other side has not closed the connection, but sends or takes nothing, or next to nothing."""


class Head(Value):
    """Status line and headers of an answer; names are lower case, in order, repeated where they were."""

    status: int
    reason: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """The first header of this (lower-case) name."""
        return next((value for key, value in self.headers if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every header of this name."""
        return [value for key, value in self.headers if key == name]


class Proxy(Value):
    """A proxy that speaks HTTP; `authorization` is the value of Proxy-Authorization, or empty."""

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"


class Connection:
    """An open connection to one origin. Owns the socket."""

    def __init__(
        self, sock: Any, stall_timeout_s: float, *, absolute_targets: bool = False, proxy_authorization: str = ""
    ) -> None:
        self._socket = sock
        self._stall_timeout_s = stall_timeout_s
        self._waited_s = 0.0
        self._since = 0
        self._buffer = b""
        self._absolute = absolute_targets
        self._proxy_authorization = proxy_authorization
        self.used = False

    def close(self) -> None:
        """Close the socket; harmless if it is closed."""
        self._socket.close()

    def send(self, method: str, url: Url, headers: dict[str, str], body: RequestBody = b"") -> Head:
        """Send a request and read the head of its answer; the body follows from `receive`.

        An answer that comes before the whole request was taken is one too. Raises Damaged for a body that is not as
        long as it says.
        """
        size = len(body) if isinstance(body, bytes) else body.size
        target = f"{url.scheme}://{url.authority}{url.target}" if self._absolute else url.target
        lines = [f"{method} {target} HTTP/1.1", f"Host: {url.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._proxy_authorization:
            lines.append(f"Proxy-Authorization: {self._proxy_authorization}")
        if size or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {size}")
        if any("\r" in line or "\n" in line for line in lines):
            raise RegistryError(f"request {url.shown}: a header holds a line break")
        start = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if isinstance(body, bytes) and size <= _PIECE:
            self._send_all(start + body)
            return self.receive_head()
        try:
            self._send_pieces(start, body)
        except (BrokenPipeError, ConnectionResetError):
            return self.receive_head()
        return self.receive_head()

    def _send_pieces(self, start: bytes, body: RequestBody) -> None:
        """Send a large body; each piece has the stall timeout for itself."""
        self._send_all(start)
        if isinstance(body, bytes):
            for place in range(0, len(body), _PIECE):
                self._send_all(body[place : place + _PIECE])
            return
        left = body.size
        with body.open() as source:
            while left:
                data = source.read(min(left, _PIECE))
                if not data:
                    raise Damaged(f"send a body of {body.size} bytes: its source ends {left} bytes before")
                self._send_all(data)
                left -= len(data)

    def _send_all(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except _socket.timeout as error:
            raise Stalled(f"the other side takes nothing for {self._stall_timeout_s:g} s") from error

    def receive_head(self) -> Head:
        """The head of the next final answer; interim ones (1xx) are skipped."""
        for _ in range(_MOST_INTERIM):
            end = self._buffer.find(b"\r\n\r\n")
            while end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    raise Broken("the answer's headers are too long")
                self._fill()
                if not self._buffer.startswith(_HTTP[: len(self._buffer)]):
                    raise NotHttp("the answer is not HTTP")
                end = self._buffer.find(b"\r\n\r\n")
            text, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            head = parse_head(text)
            self.used = True
            self._waited_s, self._since = 0.0, 0
            if head.status >= 200 or head.status == 101:
                return head
        raise Broken("there is no answer, only interim ones")

    def _fill(self) -> None:
        data = self._receive(_CHUNK)
        if not data:
            raise Broken("the connection was closed before the answer was complete")
        self._buffer += data

    def _receive(self, limit: int) -> bytes:
        """What comes, empty at the end. Raises Stalled where waiting for it takes too long, also in small steps."""
        began = time.monotonic()
        try:
            data: bytes = self._socket.recv(limit)
        except _socket.timeout as error:
            raise Stalled(f"nothing came for {self._stall_timeout_s:g} s") from error
        self._waited_s += time.monotonic() - began
        self._since += len(data)
        if self._since >= _TRICKLE:
            self._waited_s, self._since = 0.0, 0
        elif self._waited_s > self._stall_timeout_s:
            raise Stalled(f"only {self._since} bytes came in {self._waited_s:.0f} s of waiting")
        return data

    def receive(self, limit: int) -> bytes:
        """At least one byte and at most `limit`; empty where the other side has closed."""
        if self._buffer:
            data, self._buffer = self._buffer[:limit], self._buffer[limit:]
            return data
        return self._receive(limit)

    def receive_line(self) -> bytes:
        """A line without its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE:
                raise Broken("a line of the answer is too long")
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")


def parse_head(text: bytes) -> Head:
    """The head of an answer from its bytes up to the empty line. Raises Broken."""
    if not text.startswith(_HTTP):
        raise NotHttp("the answer is not HTTP")
    first, *rest = text.decode("latin-1").split("\r\n")
    version, _, status_and_reason = first.partition(" ")
    status, _, reason = status_and_reason.partition(" ")
    if len(status) != 3 or not status.isdigit():
        raise Broken("the answer has no status")
    headers = []
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Broken("the answer has a malformed header")
        headers.append((name.lower(), value.strip()))
    return Head(int(status), reason.strip(), version, tuple(headers))


class Body:
    """The body of one answer, framed by Content-Length, chunks or the end of the connection."""

    def __init__(self, connection: Connection, head: Head, method: str) -> None:
        self._connection = connection
        self._chunked = head.get("transfer-encoding").lower() == "chunked"
        self._left = -1  # of the body, or of the chunk; -1: up to the end of the connection
        if method == "HEAD" or head.status in _NO_BODY:
            self._left, self._chunked = 0, False
        elif self._chunked:
            self._left = 0
        elif head.get("content-length"):
            self._left = _length(head)
        self.is_complete = not self._chunked and self._left == 0
        closes = "close" in head.get("connection").lower() or head.version != "HTTP/1.1"
        self.can_reuse = not closes and (self._chunked or self._left >= 0)

    def read(self, limit: int) -> bytes:
        """Some bytes, at most `limit`; empty at the end. Raises OSError where the body is cut."""
        if self.is_complete:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        data = self._connection.receive(limit if self._left < 0 else min(limit, self._left))
        if not data:
            if self._left >= 0:
                raise Broken("the connection was closed in the middle of the answer")
            self.is_complete = True
            return b""
        if self._left > 0:
            self._left -= len(data)
            self._end_piece()
        return data

    def _end_piece(self) -> None:
        if self._left:
            return
        if not self._chunked:
            self.is_complete = True
        elif self._connection.receive_line():
            raise Broken("a chunk of the answer is longer than it says")

    def _next_chunk(self) -> bool:
        """Read the size of the next chunk; after the last one also the trailers."""
        digits = self._connection.receive_line().partition(b";")[0].strip()
        if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits):
            raise Broken("a chunk of the answer has no size")
        self._left = int(digits, 16)
        if self._left:
            return True
        for _ in range(_MOST_TRAILERS):
            if not self._connection.receive_line():
                break
        else:
            raise Broken("the answer has too many trailers")
        self.is_complete = True
        return False


def _length(head: Head) -> int:
    values = set(head.all("content-length"))
    text = values.pop()
    if values or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Broken("the answer has no valid Content-Length")
    return int(text)


def open_connection(
    url: Url, proxy: Proxy | None, context: ssl.SSLContext | None, stall_timeout_s: float
) -> Connection:
    """A connection for requests to the origin of `url`, with TLS where a context is given.

    Raises RegistryError where the other side can't be reached or is not who it should be; OSError where a connection
    that stood breaks.
    """
    sock = _connect(proxy.host, proxy.port) if proxy else _connect(url.host, url.port)
    try:
        sock.settimeout(stall_timeout_s)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if context:
            from .tunnels import open_tunnel, start_tls

            if proxy:
                open_tunnel(sock, url, proxy, stall_timeout_s)
            sock = start_tls(sock, url, context, stall_timeout_s)
    except BaseException:
        sock.close()
        raise
    if proxy and not context:
        return Connection(sock, stall_timeout_s, absolute_targets=True, proxy_authorization=proxy.authorization)
    return Connection(sock, stall_timeout_s)


def _connect(host: str, port: int) -> Any:
    """A connected socket, the first address that answers. Raises RegistryError."""
    try:
        # As bytes: a str would load the IDNA codec.
        addresses = _socket.getaddrinfo(host.encode("ascii"), port, 0, _socket.SOCK_STREAM)
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an ASCII name"
        raise RegistryError(f"look up host {host}: {reason}", hint="check the name and this host's DNS") from error
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        sock: Any = None
        try:
            sock = _socket.socket(family, kind, protocol)
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.connect(address)
            return sock
        except OSError as error:
            problem = error
            if sock is not None:
                sock.close()
    reason = (problem.strerror if problem else "") or f"no answer within {CONNECT_TIMEOUT_S:g} s"
    raise RegistryError(
        f"connect to {host}:{port}: {reason}",
        hint="check the name and port, that a server runs there, and this host's network, firewall and proxy settings",
    ) from problem
