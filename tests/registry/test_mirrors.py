# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Mirrors and other locations of registries: who is asked for what, in which order, and what they learn."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, NotFound
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.hull.engine.plugins.module_utils._image.pull import Resolved, head_digest, resolve
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.registry import open_registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import (
    Credentials,
    Mirror,
    RegistryConfig,
    RegistrySettings,
)

from tests.support.faulty_registry import FaultyRegistry, cut, flip, status
from tests.support.images import DOCKER, Image, digest_of, make_image
from tests.support.registry import free_port

IMAGE = make_image([{"a": b"1"}], types=DOCKER)
OTHER = make_image([{"b": b"2"}], types=DOCKER)
DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)


def _server(image: Image = IMAGE, repository: str = "team/app", **options: Any) -> FaultyRegistry:
    server = FaultyRegistry(**options)
    server.add(repository, "1", image)
    return server


def _settings(primary: FaultyRegistry, *mirrors: Mirror, **fields: Any) -> RegistrySettings:
    return RegistrySettings(registries=(RegistryConfig(prefix=primary.host, mirrors=mirrors, **fields),))


def _resolve(primary: FaultyRegistry, settings: RegistrySettings, version: str = ":1") -> Resolved:
    return resolve(parse_reference(f"{primary.host}/team/app{version}"), None, config=settings)


def test_the_first_mirror_that_has_it_answers_all() -> None:
    primary, first, second = _server(), FaultyRegistry(), _server(repository="cache/team/app")
    settings = _settings(primary, Mirror(first.host), Mirror(f"{second.host}/cache"))
    with primary, first, second:
        assert _resolve(primary, settings).digest == IMAGE.digest
        assert head_digest(parse_reference(f"{primary.host}/team/app:1"), config=settings) == IMAGE.digest
        assert primary.requests() == []
        assert {request.path.rpartition("/")[0] for request in first.requests()} <= {
            "/v2/team/app/manifests",
            "/v2/team/app/blobs",
        }
        assert {request.path.rpartition("/")[0] for request in second.requests()} == {
            "/v2/cache/team/app/manifests",
            "/v2/cache/team/app/blobs",
        }


@pytest.mark.parametrize("fault", [status(404), status(500), status(403), status(401)])
def test_the_registry_itself_is_asked_last(fault: Any) -> None:
    primary, mirror = _server(), _server()
    mirror.fault("GET", "/v2/", fault)
    with primary, mirror:
        assert _resolve(primary, _settings(primary, Mirror(mirror.host))).digest == IMAGE.digest


def test_a_mirror_that_can_not_be_reached_is_passed_over_once() -> None:
    primary, gone = _server(), f"127.0.0.1:{free_port()}"
    with primary, open_registry(_reference(primary), _settings(primary, Mirror(gone))) as client:
        for _ in range(2):
            assert client.manifest("team/app", "1").digest == IMAGE.digest
        (warning,) = client.warnings
        assert warning.startswith(f"mirror {gone} is passed over: connect to {gone}: Connection refused")


def _reference(primary: FaultyRegistry) -> Any:
    return parse_reference(f"{primary.host}/team/app:1")


def test_a_mirror_for_digests_is_not_asked_for_tags() -> None:
    primary, mirror = _server(), _server(OTHER)
    with primary, mirror:
        settings = _settings(primary, Mirror(mirror.host, digest_only=True))
        assert _resolve(primary, settings).digest == IMAGE.digest
        assert all("/manifests/1" not in request.path for request in mirror.requests())
        assert _resolve(primary, settings, f"@{OTHER.digest}").digest == OTHER.digest


def test_bytes_of_a_mirror_that_do_not_match_their_digest_are_not_taken() -> None:
    primary, mirror = _server(), _server()
    mirror.fault("GET", "/manifests/", flip(5))
    mirror.fault("GET", "/blobs/", flip(5))
    with primary, mirror:
        assert _resolve(primary, _settings(primary, Mirror(mirror.host)), f"@{IMAGE.digest}").digest == IMAGE.digest
        assert primary.requests("/manifests/")


def _with_blob(server: FaultyRegistry) -> FaultyRegistry:
    server.add("team/app", "2", Image(b"{}", "", b"", [], {DIGEST: DATA}))
    return server


def _read(primary: FaultyRegistry, settings: RegistrySettings) -> bytes:
    with (
        open_registry(_reference(primary), settings) as client,
        client.blob("team/app", Descriptor("", DIGEST, len(DATA))) as blob,
    ):
        return b"".join(iter(lambda: blob.read(50_000), b""))


