# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Blobs sent to registries that break off, limit, redirect and forget; what arrived is asked of the registry."""

from __future__ import annotations

import http.client
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    Denied,
    HullError,
    NotFound,
    RegistryError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, RegistryConfig
from ansible_collections.hull.engine.plugins.module_utils._image.uploads import File, has_blob, mount, upload

from tests.support.faulty_registry import Answer, FaultyRegistry, reset, status
from tests.support.images import digest_of
from tests.support.registry import RunningRegistry

DATA = random.Random(5).randbytes(3_000_000)
DIGEST = digest_of(DATA)
REPOSITORY = "team/app"


@pytest.fixture
def blob(tmp_path: Path) -> Callable[[bytes], File]:
    def write(data: bytes) -> File:
        path = tmp_path / "blob"
        path.write_bytes(data)
        return File(str(path), digest_of(data), len(data), lambda done: None)

    return write


def _stored(host: str, repository: str = REPOSITORY, digest: str = DIGEST) -> bytes:
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", f"/v2/{repository}/blobs/{digest}")
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return data if response.status == 200 else b""


def _open(server: FaultyRegistry | RunningRegistry, credentials: Credentials | None = None) -> Registry:
    return Registry(server.host, RegistryConfig(), credentials=credentials)


def _sent(server: FaultyRegistry, method: str) -> list[dict[str, str]]:
    """The headers of the requests that carried a part of the blob."""
    return [request.headers for request in server.requests("/uploads/") if request.method == method]


def test_a_blob_goes_in_one_request(blob: Callable[[bytes], File]) -> None:
    with FaultyRegistry(uploads=True) as server, _open(server) as registry:
        assert not has_blob(registry, REPOSITORY, DIGEST)
        upload(registry, REPOSITORY, blob(DATA))
        assert has_blob(registry, REPOSITORY, DIGEST)
        assert _stored(server.host) == DATA
        methods = [request.method for request in server.requests("/uploads/")]
        assert methods == ["POST", "PUT"]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_blobs(blob: Callable[[bytes], File], size: int) -> None:
    with FaultyRegistry(uploads=True) as server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA[:size]))
        assert has_blob(registry, REPOSITORY, digest_of(DATA[:size]))


def test_dockers_registry_takes_it(registry: RunningRegistry, blob: Callable[[bytes], File]) -> None:
    with _open(registry) as client:
        upload(client, "uploads/real", blob(DATA))
        assert has_blob(client, "uploads/real", DIGEST)
    assert _stored(registry.host, "uploads/real") == DATA


def test_an_upload_that_breaks_off_goes_on_where_the_registry_is(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 1_000_000, times=1)
    server.interrupt("PATCH", "/uploads/", 500_000, times=2)
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA
        spans = [headers["content-range"] for headers in _sent(server, "PATCH")]
        assert spans == ["1000000-2999999", "1500000-2999999", "2000000-2999999"]
        assert len(_sent(server, "POST")) == 1


def test_it_goes_on_as_long_as_there_is_progress(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 65536)
    server.interrupt("PATCH", "/uploads/", 65536)
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA[: 10 * 65536]))
        assert _stored(server.host, digest=digest_of(DATA[: 10 * 65536]))


def test_without_progress_it_ends(blob: Callable[[bytes], File], monkeypatch: pytest.MonkeyPatch) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 1000, keep=False)
    with server, _open(server) as registry:
        with pytest.raises(RegistryError, match=REPOSITORY):
            upload(registry, REPOSITORY, blob(DATA))
        assert len(_sent(server, "PUT")) == 5


