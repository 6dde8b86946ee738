# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.connections import Body, Broken, Connection, parse_head
from ansible_collections.hull.engine.plugins.module_utils._image.urls import parse_url

URL = parse_url("http://host/x")


class Peer:
    """The server's end of a connection, fed with prepared bytes."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.settimeout(5)
        self.connection = Connection(ours, 5.0)

    def answer(self, data: bytes, *, method: str = "GET", close: bool = True) -> bytes:
        """The body that a client reads from an answer."""
        self.theirs.sendall(data)
        if close:
            self.theirs.shutdown(socket.SHUT_WR)
        self.body = Body(self.connection, self.connection.send(method, URL, {}), method)
        return b"".join(iter(lambda: self.body.read(7), b""))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.connection.close()
    peer.theirs.close()


@pytest.mark.parametrize(
    ("answer", "body", "can_reuse"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", b"0123456789", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n01", b"01", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n01", b"01", False),
        (b"HTTP/1.1 200\r\n\r\nuntil the end", b"until the end", False),
        (b"HTTP/1.1 204 No\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1", b"1", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n1\r\na\r\n0\r\nT: r\r\n\r\n",
            b"0123456789a",
            True,
        ),
    ],
)
def test_every_framing_of_a_body_is_understood(peer: Peer, answer: bytes, body: bytes, can_reuse: bool) -> None:
    assert peer.answer(answer) == body
    assert peer.body.is_complete
    assert peer.body.can_reuse is can_reuse


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234567",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 102 Wait\r\n\r\n" * 1000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: r\r\n" * 1000 + b"\r\n",
    ],
)
def test_a_cut_or_garbled_answer_is_broken(peer: Peer, answer: bytes) -> None:
    with pytest.raises(Broken):
        peer.answer(answer)


def test_an_answer_to_head_has_no_body(peer: Peer) -> None:
    assert peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", method="HEAD", close=False) == b""
    assert peer.body.can_reuse


def test_a_connection_carries_one_answer_after_another(peer: Peer) -> None:
    for text in (b"first", b"second"):
        assert peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text), close=False) == text


def test_headers_are_found_in_any_case_and_kept_in_order() -> None:
    head = parse_head(b"HTTP/1.1 401 No\r\nWWW-Authenticate: a\r\nwww-authenticate:  b \r\nX:")
    assert head.all("www-authenticate") == ["a", "b"]
    assert (head.status, head.get("x", "-"), head.get("y", "-")) == (401, "", "-")
