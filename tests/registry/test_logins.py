# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Logging in and out, with Podman and skopeo as witnesses of the files; what a registry tells about itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied, Invalid, RegistryError
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.registries import (
    Login,
    Question,
    describe,
    log_in,
    log_out,
    logins,
    server_name,
)
from ansible_collections.hull.engine.plugins.module_utils._image.credentials import search_file
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials

from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import DOCKER, make_image
from tests.support.registry import RunningRegistry, free_port

IMAGE = make_image([{"a": b"1"}], types=DOCKER)
OTHER = make_image([{"b": b"2"}], types=DOCKER, platform="linux/arm64")
USERS = {"ci": "pw", "other": "pw2"}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    return Engine(Paths(root=f"{tmp_path}/root", run=f"{tmp_path}/run", config=f"{tmp_path}/config"))


def _server(**options: Any) -> FaultyRegistry:
    server = FaultyRegistry(users=USERS, **(options or {"need_basic": True}))
    server.add("a", "1", IMAGE)
    return server


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("options", [{"need_basic": True}, {"need_token": True}])
def test_a_login_is_checked_kept_and_used(engine: Engine, options: dict[str, bool]) -> None:
    file = f"{engine.paths.config}/auth.json"
    with _server(**options) as server:
        outcome = log_in(engine, Login(server.host, "ci", "pw"))
        assert outcome.changed
        assert outcome.before == {"registry": server.host, "logged_in": False, "username": None}
        assert outcome.after == {"registry": server.host, "logged_in": True, "username": "ci"}
        asked = len(server.requests())
        assert not log_in(engine, Login(server.host, "ci", "pw")).changed
        assert len(server.requests()) == asked
        assert not log_in(engine, Login(server.host, "ci", "pw", reauthorize=True)).changed
        assert len(server.requests()) > asked
        shown = describe(engine, Question(name=f"{server.host}/a:1"))
        assert shown["image"]["digest"] == IMAGE.digest
    assert search_file(file, f"{server.host}/a", {}) == Credentials("ci", "pw")


def test_wrong_credentials_are_not_kept(engine: Engine) -> None:
    with _server() as server:
        with pytest.raises(Denied, match=f"registry {server.host}: the registry denies access to user ci") as caught:
            log_in(engine, Login(server.host, "ci", "hunter2"))
        assert "hunter2" not in str(caught.value)
        assert logins(engine) == []
        log_in(engine, Login(server.host, "ci", "pw"))
        with pytest.raises(Denied):
            log_in(engine, Login(server.host, "other", "wrong"))
    assert search_file(f"{engine.paths.config}/auth.json", server.host, {}) == Credentials("ci", "pw")


def test_checking_writes_nothing(engine: Engine) -> None:
    with _server() as server:
        assert log_in(engine, Login(server.host, "ci", "pw"), check=True).changed
        assert logins(engine) == []
        log_in(engine, Login(server.host, "ci", "pw"))
        assert log_out(engine, server.host, check=True).changed
        assert logins(engine) == [server.host]
        assert log_out(engine, server.host).changed
        assert not log_out(engine, server.host).changed
        assert logins(engine) == []


def test_other_tools_use_what_is_kept(engine: Engine, tmp_path: Path) -> None:
    file = f"{tmp_path}/elsewhere/config.json"
    with _server() as server:
        log_in(engine, Login(f"http://{server.host}/v1/", "ci", "pw", path=file))
        assert _run("podman", "login", "--get-login", "--authfile", file, server.host).strip() == "ci"
        shown = _run(
            "skopeo", "inspect", "--no-tags", "--tls-verify=false", "--authfile", file, f"docker://{server.host}/a:1"
        )
        assert json.loads(shown)["Digest"] == IMAGE.digest


def test_what_podman_keeps_is_used(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = f"{tmp_path}/podman.json"
    with _server() as server:
        _run("podman", "login", "--tls-verify=false", "--authfile", file, "-u", "other", "-p", "pw2", server.host)
        monkeypatch.setenv("REGISTRY_AUTH_FILE", file)
        assert describe(engine, Question(name=f"{server.host}/a:1"))["image"]["digest"] == IMAGE.digest
        log_out(engine, server.host)
        assert server.host not in Path(file).read_text()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://r.example:5000/v2/", "r.example:5000"),
        ("r.example/team", "r.example/team"),
        ("localhost", "localhost"),
        ("registry", "registry"),
    ],
)
def test_registries_are_named_in_many_ways(engine: Engine, text: str, name: str) -> None:
    assert server_name(engine, text) == name


@pytest.mark.parametrize("text", ["r.example:port", "-", "r.example/TEAM", "team/app", "a b"])
def test_what_is_no_registry_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(Invalid, match=f"^'{text}' is not a registry; write host"):
        server_name(engine, text)


def test_a_password_in_a_registrys_url_is_not_shown(engine: Engine) -> None:
    with pytest.raises(Invalid) as caught:
        server_name(engine, "https://ci:hunter2@r.example/")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("username", "password"), [("", "p"), ("u", ""), ("u:v", "p")])
def test_half_a_login_is_refused(engine: Engine, username: str, password: str) -> None:
    with pytest.raises(Invalid, match="^(username|password): "):
        log_in(engine, Login("r.example", username, password))


def test_a_registry_tells_what_it_has(engine: Engine, registry: RunningRegistry) -> None:
    registry.push_index("logins/many", "1", {"linux/amd64": IMAGE, "linux/arm64": OTHER})
    facts = describe(engine, Question(name=f"{registry.host}/logins/many:1"))
    assert facts["registry"] == {
        "name": registry.host,
        "url": f"http://{registry.host}",
        "reachable": True,
        "error": "",
        "api_version": "registry/2.0",
        "authentication": "none",
    }
    assert (facts["exists"], facts["tags"]) == (True, ["1"])
    assert facts["image"]["platforms"] == [
        {"platform": "linux/amd64", "digest": IMAGE.digest},
        {"platform": "linux/arm64", "digest": OTHER.digest},
    ]
    facts = describe(engine, Question(server=registry.host, catalog=True))
    assert "logins/many" in facts["repositories"]
    for name, tags in (("logins/none", []), ("logins/many:2", ["1"])):
        facts = describe(engine, Question(name=f"{registry.host}/{name}"))
        assert (facts["exists"], facts["tags"]) == (False, tags)


def test_a_registry_that_is_not_there_or_closed_is_a_result(engine: Engine) -> None:
    gone = f"127.0.0.1:{free_port()}"
    facts = describe(engine, Question(server=gone))["registry"]
    assert not facts["reachable"]
    assert f"connect to {gone}: Connection refused" in facts["error"]
    for options, scheme in (({"need_basic": True}, "basic"), ({"need_token": True}, "bearer")):
        with _server(**options) as server:
            facts = describe(engine, Question(server=server.host))["registry"]
            assert facts["reachable"]
            assert facts["authentication"] == scheme
            facts = describe(engine, Question(server=server.host, username="ci", password="pw"))["registry"]
            assert facts["error"] == ""


def test_a_server_that_is_no_registry_is_no_login(engine: Engine) -> None:
    server = FaultyRegistry()
    server.add_page("/v2/", {}, code=418)
    with server, pytest.raises(RegistryError, match=f"registry {server.host}: the registry answers 418"):
        log_in(engine, Login(server.host, "ci", "pw"))
