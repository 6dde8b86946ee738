# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.registry import home_url
from ansible_collections.hull.engine.plugins.module_utils._image.settings import (
    Credentials,
    RegistryConfig,
    RegistrySettings,
    load_settings,
)
from ansible_collections.hull.engine.plugins.module_utils._image.settings_file import parse_settings


def _settings(document: Any) -> Any:
    return parse_settings(json.dumps(document).encode(), "/etc/hull/registries.json")


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    settings = load_settings(Paths(config=str(tmp_path / "none")))
    assert settings.default_registry == "docker.io"
    places = (f"{tmp_path}/none/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")
    assert settings.config_for("docker.io/library/x") == RegistryConfig(certificates=places)
    assert settings.auth_file == f"{tmp_path}/none/auth.json"
    assert settings.keep_blobs


def test_the_longest_prefix_wins(tmp_path: Path) -> None:
    registries = {"r.example": {"plain_http": True}, "r.example/team": {"ca_file": "/ca"}, "r.example/te": {}}
    (tmp_path / "registries.json").write_text(json.dumps({"default_registry": "r.example", "registries": registries}))
    settings = load_settings(Paths(config=str(tmp_path)))
    assert settings.default_registry == "r.example"
    assert settings.config_for("r.example/team/app").prefix == "r.example/team"
    assert settings.config_for("r.example/teams/app").prefix == "r.example"
    assert settings.config_for("r.example.org/team").prefix == ""


def test_credentials_for_one_operation_win() -> None:
    settings = _settings({"registries": {"r.test": {"credentials": {"username": "a", "password": "b"}}}})
    assert settings.config_for("r.test/x").credentials == Credentials("a", "b")
    assert settings.with_credentials("c", "d").config_for("r.test/x").credentials == Credentials("c", "d")


def test_secrets_are_not_shown() -> None:
    settings = _settings({"registries": {"r.test": {"credentials": {"username": "a", "password": "hunter2"}}}})
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


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("a.r.example/x", "a.r.example"),
        ("b.r.example/x", "*.r.example"),
        ("c.b.r.example/x", "*.b.r.example"),
        ("r.example/x", ""),
        ("b.r.example:5000/x", ""),
    ],
)
def test_a_wildcard_stands_for_hosts_below_and_comes_after_a_name(name: str, prefix: str) -> None:
    settings = _settings({"registries": {"*.r.example": {}, "a.r.example": {}, "*.b.r.example": {}}})
    assert settings.config_for(name).prefix == prefix


@pytest.mark.parametrize(
    ("prefix", "location", "name", "expected"),
    [
        ("docker.io", "m.example:5000/hub", "docker.io/library/debian", "m.example:5000/hub/library/debian"),
        ("docker.io/library", "m.example/base", "docker.io/library/debian", "m.example/base/debian"),
        ("r.example/team/app", "m.example/app", "r.example/team/app", "m.example/app"),
        ("*.r.example", "m.example", "a.r.example/team/app", "m.example/team/app"),
        ("r.example", "", "r.example/app", "r.example/app"),
    ],
)
def test_a_location_takes_the_place_of_the_prefix(prefix: str, location: str, name: str, expected: str) -> None:
    assert RegistryConfig(prefix=prefix, location=location).locate(name) == expected


def test_credentials_for_one_operation_do_not_follow_a_rewrite_to_another_host() -> None:
    entries = {"r.test": {"location": "other.example/r"}, "s.test": {"location": "s.test/cache"}}
    settings = _settings({"registries": entries}).with_credentials("c", "d")
    assert settings.config_for("r.test/x").credentials is None
    assert settings.config_for("s.test/x").credentials == Credentials("c", "d")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("web", "r.example/team/web:latest"),
        ("web:2", "r.example/team/web:2"),
        ("web@sha256:" + "a" * 64, "r.example/team/web@sha256:" + "a" * 64),
        ("webb", "q.example/webb:latest"),
        ("docker.io/web", "docker.io/library/web:latest"),
    ],
)
def test_a_short_name_stands_for_another(text: str, canonical: str) -> None:
    settings = RegistrySettings("q.example", short_names={"web": "r.example/team/web"})
    assert settings.reference(text).canonical == canonical


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="image name 'A B'"):
        RegistrySettings().reference("A B")
