# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import InstalledFile, ensure_files


def _ensure(path, content, mode=0o755, *, check=False, within=""):
    return ensure_files([InstalledFile(str(path), content, mode, str(within))], check=check)


def test_a_file_is_written_once(tmp_path):
    path = tmp_path / "tool"
    first = _ensure(path, b"x")
    assert first.changed and first.before == {str(path): {"exists": False}}
    assert path.read_bytes() == b"x" and os.stat(path).st_mode & 0o777 == 0o755
    assert not _ensure(path, b"x").changed


@pytest.mark.parametrize("content, mode, reason", [(b"y", 0o755, "digest"), (b"x", 0o700, "mode")])
def test_the_reason_for_a_change_is_told(tmp_path, content, mode, reason):
    path = tmp_path / "tool"
    _ensure(path, b"x")
    assert _ensure(path, content, mode).actions[0].reason == reason


def test_check_mode_writes_and_removes_nothing(tmp_path):
    path = tmp_path / "tool"
    assert _ensure(path, b"x", check=True).changed
    assert _ensure(tmp_path / "share/man/tool.1", b"x", check=True, within=tmp_path).changed
    assert os.listdir(tmp_path) == []
    _ensure(path, b"x")
    assert _ensure(path, None, check=True).changed
    assert os.listdir(tmp_path) == ["tool"]


def test_a_file_is_removed_once(tmp_path):
    path = tmp_path / "tool"
    _ensure(path, b"x")
    assert _ensure(path, None).changed
    assert not _ensure(path, None).changed


def test_directories_come_and_go_with_the_file(tmp_path):
    path = tmp_path / "man/man1/tool.1"
    _ensure(path, b"x", within=tmp_path)
    assert path.read_bytes() == b"x"
    _ensure(path, None, within=tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_was_there_before_stays_though_it_is_empty(tmp_path):
    path = tmp_path / "man/man1/tool.1"
    (tmp_path / "man").mkdir()
    _ensure(path, b"x", within=tmp_path)
    _ensure(path, None, within=tmp_path)
    assert os.listdir(tmp_path) == ["man"] and os.listdir(tmp_path / "man") == []


def test_a_directory_with_something_else_in_it_stays(tmp_path):
    path = tmp_path / "man/man1/tool.1"
    _ensure(path, b"x", within=tmp_path)
    (tmp_path / "man/other").write_bytes(b"")
    _ensure(path, None, within=tmp_path)
    assert os.listdir(tmp_path / "man") == ["other"]


def test_where_one_file_is_refused_none_is_changed(tmp_path):
    (tmp_path / "second").mkdir()
    files = [InstalledFile(f"{tmp_path}/{name}", b"x") for name in ("first", "second")]
    with pytest.raises(errors.Conflict, match="second: there is a directory"):
        ensure_files(files, check=False)
    assert os.listdir(tmp_path) == ["second"]


def test_a_check_takes_a_missing_directory_for_made(tmp_path):
    assert ensure_files([InstalledFile(f"{tmp_path}/missing/file", b"x")], check=True).changed
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(errors.NotFound, match="its directory does not exist"):
        _ensure(tmp_path / "a" / "b", b"x")


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "tool").symlink_to("other")
    _ensure(tmp_path / "tool", b"x")
    assert (tmp_path / "other").read_bytes() == b"other" and not (tmp_path / "tool").is_symlink()