def test_a_session_that_is_lost_is_begun_anew(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.fault("PUT", "/uploads/", status(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'), times=1)
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA
        assert len(_sent(server, "POST")) == 2


def test_a_lost_answer_to_the_last_request_is_no_second_upload(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.fault("PUT", "/uploads/", reset(), times=1)
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert len(_sent(server, "PUT")) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_refusals_are_waited_out(blob: Callable[[bytes], File], code: int) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 0, times=2, answer=status(code, Retry_After="0"))
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA


def test_a_token_that_expires_in_the_middle_is_renewed(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True, need_token=True, users={"me": "secret"})
    denial = status(401, WWW_Authenticate=f'Bearer realm="{server.realm}",service="faulty, \\"test\\""')
    server.interrupt("PUT", "/uploads/", 100_000, times=1, keep=False, answer=denial)
    with server, _open(server, Credentials("me", "secret")) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert has_blob(registry, REPOSITORY, DIGEST)
        assert len(server.requests("/token")) == 2


def test_pieces_follow_where_a_proxy_limits_bodies(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    assert server.uploads
    server.uploads.largest_body = 1_000_000
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA
        sizes = [int(headers["content-length"]) for headers in _sent(server, "PATCH")]
        assert max(sizes[1:]) <= 1_000_000 and sum(sizes[1:]) == len(DATA)


def test_pieces_are_as_large_as_the_registry_wants(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    assert server.uploads
    server.uploads.largest_body = 1_000_000
    server.uploads.least_piece = 700_000
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA
        sizes = [int(headers["content-length"]) for headers in _sent(server, "PATCH")]
        assert sizes[1:] == [700_000] * 4 + [200_000]


def test_a_registry_without_pieces_gets_the_whole_again(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 1_000_000, times=1)
    server.fault("PATCH", "/uploads/", status(405))
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA


def test_a_piece_that_does_not_fit_is_sent_from_where_the_registry_is(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.interrupt("PUT", "/uploads/", 1_000_000, times=1)
    server.fault("GET", "/uploads/", lambda answer: answer.headers.update(Range="0-1499999"), times=1)
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert _stored(server.host) == DATA
        assert [headers["content-range"] for headers in _sent(server, "PATCH")] == [
            "1500000-2999999",
            "1000000-2999999",
        ]


def test_a_location_on_another_host_gets_no_credentials(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True, need_basic=True, users={"me": "secret"})

    def elsewhere(answer: Answer) -> None:
        if answer.status == 202:
            port = server.host.rpartition(":")[2]
            answer.headers["Location"] = f"http://localhost:{port}" + answer.headers["Location"]

    server.fault("POST", "/uploads/", elsewhere)
    with server, _open(server, Credentials("me", "secret")) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        assert has_blob(registry, REPOSITORY, DIGEST)
        (sent,) = _sent(server, "PUT")
        assert sent["host"].startswith("localhost") and "authorization" not in sent
        assert "authorization" in _sent(server, "POST")[-1]


def test_an_absolute_location_keeps_its_query(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    server.fault(
        "POST", "/uploads/", lambda answer: answer.headers.update(Location=server.url + answer.headers["Location"])
    )
    with server, _open(server) as registry:
        upload(registry, REPOSITORY, blob(DATA))
        put = next(request for request in server.requests("/uploads/") if request.method == "PUT")
        assert f"?state=a%2Fb%2Bc%3D&digest={DIGEST}" in put.path


@pytest.mark.parametrize(
    ("code", "body", "kind", "words"),
    [
        (401, b"", Denied, "hull login"),
        (403, b'{"errors":[{"code":"DENIED","message":"read only user"}]}', Denied, "read only user"),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no project"}]}', NotFound, "to be made first"),
        (405, b'{"errors":[{"code":"UNSUPPORTED"}]}', Unsupported, "another one"),
        (507, b"", RegistryError, "storage is full"),
        (400, b'{"errors":[{"code":"NAME_INVALID"}]}', RegistryError, "NAME_INVALID"),
    ],
)
def test_a_refusal_names_registry_repository_and_cure(
    blob: Callable[[bytes], File], code: int, body: bytes, kind: type[HullError], words: str
) -> None:
    server = FaultyRegistry(uploads=True)
    server.fault("POST", "/uploads/", status(code, body))
    with server, _open(server) as registry, pytest.raises(kind) as raised:
        upload(registry, REPOSITORY, blob(DATA))
    assert f"{server.host}/{REPOSITORY}" in str(raised.value) and words in str(raised.value)


def test_a_blob_too_large_even_in_pieces_is_refused_with_the_cure(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    assert server.uploads
    server.uploads.largest_body = 1000
    with server, _open(server) as registry, pytest.raises(RegistryError, match="client_max_body_size"):
        upload(registry, REPOSITORY, blob(DATA))


def test_a_blob_that_is_changed_on_the_way_is_refused(blob: Callable[[bytes], File], tmp_path: Path) -> None:
    content = blob(DATA)
    (tmp_path / "blob").write_bytes(DATA[:-1] + b"?")
    with FaultyRegistry(uploads=True) as server, _open(server) as registry:
        with pytest.raises(Damaged, match="DIGEST_INVALID"):
            upload(registry, REPOSITORY, content)
        assert not has_blob(registry, REPOSITORY, DIGEST)


def test_a_registry_that_stores_something_else_is_found_out(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True)
    other = digest_of(b"other")
    server.fault("PUT", "/uploads/", lambda answer: answer.headers.update({"Docker-Content-Digest": other}))
    with server, _open(server) as registry, pytest.raises(Damaged, match=other):
        upload(registry, REPOSITORY, blob(DATA))


def test_a_blob_is_mounted_from_another_repository(blob: Callable[[bytes], File]) -> None:
    server = FaultyRegistry(uploads=True, need_token=True, users={"me": "secret"})
    with server, _open(server, Credentials("me", "secret")) as registry:
        upload(registry, "team/base", blob(DATA))
        assert mount(registry, REPOSITORY, DIGEST, "team/base") is True
        assert has_blob(registry, REPOSITORY, DIGEST)


def test_a_mount_that_begins_an_upload_gives_its_session(blob: Callable[[bytes], File]) -> None:
    with FaultyRegistry(uploads=True) as server, _open(server) as registry:
        session = mount(registry, REPOSITORY, DIGEST, "team/base")
        assert not isinstance(session, bool)
        upload(registry, REPOSITORY, blob(DATA), session=session)
        assert _stored(server.host) == DATA
        assert len(_sent(server, "POST")) == 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refused_mount_is_no_error(code: int) -> None:
    server = FaultyRegistry(uploads=True)
    server.fault("POST", "mount=", status(code))
    with server, _open(server) as registry:
        assert mount(registry, REPOSITORY, DIGEST, "team/base") is False
