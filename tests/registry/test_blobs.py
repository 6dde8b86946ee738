# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Blobs as streams: what arrives is what the descriptor says, whatever the connection does; or it is an error."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, NotFound, RegistryError
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, RegistryConfig

from tests.support.faulty_registry import (
    Fault,
    FaultyRegistry,
    chunked,
    cut,
    flip,
    header,
    redirect_allowed,
    replace_body,
    reset,
    status,
)
from tests.support.images import Image, digest_of

DATA = bytes(range(256)) * 1000 + b"end"
DIGEST = digest_of(DATA)


def _server(*faults: tuple[Fault, int], **options: Any) -> FaultyRegistry:
    server = FaultyRegistry(**options)
    server.add("a", "1", Image(b"{}", "", b"", [], {DIGEST: DATA}))
    for fault, times in faults:
        server.fault("GET", "/blobs/", fault, times=times)
    return server


def _read(server: FaultyRegistry, *, size: int = len(DATA), digest: str = DIGEST, step: int = 10_000) -> bytes:
    registry = Registry(server.host, RegistryConfig())
    with registry.blob("a", Descriptor("", digest, size)) as blob:
        return b"".join(iter(lambda: blob.read(step), b""))


def test_a_blob_is_read_in_pieces_of_the_size_asked_for() -> None:
    with _server() as server:
        registry = Registry(server.host, RegistryConfig())
        blob = registry.blob("a", Descriptor("", DIGEST, len(DATA)))
        pieces = list(iter(lambda: blob.read(100_000), b""))
        assert [len(piece) for piece in pieces] == [100_000, 100_000, 56_003]
        assert b"".join(pieces) == DATA
        assert blob.read(1) == b""


def test_connections_are_reused_and_nothing_is_asked_twice() -> None:
    with _server() as server:
        registry = Registry(server.host, RegistryConfig())
        for _ in range(3):
            assert registry.small_blob("a", Descriptor("", DIGEST, len(DATA))) == DATA
        assert len(server.requests()) == 3
        assert all(request.headers["accept-encoding"] == "identity" for request in server.requests())


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_with_or_without_ranges(ranges: bool) -> None:
    with _server((cut(100_000), 1), (cut(50_000), 1), (cut(0), 1), ranges=ranges) as server:
        assert _read(server) == DATA
        spans = [request.headers.get("range", "") for request in server.requests()]
        assert spans[:2] == ["", "bytes=100000-"]


def test_ranges_that_are_wrong_or_refused_are_not_trusted() -> None:
    with _server((cut(100_000), 1), (header("Content-Range", "bytes 0-5/6"), 1)) as server:
        assert _read(server) == DATA
    with _server((cut(100_000), 1), (status(416), 1)) as server:
        assert _read(server) == DATA


def test_a_transfer_that_never_gets_on_is_given_up() -> None:
    with _server((cut(100), 1), (cut(0), -1)) as server:
        with pytest.raises(RegistryError, match=r"closed in the middle of the answer \(5 attempts\); try again"):
            _read(server)
        assert len(server.requests()) == 5


@pytest.mark.parametrize("fault", [reset(), status(503), status(429, Retry_After="0"), status(502)])
def test_passing_faults_are_tried_again(fault: Fault) -> None:
    with _server((fault, 2)) as server:
        assert _read(server) == DATA


def test_chunks_without_a_length_are_read() -> None:
    with _server((chunked(), 1)) as server:
        assert _read(server) == DATA


@pytest.mark.parametrize("position", [0, 128_000, len(DATA) - 1])
def test_a_flipped_bit_is_found_before_the_end_is_told(position: int) -> None:
    with _server((flip(position), -1)) as server:
        registry = Registry(server.host, RegistryConfig())
        blob = registry.blob("a", Descriptor("", DIGEST, len(DATA)))
        with pytest.raises(Damaged, match=f"get blob {DIGEST} of {server.host}/a: it has the digest sha256:"):
            while blob.read(50_000):
                pass


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 0])
def test_a_length_that_differs_from_the_descriptor_is_refused_at_once(size: int) -> None:
    with _server() as server, pytest.raises(Damaged, match=rf"has {len(DATA)} bytes, the manifest says {size}|digest"):
        _read(server, size=size)


