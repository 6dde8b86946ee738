# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._module.installed_file import ensure_absent, ensure_file


def test_a_file_is_written_once(tmp_path):
    path = str(tmp_path / "tool")
    first = ensure_file(path, b"x", mode=0o755, check=False)
    assert first.changed and first.before == {"exists": False}
    assert (tmp_path / "tool").read_bytes() == b"x" and os.stat(path).st_mode & 0o777 == 0o755
    assert not ensure_file(path, b"x", mode=0o755, check=False).changed


@pytest.mark.parametrize("content, mode, reason", [(b"y", 0o755, "digest"), (b"x", 0o700, "mode")])
def test_the_reason_for_a_change_is_told(tmp_path, content, mode, reason):
    path = str(tmp_path / "tool")
    ensure_file(path, b"x", mode=0o755, check=False)
    assert ensure_file(path, content, mode=mode, check=False).actions[0].reason == reason


def test_check_mode_writes_and_removes_nothing(tmp_path):
    path = str(tmp_path / "tool")
    assert ensure_file(path, b"x", mode=0o755, check=True).changed
    assert os.listdir(tmp_path) == []
    ensure_file(path, b"x", mode=0o755, check=False)
    assert ensure_absent(path, check=True).changed
    assert os.listdir(tmp_path) == ["tool"]


def test_a_file_is_removed_once(tmp_path):
    path = str(tmp_path / "tool")
    ensure_file(path, b"x", mode=0o755, check=False)
    assert ensure_absent(path, check=False).changed
    assert not ensure_absent(path, check=False).changed


def test_a_directory_in_its_place_is_refused(tmp_path):
    with pytest.raises(errors.Conflict, match="there is a directory"):
        ensure_file(str(tmp_path), b"x", mode=0o755, check=False)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(errors.NotFound, match="its directory does not exist"):
        ensure_file(str(tmp_path / "a" / "b"), b"x", mode=0o755, check=True)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "tool").symlink_to("other")
    ensure_file(str(tmp_path / "tool"), b"x", mode=0o755, check=False)
    assert (tmp_path / "other").read_bytes() == b"other" and not (tmp_path / "tool").is_symlink()
