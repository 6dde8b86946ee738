# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A registry in a process of its own that misbehaves on purpose, and remembers what it was asked.

    server = FaultyRegistry()
    reference = server.add("team/app", "1", image)
    server.fault("GET", "/blobs/", cut(after=1000), times=2)
    with server:                       # forks; stopped by its pid at the end
        ...
        server.requests()              # what arrived, in order

With `uploads=True` it takes images, too (`server.uploads` has the switches of that half), and a blob is only in the
repositories that it was added or pushed to; `interrupt` breaks a body off while it is sent. Asked under the name
`localhost` it is a storage server that knows no users.

Faults are set before it starts. It is also a token server (`/token`, with `users` by name) and a proxy: requests for
another host's http URLs are answered by itself, CONNECT leads to `tunnel_to`.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import signal
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.images import Image, digest_of
from tests.support.uploads import Uploads


@dataclass
class Answer:
    """What will be sent. A fault gets the right answer and makes it wrong."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int = -1
    chunked: bool = False
    reset: bool = False
    stall: bool = False
    reset_after: int = -1
    trickle_s: float = 0.0


Fault = Callable[[Answer], None]


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer with this status instead; header names with `_` for `-`."""

    def apply(answer: Answer) -> None:
        answer.status, answer.body = code, body
        answer.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    return apply


def redirect_allowed(location: str) -> Fault:
    """Redirect those that would get the body; others see the refusal."""

    def apply(answer: Answer) -> None:
        if answer.status == 200:
            answer.status, answer.body, answer.headers = 307, b"", {"Location": location}

    return apply


def cut(after: int) -> Fault:
    """Close the connection after so many bytes of the body."""
    return lambda answer: setattr(answer, "cut_after", after)


def stall(after: int) -> Fault:
    """Send so many bytes of the body and then nothing any more, the connection open."""

    def apply(answer: Answer) -> None:
        answer.headers["Content-Length"] = str(len(answer.body))
        answer.body, answer.stall = answer.body[:after], True

    return apply


def reset() -> Fault:
    """Break the connection off with RST instead of an answer."""
    return lambda answer: setattr(answer, "reset", True)


def reset_after(size: int) -> Fault:
    """Break the connection off with RST after so many bytes of the body."""
    return lambda answer: setattr(answer, "reset_after", size)


def trickle(every_s: float) -> Fault:
    """Send the body byte by byte, with a pause before each."""
    return lambda answer: setattr(answer, "trickle_s", every_s)


def chunked() -> Fault:
    """Send the body in chunks, without its length."""
    return lambda answer: setattr(answer, "chunked", True)


def flip(position: int) -> Fault:
    """Change one bit."""

    def apply(answer: Answer) -> None:
        data = bytearray(answer.body)
        data[position] ^= 1
        answer.body = bytes(data)

    return apply


def replace_body(body: bytes) -> Fault:
    """Send other bytes, all headers but the length as they were."""
    return lambda answer: setattr(answer, "body", body)


def header(name: str, value: str) -> Fault:
    """Set a header; an empty value leaves it out."""

    def apply(answer: Answer) -> None:
        answer.headers.pop(name, None)
        if value:
            answer.headers[name] = value

    return apply


@dataclass
class _Rule:
    method: str
    part: str
    fault: Fault
    left: int


@dataclass
class _Interruption:
    method: str
    part: str
    after: int
    left: int
    keep: bool
    answer: Fault | None


@dataclass
class Request:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


