# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Requests with bodies and scopes, as a push makes them: against Debian's docker-registry and one that misbehaves."""

from __future__ import annotations

import io
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, RegistryError
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, RegistryConfig

from tests.support.faulty_registry import FaultyRegistry, reset, status
from tests.support.images import digest_of
from tests.support.registry import RunningRegistry

DATA = bytes(range(256)) * 8000


class _Source:
    """A body that counts how often it is opened; `length` is what it claims to have."""

    def __init__(self, data: bytes, length: int = -1) -> None:
        self.data = data
        self.size = len(data) if length < 0 else length
        self.opened = 0

    def open(self) -> io.BytesIO:
        self.opened += 1
        return io.BytesIO(self.data)


def _upload(registry: Registry, repository: str, source: _Source) -> None:
    session = registry.request("POST", repository, "blobs/uploads/", {}, actions=("pull", "push"))
    place = registry.location(session)
    session.close()
    target = type(place)(*place.origin, f"{place.target}&digest={digest_of(source.data)}")
    headers = {"Content-Type": "application/octet-stream"}
    done = registry.request("PUT", repository, target, headers, body=source, actions=("pull", "push"))
    assert done.status == 201, done.read_all(1000, "answer")
    done.close()


def test_a_body_is_sent_in_pieces_to_where_the_session_is(registry: RunningRegistry) -> None:
    source = _Source(DATA)
    with Registry(registry.host, RegistryConfig()) as client:
        _upload(client, "requests/app", source)
    answer = registry.request("HEAD", f"/v2/requests/app/blobs/{digest_of(DATA)}")
    assert answer.getheader("Content-Length") == str(len(DATA))
    assert source.opened == 1


def test_a_body_is_opened_anew_after_a_refusal_and_after_faults() -> None:
    server = FaultyRegistry(need_token=True)
    server.fault("POST", "/v2/", reset(), times=1)
    server.fault("POST", "/v2/", status(503), times=1)
    source = _Source(b"x" * 10)
    with server, Registry(server.host, RegistryConfig()) as client:
        answer = client.request("POST", "a", "blobs/uploads/", {}, body=source)
        answer.close()
        methods = [request.method for request in server.requests("/v2/")]
    assert methods == ["POST"] * 4
    assert source.opened == 4
    assert answer.status == 404


def test_with_one_attempt_nothing_is_sent_twice() -> None:
    server = FaultyRegistry()
    server.fault("POST", "/v2/", reset())
    source = _Source(b"x" * 10)
    with server, Registry(server.host, RegistryConfig()) as client:
        client.request("GET", "", "", {}).read_all(100, "root")
        with pytest.raises(RegistryError, match="^POST "):
            client.request("POST", "a", "blobs/uploads/", {}, body=source, attempts=1)
    assert source.opened == 1


def test_a_source_that_ends_early_is_not_sent_as_whole() -> None:
    with (
        FaultyRegistry() as server,
        Registry(server.host, RegistryConfig()) as client,
        pytest.raises(Damaged, match="send a body of 500 bytes: its source ends 490 bytes before"),
    ):
        client.request("POST", "a", "blobs/uploads/", {}, body=_Source(b"x" * 10, 500))


def test_a_mount_asks_for_both_repositories_in_one_token() -> None:
    server = FaultyRegistry(need_token=True)
    with server, Registry(server.host, RegistryConfig()) as client:
        scopes = ("repository:base:pull",)
        for _ in range(2):
            path = "blobs/uploads/?mount=x&from=base"
            client.request("POST", "app", path, {}, actions=("pull", "push"), extra_scopes=scopes).close()
        tokens = [parse_qs(urlsplit(request.path).query) for request in server.requests("/token")]
    assert tokens[0]["scope"] == ["repository:app:pull,push", "repository:base:pull"]


def test_authorization_does_not_follow_a_location_to_another_host() -> None:
    other = FaultyRegistry("127.0.0.2")
    server = FaultyRegistry(need_basic=True, users={"ci": "pw"})
    server.fault("POST", "/v2/", status(202, Location=f"{other.url}/upload/1?state=a%2Fb"))
    with other, server, Registry(server.host, RegistryConfig(), credentials=Credentials("ci", "pw")) as client:
        client.request("GET", "", "", {}).close()
        place = client.location(client.request("POST", "a", "blobs/uploads/", {}))
        client.request("POST", "a", place, {}, body=b"data").close()
        (seen,) = other.requests()
    assert seen.path == "/upload/1?state=a%2Fb"
    assert "authorization" not in seen.headers
