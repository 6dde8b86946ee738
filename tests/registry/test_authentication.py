# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Who we say we are to a registry and its token service, how often, and where that is looked up."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry, open_registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import (
    Credentials,
    RegistryConfig,
    load_settings,
)

from tests.support.faulty_registry import FaultyRegistry, identity_for, status, token_for
from tests.support.images import DOCKER, make_image

IMAGE = make_image([{"a": b"1"}], types=DOCKER)
USERS = {"ci": "pw"}


def _server(**options: object) -> FaultyRegistry:
    server = FaultyRegistry(**{"need_token": True, "users": USERS, **options})  # type: ignore[arg-type]
    server.add("a", "1", IMAGE)
    return server


def _head(server: FaultyRegistry, credentials: Credentials | None) -> str:
    with Registry(server.host, RegistryConfig(), credentials=credentials) as client:
        return client.head("a", "1")


def _methods(server: FaultyRegistry) -> list[str]:
    return [request.method for request in server.requests("/token")]


@pytest.mark.parametrize("code", [400, 404, 405])
def test_a_token_service_that_knows_forms_only_gets_one(code: int) -> None:
    server = _server()
    server.fault("GET", "/token", status(code))
    with server:
        assert _head(server, Credentials("ci", "pw")) == IMAGE.digest
        assert _methods(server) == ["GET", "POST"]


@pytest.mark.parametrize("code", [400, 401, 404, 405])
def test_a_token_service_that_knows_no_forms_is_asked_by_query(code: int) -> None:
    server = _server(users={"<token>": identity_for("ci")})
    server.fault("POST", "/token", status(code))
    with server:
        assert _head(server, Credentials(identity_token=identity_for("ci"))) == IMAGE.digest
        assert _methods(server) == ["POST", "GET"]


def test_a_wrong_password_is_sent_once() -> None:
    with _server() as server:
        with pytest.raises(
            Denied, match=f"log in at {server.host} as ci: .*/token answers 401 .*; .*hull login"
        ) as seen:
            _head(server, Credentials("ci", "hunter2"))
        assert _methods(server) == ["GET"]
        assert "hunter2" not in str(seen.value)


def test_tokens_are_kept_by_scopes_and_fetched_again_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.hull.engine.plugins.module_utils._image import auth

    now = auth.time.monotonic()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    server = _server(token_lifetime_s=100)
    with server, Registry(server.host, RegistryConfig(), credentials=Credentials("ci", "pw")) as client:
        monkeypatch.setattr(auth, "time", Clock)
        for extra in ((), (), ("repository:b:pull",), ("repository:b:pull",)):
            client.request("GET", "a", "manifests/1", {}, extra_scopes=extra).close()
        assert len(_methods(server)) == 2
        now += 95
        client.request("GET", "a", "manifests/1", {}).close()
        assert len(_methods(server)) == 3
        assert all(request.headers.get("authorization") for request in server.requests("/manifests/")[1:])


def test_a_token_for_ever_is_one_for_a_while() -> None:
    server = _server(token_lifetime_s=10**400)
    with server:
        assert _head(server, Credentials("ci", "pw")) == IMAGE.digest


def test_further_scopes_that_the_registry_wants_are_asked_for_once() -> None:
    server = _server(users={})
    challenge = f'Bearer realm="{server.realm}",service="faulty, \\"test\\"",error="insufficient_scope"'
    wanted = status(401, WWW_Authenticate=f'{challenge},scope="repository:a:pull repository:base:pull"')
    server.fault("GET", "/manifests/", status(401, WWW_Authenticate=challenge + ',scope="repository:a:pull"'), times=1)
    server.fault("GET", "/manifests/", wanted)
    with server, Registry(server.host, RegistryConfig()) as client:
        assert client.request("GET", "a", "manifests/1", {}).status == 401
        scopes = [parse_qs(urlsplit(request.path).query)["scope"] for request in server.requests("/token")]
        assert scopes == [["repository:a:pull"], ["repository:a:pull", "repository:base:pull"]]
        assert len(server.requests("/manifests/")) == 3


def test_a_ready_token_is_sent_as_it_is() -> None:
    with _server() as server:
        assert _head(server, Credentials(registry_token=token_for("repository:a:pull"))) == IMAGE.digest
        assert _methods(server) == []


def test_bearer_goes_before_basic_whatever_the_order_of_headers() -> None:
    server = _server()
    bearer = f'Bearer realm="{server.realm}",service="faulty, \\"test\\""'
    server.fault("HEAD", "/manifests/", status(401, WWW_Authenticate=f'Basic realm="x", {bearer}'), times=1)
    with server:
        assert _head(server, Credentials("ci", "pw")) == IMAGE.digest


def test_a_401_without_a_challenge_is_answered_by_what_the_root_says() -> None:
    server = _server(need_basic=True, need_token=False)
    server.fault("HEAD", "/manifests/", status(401), times=1)
    with server:
        assert _head(server, Credentials("ci", "pw")) == IMAGE.digest


@pytest.mark.parametrize("code", [401, 403])
def test_who_is_denied_is_told_as_whom_and_what_to_do(code: int) -> None:
    server = _server(need_basic=True, need_token=False)
    server.fault("HEAD", "/manifests/", status(code))
    with server, pytest.raises(Denied) as caught:
        Registry(server.host, RegistryConfig(), credentials=Credentials("ci", "hunter2")).head("a", "1")
    assert f"image {server.host}/a:1: the registry denies access" in str(caught.value)
    assert f"hull login {server.host}" in caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_files_of_credentials_are_read_when_the_registry_asks(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{")
    settings = load_settings(Paths(config=str(tmp_path)))
    free, closed = FaultyRegistry(), _server()
    reference = parse_reference(free.add("a", "1", IMAGE))
    with free, closed:
        with open_registry(reference, settings) as client:
            assert client.head("a", "1") == IMAGE.digest
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {closed.host: {"auth": "Y2k6cHc="}}}))
        with open_registry(parse_reference(f"{closed.host}/a:1"), settings) as client:
            assert client.head("a", "1") == IMAGE.digest


def test_the_settings_go_before_files_and_the_task_before_both(tmp_path: Path) -> None:
    with _server(users={"task": "t", "settings": "s", "file": "f"}) as server:
        document = {"registries": {server.host: {"credentials": {"username": "settings", "password": "s"}}}}
        (tmp_path / "registries.json").write_text(json.dumps(document))
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {server.host: {"auth": "ZmlsZTpm"}}}))
        settings = load_settings(Paths(config=str(tmp_path)))
        reference = parse_reference(f"{server.host}/a:1")
        for given in (settings.with_credentials("task", "t"), settings):
            open_registry(reference, given).head("a", "1")
        (tmp_path / "registries.json").unlink()
        open_registry(reference, load_settings(Paths(config=str(tmp_path)))).head("a", "1")
        accounts = [parse_qs(urlsplit(request.path).query)["account"] for request in server.requests("/token")]
        assert accounts == [["task"], ["settings"], ["file"]]
