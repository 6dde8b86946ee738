# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Registries that break off, stall, redirect and lie: an error in bounded time, or all bytes."""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    Denied,
    HullError,
    NotFound,
    RegistryError,
    Timeout,
)
from ansible_collections.hull.engine.plugins.module_utils._image.http import ATTEMPTS
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistryConfig

from tests.support.faulty_registry import (
    Fault,
    FaultyRegistry,
    cut,
    flip,
    header,
    replace_body,
    reset_after,
    stall,
    status,
    trickle,
)
from tests.support.images import DOCKER, OCI, Image, digest_of, make_image

DATA = bytes(range(256)) * 1100
DIGEST = digest_of(DATA)
IMAGE = make_image([{"a": b"1"}], types=DOCKER)
STEP = 65536


def _server(*faults: tuple[str, Fault, int], ranges: bool = True) -> FaultyRegistry:
    server = FaultyRegistry(ranges=ranges)
    server.add("a", "1", Image(IMAGE.manifest, IMAGE.media_type, IMAGE.config, [], {**IMAGE.blobs, DIGEST: DATA}))
    for part, fault, times in faults:
        server.fault("GET", part, fault, times=times)
    return server


def _client(server: FaultyRegistry, stall_timeout_s: float = 60) -> Registry:
    return Registry(server.host, RegistryConfig(stall_timeout_s=stall_timeout_s))


def _read(client: Registry) -> bytes:
    with client.blob("a", Descriptor("", DIGEST, len(DATA))) as blob:
        return b"".join(iter(lambda: blob.read(100_000), b""))


def test_a_connection_that_is_reset_at_every_64_kib_costs_no_byte() -> None:
    with _server(("/blobs/", reset_after(STEP), -1)) as server:
        assert _read(_client(server)) == DATA
        starts = [request.headers.get("range", "bytes=0-") for request in server.requests("/blobs/")]
    assert starts == [f"bytes={start}-" for start in range(0, len(DATA), STEP)]


@pytest.mark.parametrize("after", range(0, len(DATA), 2 * STEP))
def test_a_reset_anywhere_without_ranges_starts_over(after: int) -> None:
    with _server(("/blobs/", reset_after(after), 3), ranges=False) as server:
        assert _read(_client(server)) == DATA


def test_faults_without_progress_end_after_some_attempts() -> None:
    with _server(("/blobs/", reset_after(10), -1)) as server:
        with pytest.raises(RegistryError, match=rf"^GET .*/blobs/.*\({ATTEMPTS} attempts\); try again later"):
            _read(_client(server))
        assert len(server.requests("/blobs/")) == ATTEMPTS


@pytest.mark.parametrize("fault", [status(429, Retry_After="0"), status(503), status(500), status(504)])
def test_a_blob_that_is_refused_for_now_is_asked_for_again(fault: Fault) -> None:
    with _server(("/blobs/", fault, 2)) as server:
        assert _read(_client(server)) == DATA


@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_a_blob_that_is_refused_for_good_names_what_and_why(code: int) -> None:
    kinds: dict[int, type[HullError]] = {401: Denied, 403: Denied, 404: NotFound, 500: RegistryError}
    with _server(("/blobs/", status(code), -1)) as server, pytest.raises(kinds[code]) as caught:
        _read(_client(server))
    assert f"{server.host}/a, blob {DIGEST}" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (flip(200_000), "it has the digest"),
        (replace_body(DATA + b"x"), "it has 281601 bytes, the manifest says 281600"),
        (replace_body(DATA[:-1]), "it has 281599 bytes, the manifest says 281600"),
        (header("Content-Encoding", "gzip"), "sent with Content-Encoding gzip"),
    ],
)
def test_wrong_bytes_are_refused(fault: Fault, message: str) -> None:
    with _server(("/blobs/", fault, -1)) as server, pytest.raises((Damaged, RegistryError), match=message):
        _read(_client(server))


@pytest.mark.parametrize("fault", [stall(100_000), stall(0)])
def test_a_stall_is_waited_out_and_the_rest_fetched(fault: Fault) -> None:
    with _server(("/blobs/", fault, 1)) as server:
        assert _read(_client(server, 1)) == DATA