class FaultyRegistry:
    """The server's content and faults before the fork, its log after. A context manager around the time it runs."""

    def __init__(
        self,
        address: str = "127.0.0.1",
        *,
        users: dict[str, str] | None = None,
        need_token: bool = False,
        need_basic: bool = False,
        realm: str = "",
        ranges: bool = True,
        certificate: str = "",
        token_lifetime_s: int = 300,
        tunnel_to: str = "",
        uploads: bool = False,
        client_authority: str = "",
    ) -> None:
        self.users = users or {}
        self.need_token, self.need_basic, self.ranges = need_token, need_basic, ranges
        self.token_lifetime_s = token_lifetime_s
        self.tunnel_to = tunnel_to
        self._certificate = certificate
        self._client_authority = client_authority
        self._pages: dict[str, Answer] = {}
        self._manifests: dict[str, tuple[bytes, str]] = {}
        self._blobs: dict[str, bytes] = {}
        self.uploads = Uploads(self._blobs, self._manifests) if uploads else None
        self._rules: list[_Rule] = []
        self._interruptions: list[_Interruption] = []
        self._lock = threading.Lock()
        self._pid = 0
        self._log = ""
        self._socket = socket.socket()
        self._socket.bind((address, 0))
        self._socket.listen(64)
        self.host = f"{address}:{self._socket.getsockname()[1]}"
        self.url = f"{'https' if certificate else 'http'}://{self.host}"
        self.realm = realm or f"{self.url}/token"

    def add(self, repository: str, version: str, image: Image) -> str:
        """Put an image here; the reference to pull."""
        self._blobs.update(image.blobs)
        if self.uploads:
            self.uploads.held |= {(repository, digest) for digest in image.blobs}
        self.add_manifest(repository, image.digest, image.manifest, image.media_type)
        return self.add_manifest(repository, version, image.manifest, image.media_type)

    def add_manifest(self, repository: str, version: str, data: bytes, media_type: str) -> str:
        """Put any document here under a tag or digest; the reference to pull."""
        self._manifests[f"{repository}/manifests/{version}"] = (data, media_type)
        return f"{self.host}/{repository}{'@' if ':' in version else ':'}{version}"

    def add_page(self, target: str, document: Any, *, code: int = 200, **headers: str) -> None:
        """Answer a GET for exactly this path and query with a JSON document; header names with `_` for `-`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._pages[target] = Answer(
            code, {"Content-Type": "application/json", **fields}, json.dumps(document).encode()
        )

    def fault(self, method: str, part: str, fault: Fault, *, times: int = -1) -> None:
        """Apply a fault to the next `times` requests (-1: all) whose path contains `part`. Rules act in order."""
        self._rules.append(_Rule(method, part, fault, times))

    def interrupt(
        self, method: str, part: str, after: int, *, times: int = -1, keep: bool = True, answer: Fault | None = None
    ) -> None:
        """Stop reading a longer body after so many bytes: break the connection off, or send an `answer` and close it.

        With `keep` an upload's session has what arrived, as Docker's registry does.
        """
        self._interruptions.append(_Interruption(method, part, after, times, keep, answer))

    def interruption(self, method: str, target: str, size: int) -> _Interruption | None:
        """The interruption that a request with so long a body is to have; in the server's process."""
        with self._lock:
            for rule in self._interruptions:
                if rule.left and rule.method == method and rule.part in target and size > rule.after:
                    rule.left -= 1
                    return rule
        return None

    def __enter__(self) -> FaultyRegistry:
        handle, self._log = tempfile.mkstemp(prefix="hull-faulty-")
        os.close(handle)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._serve()
            finally:
                os._exit(1)
        self._socket.close()
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.unlink(self._log)

    def requests(self, part: str = "") -> list[Request]:
        """What has arrived so far, in order, where the path contains `part`."""
        with open(self._log, encoding="utf-8") as file:
            found = [Request(**json.loads(line)) for line in file]
        return [request for request in found if part in request.path]

    def _serve(self) -> None:
        registry = self

        class Handler(_Handler):
            owner = registry

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = self._socket
        if self._certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            if self._client_authority:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self._client_authority)
            # The handshake happens in the thread of the connection, so that a client that goes away harms nobody.
            server.socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.serve_forever()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """The answer to a request, faults applied; in the server's process."""
        self.remember(method, target, headers)
        answer = self._push_answer(method, target, headers, body) if self.uploads else None
        answer = answer or self._right_answer(target, headers, body.decode("latin-1"))
        with self._lock:
            for rule in self._rules:
                if rule.left and rule.method == method and rule.part in target:
                    rule.left -= 1
                    rule.fault(answer)
                    break
        return answer

    def remember(self, method: str, target: str, headers: dict[str, str]) -> None:
        """Write a request to the log."""
        line = json.dumps({"method": method, "path": target, "headers": headers}) + "\n"
        fd = os.open(self._log, os.O_WRONLY | os.O_APPEND)
        os.write(fd, line.encode())
        os.close(fd)

    def _push_answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """The answer to a request of a push, None where it is none."""
        assert self.uploads is not None
        path = urlsplit(target).path
        if method in ("GET", "HEAD") and "/blobs/sha256:" in path:
            repository, _, digest = path[len("/v2/") :].partition("/blobs/")
            if not self._check(method, target, headers) and not self.uploads.has(repository, digest):
                return Answer(404, {}, b"")
            return None
        if not path.startswith("/v2/") or (method in ("GET", "HEAD") and "/blobs/uploads/" not in path):
            return None
        denied = self._check(method, target, headers)
        if denied is not None:
            return denied
        if len(body) > self.uploads.largest_body:
            return Answer(413, {"Content-Type": "text/html"}, b"<html>413 Request Entity Too Large</html>")
        scopes = scopes_of(headers.get("authorization", "")) if self.need_token else None
        reply = self.uploads.reply(method, target, headers, body, scopes)
        return Answer(reply.status, reply.headers, reply.body) if reply else None

    def receive(self, rule: _Interruption, target: str, data: bytes) -> None:
        """Take the part of a body that came before it was interrupted."""
        if rule.keep and self.uploads:
            session = urlsplit(target).path.rpartition("/")[2]
            if session in self.uploads.sessions:
                self.uploads.sessions[session] += data

    def _right_answer(self, target: str, headers: dict[str, str], form: str) -> Answer:
        path = urlsplit(target).path
        if path == "/token":
            return self._token(form or urlsplit(target).query, headers)
        denied = self._check("GET", target, headers)
        if denied is not None:
            return denied
        if target in self._pages:
            return copy.deepcopy(self._pages[target])
        key = path[len("/v2/") :]
        if key in self._manifests:
            data, media_type = self._manifests[key]
            return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data)
        blob = self._blobs.get(path.rpartition("/")[2]) if "/blobs/" in path else None
        if blob is not None:
            return self._blob(blob, headers.get("range", ""))
        if path == "/v2/":
            return Answer(200, {}, b"{}")
        code = "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN"
        body = json.dumps({"errors": [{"code": code, "message": "it is unknown"}]}).encode()
        return Answer(404, {"Content-Type": "application/json"}, body)

    def _blob(self, data: bytes, span: str) -> Answer:
        headers = {"Content-Type": "application/octet-stream"}
        if not span or not self.ranges:
            return Answer(200, headers, data)
        start = int(span[len("bytes=") : -1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Answer(206, headers, data[start:])

    def _check(self, method: str, target: str, headers: dict[str, str]) -> Answer | None:
        """A 401 where the request does not carry what is asked for."""
        if headers.get("host", "").startswith("localhost"):
            return None
        given = headers.get("authorization", "")
        repository = urlsplit(target).path[len("/v2/") :].partition("/manifests/")[0].partition("/blobs/")[0]
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        scope = f"repository:{repository}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"
        known = scopes_of(given).split()
        if self.need_token and scope not in known and scope + ",push" not in known:
            challenge = f'Bearer realm="{self.realm}",service="faulty, \\"test\\"",scope="{scope}"'
            return Answer(401, {"WWW-Authenticate": challenge}, body)
        if self.need_basic and not self._is_user(given):
            return Answer(401, {"WWW-Authenticate": 'Basic realm="faulty"'}, body)
        return None

    def _is_user(self, given: str) -> bool:
        with contextlib.suppress(ValueError):
            name, _, password = base64.b64decode(given.partition(" ")[2]).decode().partition(":")
            return given.startswith("Basic ") and self.users.get(name) == password
        return False

    def _token(self, form: str, headers: dict[str, str]) -> Answer:
        """A token for the scope of a query or form, where the password or identity token in it is right."""
        query: dict[str, list[str]] = parse_qs(form)
        given = headers.get("authorization", "")
        identity = query.get("refresh_token", [""])[0]
        if query.get("service") != ['faulty, "test"']:
            return Answer(400, {}, b'{"details":"wrong service"}')
        is_known = identity in map(identity_for, self.users) if identity else self._is_user(given)
        if query.get("grant_type") == ["password"]:
            is_known = self.users.get(query["username"][0]) == query["password"][0]
        if (self.users or given) and not is_known:
            return Answer(401, {}, b'{"details":"incorrect username or password"}')
        document: dict[str, Any] = {"token": token_for(" ".join(query["scope"])), "expires_in": self.token_lifetime_s}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())


def identity_for(user: str) -> str:
    """The identity token that stands for a user."""
    return f"identity-{user}"


def token_for(scope: str) -> str:
    """The token that opens a scope."""
    return "token-" + base64.urlsafe_b64encode(scope.encode()).decode().rstrip("=")


def scopes_of(authorization: str) -> str:
    """The scopes, separated by spaces, that a token of `token_for` in a header opens; empty for anything else."""
    _, mark, text = authorization.partition("Bearer token-")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode() if mark else ""


def _splice(source: socket.socket, target: socket.socket) -> None:
    """Copy what one socket sends to the other, up to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultyRegistry

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def do_PATCH(self) -> None:
        self._take()

    def do_DELETE(self) -> None:
        self._answer(send_body=True)

    def _take(self) -> None:
        """A request with a body, unless it is to be interrupted."""
        size = int(self.headers.get("Content-Length", "0"))
        rule = self.owner.interruption(self.command, self.path, size)
        if rule is None:
            self._answer(send_body=True, body=self.rfile.read(size))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.remember(self.command, self.path, headers)
        self.owner.receive(rule, self.path, self.rfile.read(rule.after))
        answer = Answer(200, {}, b"")
        (rule.answer or reset())(answer)
        answer.cut_after = len(answer.body)
        self._send(answer, send_body=True)
        if rule.answer:  # as nginx does: closing with bytes unread would take the answer away from the client
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while self.connection.recv(65536):
                    pass

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.remember("CONNECT", self.path, headers)
        host, _, port = self.owner.tunnel_to.rpartition(":")
        self.close_connection = True
        if not host:
            self.send_error(403)
            return
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_splice, args=(there, self.connection), daemon=True)
            back.start()
            _splice(self.connection, there)
            back.join()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal; the log file has it."""

    def _answer(self, *, send_body: bool, body: bytes = b"") -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.owner.answer(self.command, self.path, headers, body), send_body=send_body)

    def _send(self, answer: Answer, *, send_body: bool) -> None:
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if send_body:
            self._send_body(answer)

    def _send_body(self, answer: Answer) -> None:
        if answer.trickle_s:
            for position in range(len(answer.body)):
                threading.Event().wait(answer.trickle_s)
                self.wfile.write(answer.body[position : position + 1])
            return
        if answer.reset_after >= 0:
            self.wfile.write(answer.body[: answer.reset_after])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            os.close(self.connection.detach())
            self.close_connection = True
            return
        body = answer.body if answer.cut_after < 0 else answer.body[: answer.cut_after]
        for start in range(0, len(body), 10_000):
            piece = body[start : start + 10_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
        if answer.stall:
            self.wfile.flush()
            threading.Event().wait()
        if answer.cut_after >= 0:
            self.close_connection = True
        elif answer.chunked:
            self.wfile.write(b"0\r\n\r\n")
