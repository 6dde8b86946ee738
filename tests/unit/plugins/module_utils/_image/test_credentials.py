# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import HullError
from ansible_collections.hull.engine.plugins.module_utils._image.credentials import (
    auth_files,
    find_credentials,
    search_file,
)
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials


def _auth_file(path: Path, auths: dict[str, Any]) -> dict[str, str]:
    path.write_text(json.dumps({"auths": auths, "credHelpers": {}, "HttpHeaders": {}}))
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


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("https://r.example/v1/", "r.example/x"),
        ("http://r.example/v2/", "r.example/x"),
        ("r.example/v1/", "r.example/x"),
        ("https://r.example:5000", "r.example:5000/x"),
        ("index.docker.io", "docker.io/library/x"),
        ("https://registry-1.docker.io/v2/", "docker.io/library/x"),
    ],
)
def test_keys_are_normalised(tmp_path: Path, key: str, name: str) -> None:
    environ = _auth_file(tmp_path / "a", {key: {"auth": "dTpw"}})
    assert find_credentials(name, environ) == Credentials("u", "p")
    assert find_credentials("other.example/x", environ) is None


def test_a_path_of_a_registry_is_not_the_registry(tmp_path: Path) -> None:
    environ = _auth_file(tmp_path / "a", {"r.example/team": {"auth": "dTpw"}})
    assert find_credentials("r.example/other", environ) is None


def test_tokens_of_all_kinds_are_read(tmp_path: Path) -> None:
    auths = {
        "a": {"identitytoken": "it", "auth": "dTpw"},
        "b": {"registrytoken": "rt"},
        "c": {"username": "<token>", "password": "it"},
        "d": {"auth": "dTpwAAA="},
    }
    environ = _auth_file(tmp_path / "a", auths)
    found = [find_credentials(f"{name}/x", environ) for name in "abcd"]
    assert found == [
        Credentials("u", "p", "it"),
        Credentials("", "", "", "rt"),
        Credentials("", "", "it"),
        Credentials("u", "p"),
    ]


def test_files_are_asked_in_order(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_CONFIG": str(tmp_path / "d")}
    assert [path.replace(str(tmp_path), "~") for path in auth_files(environ, str(own)) if "/run/c" not in path] == [
        "~/own.json",
        "~/.config/containers/auth.json",
        "~/d/config.json",
        "~/.dockercfg",
    ]
    environ["REGISTRY_AUTH_FILE"] = "/x.json"
    assert auth_files(environ, str(own)) == ["/x.json", str(own)]


def test_the_oldest_file_has_no_auths(tmp_path: Path) -> None:
    (tmp_path / ".dockercfg").write_text(json.dumps({"https://index.docker.io/v1/": {"auth": "dTpw", "email": "e"}}))
    found = search_file(f"{tmp_path}/.dockercfg", "docker.io/library/x", {})
    assert found == Credentials("u", "p")


def _helper(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A helper named `test` in PATH."""
    path = directory / "docker-credential-test"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("document", "name", "user"),
    [
        ({"credHelpers": {"r.example": "test"}, "auths": {"r.example": {"auth": "dTpw"}}}, "r.example/x", "r.example"),
        ({"credsStore": "test", "auths": {"r.example": {}}}, "r.example/x", "r.example"),
        ({"credsStore": "test", "auths": {"r.example": {"auth": "dTpw"}}}, "r.example/x", "u"),
        ({"credsStore": "test"}, "docker.io/library/x", "https://index.docker.io/v1/"),
    ],
)
def test_helpers_are_asked_for_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], name: str, user: str
) -> None:
    _helper(tmp_path, monkeypatch, 'read key; printf \'{"ServerURL":"x","Username":"%s","Secret":"p"}\' "$key"\n')
    (tmp_path / "config.json").write_text(json.dumps(document))
    found = search_file(f"{tmp_path}/config.json", name, os.environ)
    assert found == Credentials(user, "p")