def test_a_transfer_that_breaks_off_at_a_mirror_goes_on_elsewhere() -> None:
    primary, mirror = _with_blob(FaultyRegistry()), _with_blob(FaultyRegistry())
    mirror.fault("GET", "/blobs/", cut(100_000))
    with primary, mirror:
        assert _read(primary, _settings(primary, Mirror(mirror.host))) == DATA
        assert [request.headers["range"] for request in primary.requests()] == ["bytes=100000-"]


def test_a_layer_that_a_mirror_has_damaged_names_the_mirror() -> None:
    primary, mirror = _with_blob(FaultyRegistry()), _with_blob(FaultyRegistry())
    mirror.fault("GET", "/blobs/", flip(5))
    with primary, mirror, pytest.raises(Damaged, match=f"of mirror {mirror.host} for {primary.host}/team/app: it has"):
        _read(primary, _settings(primary, Mirror(mirror.host)))


def test_credentials_of_the_registry_and_of_the_task_do_not_go_to_a_mirror() -> None:
    users = {"ci": "pw"}
    primary, mirror = _server(need_basic=True, users=users), _server(need_basic=True, users=users)
    settings = _settings(primary, Mirror(mirror.host), credentials=Credentials("ci", "pw"))
    with primary, mirror:
        for used in (settings, settings.with_credentials("ci", "pw")):
            assert _resolve(primary, used).digest == IMAGE.digest
        assert mirror.requests()
        assert not any("authorization" in request.headers for request in mirror.requests())


def test_a_mirror_has_credentials_of_its_own() -> None:
    primary, mirror = _server(OTHER), _server(need_basic=True, users={"m": "pw"})
    own = {"credentials": Credentials("m", "pw")}
    with primary, mirror:
        assert _resolve(primary, _settings(primary, Mirror(mirror.host, False, own))).digest == IMAGE.digest
        separate = RegistryConfig(prefix=mirror.host, credentials=Credentials("m", "pw"))
        settings = _settings(primary, Mirror(mirror.host))
        settings = RegistrySettings(registries=(*settings.registries, separate))
        assert _resolve(primary, settings).digest == IMAGE.digest


def test_an_error_names_what_mirrors_said_too() -> None:
    primary, mirror = FaultyRegistry(), FaultyRegistry()
    with primary, mirror, pytest.raises(NotFound) as caught:
        _resolve(primary, _settings(primary, Mirror(f"{mirror.host}/cache")))
    assert caught.value.message.startswith(f"image {primary.host}/team/app:1: not found")
    assert f"before that, at its mirrors; image {mirror.host}/cache/team/app:1: not found" in caught.value.hint


def test_only_pulls_go_to_mirrors() -> None:
    primary, mirror = _server(), _server()
    with primary, mirror, open_registry(_reference(primary), _settings(primary, Mirror(mirror.host))) as client:
        client.request("POST", "team/app", "blobs/uploads/", {}, actions=("pull", "push")).close()
        assert [request.method for request in primary.requests()] == ["POST"]
        assert mirror.requests() == []


def test_another_location_is_asked_instead() -> None:
    named, real = FaultyRegistry(), _server(repository="copies/app", need_token=True)
    config = RegistryConfig(prefix=f"{named.host}/team", location=f"{real.host}/copies")
    with named, real:
        settings = RegistrySettings(registries=(config,))
        assert _resolve(named, settings).digest == IMAGE.digest
        assert named.requests() == []
        assert "scope=repository%3Acopies%2Fapp%3Apull" in real.requests("/token")[0].path


def test_what_is_blocked_is_not_asked_for() -> None:
    with _server() as primary:
        settings = RegistrySettings(
            registries=(RegistryConfig(prefix=f"{primary.host}/team", blocked=True),),
            source="/etc/hull/registries.json",
        )
        with pytest.raises(Denied) as caught:
            _resolve(primary, settings)
        assert str(caught.value) == (
            f"image {primary.host}/team/app:1: what begins with {primary.host}/team is blocked; "
            "set blocked to false in /etc/hull/registries.json to allow it"
        )
        assert primary.requests() == []


@pytest.mark.parametrize("host", ["r.invalid:443", "r.invalid:0443", "R.Invalid", "R.INVALID:443"])
def test_another_spelling_of_a_blocked_name_is_blocked(host: str) -> None:
    settings = RegistrySettings(registries=(RegistryConfig(prefix="r.invalid", blocked=True),))
    with pytest.raises(Denied, match="what begins with r.invalid is blocked"):
        resolve(parse_reference(f"{host}/team/app:1"), None, config=settings)


def test_a_blocked_mirror_is_left_out() -> None:
    primary, mirror = _server(), _server(OTHER)
    with primary, mirror:
        blocked = RegistryConfig(prefix=mirror.host, blocked=True)
        settings = RegistrySettings(registries=(*_settings(primary, Mirror(mirror.host)).registries, blocked))
        assert _resolve(primary, settings).digest == IMAGE.digest
