# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.tree import Blocked, Missing, Tree, normalise


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a/b", b"a/b"),
        (b"./a", b"a"),
        (b"/a//b/./c/", b"a/b/c"),
        (b".", b""),
        (b"./", b""),
        (b"/", b""),
        (b"..a", b"..a"),
    ],
)
def test_names_become_paths(name: bytes, path: bytes) -> None:
    assert normalise(name, 10) == path


@pytest.mark.parametrize("name", [b"..", b"a/..", b"a/../b", b"/../a", b"a/" * 10 + b"b"])
def test_names_that_climb_or_are_too_deep_are_refused(name: bytes) -> None:
    with pytest.raises(Damaged):
        normalise(name, 10)


def test_directories_are_found_made_and_resolved(tmp_path: Path) -> None:
    made: list[tuple[bytes, bool]] = []
    (tmp_path / "link").symlink_to("../../real/x")
    (tmp_path / "file").touch()
    root = os.open(tmp_path, os.O_RDONLY)
    tree = Tree(root, lambda path, replaced: made.append((path, replaced)))
    try:
        with pytest.raises(Missing) as missing:
            tree.directory(b"link/y/z", create=False)
        assert missing.value.path == b"real/x/y/z"
        assert tree.directory(b"link/y", create=True)[1] == b"real/x/y"
        assert made == [(b"real", False), (b"real/x", False), (b"real/x/y", False)]
        with pytest.raises(Blocked):
            tree.directory(b"file/x", create=True)
        deep = b"/".join([b"d"] * 200)
        tree.directory(deep, create=True)
        for number in range(200):
            tree.directory(b"other/%d" % number, create=True)
        assert tree.directory(deep, create=False)[1] == deep
        tree.remove(root, b"d", b"d", os.lstat("d", dir_fd=root))
        assert not (tmp_path / "d").exists()
    finally:
        tree.close()
        os.close(root)
