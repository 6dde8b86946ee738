# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A careful HTTP client for registries: connection reuse, redirects, retries, proxies, TLS.

What it promises: credentials given for a host reach no other one; nothing goes from https to http; certificates are
checked unless the settings say otherwise for that registry; a passing fault (408, 429, 5xx, a reset, a stall) is tried
again with growing pauses, `Retry-After` honoured. Bodies are never decoded: `Accept-Encoding: identity`.

One client belongs to one registry and one process; after a fork the child calls `forget_connections`.
"""

from __future__ import annotations

import os
import time

from .._base.errors import Damaged, RegistryError
from .connections import Body, Connection, NotHttp, open_connection
from .proxies import find_proxy
from .urls import Url, is_link_local, join_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from .connections import Head, RequestBody
    from .settings import RegistryConfig

ATTEMPTS = 5
MAX_REDIRECTS = 10
MAX_PAUSE_S = 60.0
MAX_ERROR_BODY = 1024 * 1024
_FIRST_PAUSE_S = 0.2
_RETRIED = frozenset((408, 429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_USER_AGENT = "hull.engine"
_PIECE = 65536


class Response:
    """An answer whose body is still to be read. Owns its connection until `close` or the end of the body."""

    def __init__(self, client: Client, connection: Connection, url: Url, head: Head, body: Body) -> None:
        self._client = client
        self._connection: Connection | None = connection
        self._body = body
        self.url = url
        self.head = head
        self.status = head.status

    def read(self, limit: int) -> bytes:
        """Some bytes of the body, at most `limit`; empty at its end. Raises OSError where it is cut."""
        data = self._body.read(limit)
        if self._body.is_complete:
            self.close()
        return data

    def read_all(self, limit: int, what: str) -> bytes:
        """The whole body. Raises Damaged where it is longer than `limit` bytes, OSError where it is cut."""
        pieces, size = [], 0
        while data := self.read(_PIECE):
            size += len(data)
            if size > limit:
                self.close()
                raise Damaged(f"read {what}: larger than the limit of {limit} bytes")
            pieces.append(data)
        return b"".join(pieces)

    def drain(self) -> None:
        """Read a body that nobody wants, so that the connection can be used again, and close it. Never raises."""
        try:
            self.read_all(MAX_ERROR_BODY, "answer")
        except (OSError, Damaged):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back where the body was read to its end, else close it. May be called again."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._body.is_complete and self._body.can_reuse:
            self._client.keep(self.url, connection)
        else:
            connection.close()


class Client:
    """Requests to one registry and to where it redirects."""

    def __init__(
        self, config: RegistryConfig, home: Url, environ: Mapping[str, str] | None = None, *, domain: str = ""
    ) -> None:
        self._config = config
        self._home = home
        self._domain = domain or home.authority
        self._environ = os.environ if environ is None else environ
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def forget_connections(self) -> None:
        """Drop all idle connections: in a forked child they are the parent's, elsewhere they are just closed."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def keep(self, url: Url, connection: Connection) -> None:
        """Take back a connection on which another request may be sent."""
        self._idle.setdefault(url.origin, []).append(connection)

    def request(
        self,
        method: str,
        url: Url,
        headers: dict[str, str],
        body: RequestBody = b"",
        *,
        attempts: int = ATTEMPTS,
        is_secret: bool = True,
    ) -> Response:
        """The final answer, after redirects and retries; its status may be any that a retry does not mend.

        `Authorization` in the headers is meant for the origin of `url` only, and so is a body that `is_secret`.
        With one attempt nothing is sent twice, not even where an idle connection turns out to be closed. Raises
        RegistryError or Timeout where no answer can be had.
        """
        for attempt in range(attempts):
            try:
                response = self._follow(method, url, headers, body, is_once=attempts == 1, is_secret=is_secret)
            except OSError as error:
                from .failures import broken, is_about_certificate

                if attempt == attempts - 1 or isinstance(error, NotHttp) or is_about_certificate(error):
                    raise broken(method, url, error, attempt + 1) from error
                time.sleep(pause_s(attempt))
                continue
            if response.status not in _RETRIED or attempt == attempts - 1:
                return response
            wait_s = wanted_pause_s(response, attempt)
            if wait_s > MAX_PAUSE_S:
                return response
            response.close()
            time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _follow(
        self, method: str, url: Url, headers: dict[str, str], body: RequestBody, *, is_once: bool, is_secret: bool
    ) -> Response:
        home = url.origin
        for _ in range(MAX_REDIRECTS + 1):
            response = self._exchange(method, url, headers, body, is_once=is_once)
            if response.status not in _REDIRECTS:
                return response
            location = response.head.get("location")
            response.close()
            if not location:
                raise RegistryError(
                    f"request {url.shown}: {response.status} without a Location", status=response.status
                )
            target = join_url(url, location)
            check_redirect(url, target)
            if target.origin != home:
                if body and is_secret and response.status != 303:
                    raise RegistryError(
                        f"request {url.shown}: redirected to {target.authority}, which may not see what was sent"
                    )
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
                home = target.origin
            if response.status == 303:
                method, body = ("HEAD" if method == "HEAD" else "GET"), b""
            url = target
        raise RegistryError(
            f"request {url.shown}: more than {MAX_REDIRECTS} redirects", hint="the registry is misconfigured"
        )

    def _exchange(
        self, method: str, url: Url, headers: dict[str, str], body: RequestBody, *, is_once: bool
    ) -> Response:
        """One request and the head of its answer, on an idle connection if there is one that still works."""
        full = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        connection = None if is_once else self._take(url)
        while connection is not None:
            try:
                return self._send(connection, method, url, full, body)
            except OSError:
                # The server may close an idle connection at any time; that is no fault and costs no attempt.
                connection = self._take(url)
        context = self._context(url) if url.scheme == "https" else None
        proxy = find_proxy(url, self._environ)
        connection = open_connection(url, proxy, context, self._config.stall_timeout_s)
        return self._send(connection, method, url, full, body)

    def _take(self, url: Url) -> Connection | None:
        connections = self._idle.get(url.origin)
        return connections.pop() if connections else None

    def _send(
        self, connection: Connection, method: str, url: Url, headers: dict[str, str], body: RequestBody
    ) -> Response:
        try:
            head = connection.send(method, url, headers, body)
            return Response(self, connection, url, head, Body(connection, head, method))
        except BaseException:
            connection.close()
            raise

    def _context(self, url: Url) -> ssl.SSLContext:
        """TLS as configured for the registry itself; elsewhere the same authorities, always checked, no client key."""
        is_home = (url.host, url.port) == (self._home.host, self._home.port)
        if is_home not in self._contexts:
            from .certificates import make_context

            self._contexts[is_home] = make_context(self._config, self._domain, is_home=is_home)
        return self._contexts[is_home]


def check_redirect(url: Url, target: Url) -> None:
    """Raise RegistryError where a server at `url` may not lead us to `target`."""
    if url.scheme == "https" and target.scheme == "http":
        raise RegistryError(
            f"request {url.shown}: redirected from https to {target.scheme}://{target.authority}",
            hint="the registry or its storage is misconfigured",
        )
    if is_link_local(target.host) and target.host != url.host:
        raise RegistryError(f"request {url.shown}: redirected to the link-local address {target.host}")


def pause_s(attempt: int) -> float:
    """How long to wait before the attempt after this one: doubling from 0.2 s, half of it by chance."""
    whole = min(_FIRST_PAUSE_S * (1 << attempt), MAX_PAUSE_S)
    return whole * (0.5 + os.urandom(1)[0] / 510)


def wanted_pause_s(response: Response, attempt: int) -> float:
    """What the server asks for in Retry-After (seconds or a date), else our own pause."""
    text = response.head.get("retry-after")
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    if text:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            pass
    return pause_s(attempt)