def test_more_bytes_than_the_descriptor_says_are_refused() -> None:
    digest = digest_of(DATA[:1000])
    server = FaultyRegistry()
    server.add("a", "1", Image(b"{}", "", b"", [], {digest: DATA}))
    server.fault("GET", "/blobs/", chunked())
    with server, pytest.raises(Damaged, match="is longer than the 1000 bytes"):
        _read(server, size=1000, digest=digest)


def test_fewer_bytes_than_the_descriptor_says_are_refused() -> None:
    with _server((replace_body(DATA[:-1]), -1)) as server, pytest.raises(Damaged, match="has 256002 bytes"):
        _read(server)


def test_a_blob_that_ends_early_without_a_length_is_refused() -> None:
    short = FaultyRegistry()
    short.add("a", "1", Image(b"{}", "", b"", [], {DIGEST: DATA[:500]}))
    short.fault("GET", "/blobs/", chunked())
    with short, pytest.raises(Damaged, match="ends after 500 of 256003 bytes"):
        _read(short)


def test_an_empty_blob_needs_no_request() -> None:
    with _server() as server:
        assert _read(server, size=0, digest=digest_of(b"")) == b""
        assert server.requests() == []


def test_a_missing_blob_is_named() -> None:
    with _server() as server, pytest.raises(NotFound, match=f"/a, blob {digest_of(b'x')}: not found"):
        _read(server, digest=digest_of(b"x"))


def test_recoded_bodies_are_refused() -> None:
    recoded = header("Content-Encoding", "gzip")
    with _server((recoded, -1)) as server, pytest.raises(RegistryError, match="sent with Content-Encoding gzip"):
        _read(server)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_carries_no_credentials(code: int) -> None:
    storage = FaultyRegistry("127.0.0.2")
    storage.add("a", "1", Image(b"{}", "", b"", [], {DIGEST: DATA}))
    location = f"{storage.url}/v2/a/blobs/{DIGEST}?signature=abc"
    server = _server((status(code, Location=location), -1), need_token=False)
    with storage, server:
        registry = Registry(server.host, RegistryConfig(), credentials=Credentials("ci", "pw"))
        assert registry.small_blob("a", Descriptor("", DIGEST, len(DATA))) == DATA
        assert [request.headers.get("authorization") for request in storage.requests()] == [None]


@pytest.mark.parametrize("options", [{"need_token": True}, {"need_basic": True, "users": {"ci": "pw"}}])
def test_tokens_and_passwords_stay_with_the_registry(options: dict[str, Any]) -> None:
    storage = FaultyRegistry("127.0.0.2")
    storage.add("a", "1", Image(b"{}", "", b"", [], {DIGEST: DATA}))
    location = f"{storage.url}/v2/a/blobs/{DIGEST}"
    credentials = Credentials("ci", "pw") if "users" in options else None
    with storage, _server((redirect_allowed(location), -1), **options) as server:
        registry = Registry(server.host, RegistryConfig(), credentials=credentials)
        assert registry.small_blob("a", Descriptor("", DIGEST, len(DATA))) == DATA
        assert server.requests("/blobs/")[-1].headers["authorization"]
        assert [request.headers.get("authorization") for request in storage.requests()] == [None]


def test_relative_redirects_are_followed() -> None:
    server = _server((status(307, Location=DIGEST), 2))
    with server:
        assert _read(server) == DATA


def test_redirects_in_a_circle_end() -> None:
    server = _server((status(307, Location=DIGEST), -1))
    with server:
        with pytest.raises(RegistryError, match="more than 10 redirects"):
            _read(server)
        assert len(server.requests()) == 11


@pytest.mark.parametrize(
    "location", ["", "ftp://host/x", "http://169.254.169.254/latest/meta-data", "http://u:p@host/"]
)
def test_redirects_to_nowhere_good_are_refused(location: str) -> None:
    server = _server((status(307, **({"Location": location} if location else {})), -1))
    with server, pytest.raises(RegistryError):
        _read(server)


def test_a_transfer_of_random_data_survives_many_faults() -> None:
    data = os.urandom(3_000_000)
    server = FaultyRegistry()
    server.add("a", "1", Image(b"{}", "", b"", [], {digest_of(data): data}))
    for _ in range(8):
        server.fault("GET", "/blobs/", cut(64 * 1024), times=1)
    with server:
        assert _read(server, size=len(data), digest=digest_of(data)) == data