@pytest.mark.parametrize(("fault", "part"), [(stall(10), "/blobs/"), (trickle(0.1), "/manifests/")])
def test_a_registry_that_stalls_for_ever_ends_in_a_timeout(fault: Fault, part: str) -> None:
    with _server((part, fault, -1)) as server:
        started = time.monotonic()
        client = _client(server, 0.2)
        with pytest.raises(
            Timeout, match=r"^GET .*: (nothing came for 0.2 s|only \d+ bytes came in \d+ s of waiting) "
        ):
            _read(client) if part == "/blobs/" else client.manifest("a", "1")
        assert time.monotonic() - started < 12


def test_a_registry_that_never_answers_ends_in_a_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Timeout, match=f"^HEAD http://{host}/v2/a/manifests/1: nothing came for 0.2 s"):
            Registry(host, RegistryConfig(stall_timeout_s=0.2)).head("a", "1")
        with pytest.raises(Timeout, match="no TLS handshake within 0.2 s"):
            client = Registry(host, RegistryConfig(stall_timeout_s=0.2, plain_http=False))
            client.request("HEAD", "a", "manifests/1", {}, attempts=1)


def test_a_date_in_retry_after_is_kept() -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    with _server(("/manifests/", status(429, Retry_After=later), 1)) as server:
        started = time.monotonic()
        assert _client(server).manifest("a", "1").digest == IMAGE.digest
        assert time.monotonic() - started > 0.9


def test_a_limit_says_when_to_come_back() -> None:
    with (
        _server(("/manifests/", status(429, Retry_After="21600"), -1)) as server,
        pytest.raises(RegistryError, match="answers 429; try again later: in 6 hours, says the registry"),
    ):
        _client(server).manifest("a", "1")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_carries_no_authorization(code: int) -> None:
    other = FaultyRegistry("127.0.0.2")
    other.add("a", "1", Image(b"{}", "", b"", [], {DIGEST: DATA}))
    server = FaultyRegistry(need_token=True)
    server.fault("GET", "/blobs/", status(401, WWW_Authenticate=_challenge(server)), times=1)
    server.fault("GET", "/blobs/", status(code, Location=f"{other.url}/v2/a/blobs/{DIGEST}?signature=x"))
    with other, server:
        assert _read(_client(server)) == DATA
        assert server.requests("/blobs/")[-1].headers["authorization"].startswith("Bearer ")
        assert [request.headers.get("authorization") for request in other.requests()] == [None]


def _challenge(server: FaultyRegistry) -> str:
    return f'Bearer realm="{server.realm}",service="faulty, \\"test\\"",scope="repository:a:pull"'


def test_redirects_in_a_circle_end() -> None:
    server = FaultyRegistry()
    server.fault("GET", "/manifests/", status(307, Location="/v2/a/manifests/1"))
    with server:
        with pytest.raises(RegistryError, match="more than 10 redirects; the registry is misconfigured"):
            _client(server).manifest("a", "1")
        assert len(server.requests()) == 11


def test_duplicate_keys_of_a_manifest_are_refused() -> None:
    from ansible_collections.hull.engine.plugins.module_utils._image.manifest import parse_manifest

    data = IMAGE.manifest.replace(b"{", b'{"schemaVersion":2,', 1)
    server = FaultyRegistry()
    server.add_manifest("a", "1", data, OCI["manifest"])
    with server:
        document = _client(server).manifest("a", "1")
    with pytest.raises(Damaged, match="duplicate key"):
        parse_manifest(document.data, document.media_type, document.digest)


def test_warnings_of_the_registry_are_kept_once() -> None:
    server = _server(("/manifests/", header("Warning", '299 - "this \\"tag\\" goes away"'), -1))
    with server:
        client = _client(server)
        for _ in range(2):
            client.manifest("a", "1")
    assert client.warnings == ['this "tag" goes away']


def test_a_body_that_is_cut_thrice_is_put_together() -> None:
    with _server(("/blobs/", cut(90_000), 3)) as server:
        assert _read(_client(server)) == DATA
