# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.credentials import find_credentials
from ansible_collections.hull.engine.plugins.module_utils._image.registry import home_url
from ansible_collections.hull.engine.plugins.module_utils._image.settings import (
    Credentials,
    RegistryConfig,
    load_settings,
    parse_settings,
)


def _settings(document: Any) -> Any:
    return parse_settings(json.dumps(document).encode(), "/etc/hull/registries.json")


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    settings = load_settings(Paths(config=str(tmp_path / "none")))
    assert settings.default_registry == "docker.io"
    assert settings.config_for("docker.io/library/x") == RegistryConfig()


def test_the_longest_prefix_wins(tmp_path: Path) -> None:
    registries = {"r.example": {"plain_http": True}, "r.example/team": {"ca_file": "/ca"}, "r.example/te": {}}
    (tmp_path / "registries.json").write_text(json.dumps({"default_registry": "r.example", "registries": registries}))
    settings = load_settings(Paths(config=str(tmp_path)))
    assert settings.default_registry == "r.example"
    assert settings.config_for("r.example/team/app").prefix == "r.example/team"
    assert settings.config_for("r.example/teams/app").prefix == "r.example"
    assert settings.config_for("r.example.org/team").prefix == ""


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"registry": {}}, "unknown key registry; known there: default_registry, foreign_layers, registries"),
        ({"registries": {"r": {"insecure": True}}}, "unknown key registries.r.insecure"),
        ({"registries": {"r": {"credentials": {"user": "x"}}}}, "unknown key registries.r.credentials.user"),
        ({"registries": {"r": {"plain_http": "yes"}}}, "registries.r.plain_http is not true or false"),
        ({"registries": {"r": {"token_hosts": [1]}}}, "registries.r.token_hosts is not a list of text"),
        ({"registries": {"r": {"ca_file": "ca.pem"}}}, "registries.r.ca_file is not an absolute path"),
        ({"registries": {"https://r": {}}}, "registries.https://r is not a registry"),
        ({"foreign_layers": "no"}, "foreign_layers is not true or false"),
        ({"registries": []}, "registries is not an object"),
        ([], "the document is not an object"),
    ],
)
def test_errors_name_file_and_key(document: Any, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        _settings(document)
    assert str(caught.value).startswith("read /etc/hull/registries.json: " + message)


def test_a_file_that_is_not_json_is_damaged() -> None:
    with pytest.raises(Damaged, match="/etc/hull/registries.json"):
        parse_settings(b"{", "/etc/hull/registries.json")


def test_credentials_for_one_operation_win() -> None:
    settings = _settings({"registries": {"r": {"credentials": {"username": "a", "password": "b"}}}})
    assert settings.config_for("r/x").credentials == Credentials("a", "b")
    assert settings.with_credentials("c", "d").config_for("r/x").credentials == Credentials("c", "d")


def test_secrets_are_not_shown() -> None:
    settings = _settings({"registries": {"r": {"credentials": {"username": "a", "password": "hunter2"}}}})
    assert "hunter2" not in repr(settings.with_credentials("x", "hunter2"))


@pytest.mark.parametrize(
    ("domain", "plain_http", "url"),
    [
        ("docker.io", None, "https://registry-1.docker.io/"),
        ("r.example:5000", None, "https://r.example:5000/"),
        ("r.example:5000", True, "http://r.example:5000/"),
        ("127.0.0.1:5000", None, "http://127.0.0.1:5000/"),
        ("localhost", None, "http://localhost/"),
        ("[::1]:5000", None, "http://[::1]:5000/"),
        ("127.0.0.1:5000", False, "https://127.0.0.1:5000/"),
    ],
)
def test_http_is_for_loopback_or_on_request(domain: str, plain_http: bool | None, url: str) -> None:
    assert home_url(domain, RegistryConfig(plain_http=plain_http)).text == url


def _auth_file(path: Path, auths: dict[str, Any]) -> dict[str, str]:
    path.write_text(json.dumps({"auths": auths, "credHelpers": {}}))
    return {"REGISTRY_AUTH_FILE": str(path)}


@pytest.mark.parametrize(
    ("name", "user"),
    [("r.example/team/app", "app"), ("r.example/team/x", "team"), ("r.example/y", "host"), ("s.example/y", "legacy")],
)
def test_the_most_specific_entry_of_another_tools_file_wins(tmp_path: Path, name: str, user: str) -> None:
    auths = {
        "r.example": {"username": "host", "password": "p"},
        "r.example/team": {"username": "team", "password": "p"},
        "r.example/team/app": {"auth": "YXBwOnA="},
        "https://s.example/v1/": {"auth": "bGVnYWN5OnA="},
    }
    found = find_credentials(name, _auth_file(tmp_path / "auth.json", auths))
    assert found == Credentials(user, "p")


def test_dockers_own_registry_has_its_old_key(tmp_path: Path) -> None:
    environ = _auth_file(tmp_path / "a", {"https://index.docker.io/v1/": {"auth": "dTpw"}})
    assert find_credentials("docker.io/library/debian", environ) == Credentials("u", "p")


def test_an_empty_entry_or_no_file_is_no_credentials(tmp_path: Path) -> None:
    assert find_credentials("r.example/x", _auth_file(tmp_path / "a", {"r.example": {}})) is None
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    if not os.path.exists("/run/containers/0/auth.json"):
        assert find_credentials("r.example/x", environ) is None


@pytest.mark.parametrize(
    "content", ["{", '{"auths": {"r.example": {"auth": "!"}}}', '{"auths": {"r.example": {"auth": 5}}}']
)
def test_a_damaged_file_of_another_tool_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(content)
    with pytest.raises(HullError, match=str(path)):
        find_credentials("r.example/x", {"REGISTRY_AUTH_FILE": str(path)})
