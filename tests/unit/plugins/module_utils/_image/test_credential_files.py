# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied
from ansible_collections.hull.engine.plugins.module_utils._image.credential_files import apply, logged_in, plan_change
from ansible_collections.hull.engine.plugins.module_utils._image.credentials import search_file
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials

ME = Credentials("ci", "p:w")


def _file(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def _put(path: str, name: str, credentials: Credentials | None) -> bool:
    change = plan_change(path, name, credentials)
    if change.is_needed:
        apply(change)
    return change.is_needed


def test_what_else_is_in_the_file_stays(tmp_path: Path) -> None:
    others = {"HttpHeaders": {"a": "b"}, "credHelpers": {"x.example": "pass"}}
    auths = {"y.example": {"auth": "dTpw", "email": "e"}}
    path = _file(tmp_path / "config.json", {**others, "auths": auths})
    assert _put(path, "r.example", ME)
    document = json.loads((tmp_path / "config.json").read_text())
    assert document == {**others, "auths": {**auths, "r.example": {"auth": "Y2k6cDp3"}}}
    assert _put(path, "r.example", None)
    assert json.loads((tmp_path / "config.json").read_text()) == {**others, "auths": auths}


def test_the_file_is_made_with_its_directory_and_is_private(tmp_path: Path) -> None:
    path = f"{tmp_path}/new/dir/auth.json"
    assert _put(path, "r.example", ME)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert search_file(path, "r.example/x", {}) == ME
    os.chmod(path, 0o644)
    assert _put(path, "s.example", ME)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["auth.json"]


def test_the_second_time_nothing_changes(tmp_path: Path) -> None:
    path = f"{tmp_path}/auth.json"
    assert not _put(path, "r.example", None)
    assert not os.path.exists(path)
    assert _put(path, "r.example", ME)
    assert not _put(path, "r.example", ME)
    assert _put(path, "r.example", Credentials("ci", "other"))


@pytest.mark.parametrize(
    ("key", "name", "kept"),
    [
        ("https://r.example/v1/", "r.example", "r.example"),
        ("index.docker.io", "docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_an_entry_that_another_tool_wrote_is_replaced(tmp_path: Path, key: str, name: str, kept: str) -> None:
    path = _file(tmp_path / "auth.json", {"auths": {key: {"auth": "dTpw"}}})
    assert _put(path, name, ME)
    assert json.loads((tmp_path / "auth.json").read_text())["auths"] == {kept: {"auth": "Y2k6cDp3"}}


def test_a_path_in_a_registry_is_an_entry_of_its_own(tmp_path: Path) -> None:
    path = f"{tmp_path}/auth.json"
    _put(path, "r.example", ME)
    _put(path, "r.example/team", Credentials("team", "p"))
    assert logged_in(path) == ["r.example", "r.example/team"]
    assert _put(path, "r.example", None)
    assert search_file(path, "r.example/team/x", {}) == Credentials("team", "p")
    assert search_file(path, "r.example/x", {}) is None


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "auth.json").symlink_to("real/auth.json")
    _put(f"{tmp_path}/auth.json", "r.example", ME)
    assert (tmp_path / "auth.json").is_symlink()
    assert logged_in(f"{tmp_path}/real/auth.json") == ["r.example"]


def test_a_helper_keeps_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    program = tmp_path / "docker-credential-test"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in store) cat > {kept} ;; erase) rm -f {kept} ;;\n'
        f"get) cat {kept} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = _file(tmp_path / "config.json", {"credsStore": "test"})
    assert _put(path, "r.example", ME)
    assert not _put(path, "r.example", ME)
    assert "p:w" in kept.read_text()
    assert json.loads(Path(path).read_text()) == {"credsStore": "test", "auths": {"r.example": {}}}
    assert _put(path, "r.example", None)
    assert not kept.exists()


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Denied, match=f"write {tmp_path}/file/auth.json: "):
        _put(f"{tmp_path}/file/auth.json", "r.example", ME)


@pytest.mark.skipif(os.geteuid() != 0, reason="files of others take root")
def test_the_file_of_another_user_stays_theirs(tmp_path: Path) -> None:
    path = _file(tmp_path / "auth.json", {})
    os.chown(path, 1234, 4321)
    assert _put(path, "r.example", ME)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1234, 4321)
