# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Removal of trees in which something is mounted or must not be removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Denied
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store.files import remove_tree
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import empty_trash
from ansible_collections.hull.engine.plugins.module_utils._sys import calls, mount_flags

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def bind(source: Path, target: Path) -> None:
    calls.mount(str(source), str(target), None, mount_flags.MS_BIND)


@pytest.mark.parametrize("below", [".", "deep/er", "/".join(["d"] * 40)])
def test_what_is_mounted_in_a_tree_is_not_entered(tmp_path: Path, below: str) -> None:
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    (precious / "sub").mkdir(parents=True)
    (precious / "file").write_text("x")
    (tree / below / "mounted").mkdir(parents=True)

    def remove() -> None:
        bind(precious, tree / below / "mounted")  # the same file system, so that only the mount tells it
        with pytest.raises(Conflict, match="mount point"):
            remove_tree(str(tree))

    run_isolated(remove)
    assert sorted(os.listdir(precious)) == ["file", "sub"]
    remove_tree(str(tree))
    assert not tree.exists()


def test_a_mounted_file_or_top_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("")
    (tmp_path / "other").write_text("x")

    def remove() -> None:
        bind(tmp_path / "other", tmp_path / "tree/file")
        with pytest.raises(Conflict, match="file in it is a mount point"):
            remove_tree(str(tmp_path / "tree"))
        calls.umount2(str(tmp_path / "tree/file"))
        bind(tmp_path / "tree", tmp_path / "tree")
        with pytest.raises(Conflict, match="tree in it is a mount point"):
            remove_tree(str(tmp_path / "tree"))

    run_isolated(remove)
    assert (tmp_path / "other").read_text() == "x"


def test_what_can_t_be_removed_stays_in_the_trash_and_hinders_nothing(tmp_path: Path) -> None:
    paths = Paths(root=str(tmp_path))
    for name in ("one", "two"):
        os.makedirs(f"{paths.trash}/{name}/d")
        Path(paths.trash, name, "d", "file").write_text("x")
    locked = f"{paths.trash}/one/d/file"
    if subprocess.run(["chattr", "+i", locked], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(Denied, match="file in it; lsattr"):
            remove_tree(f"{paths.trash}/one")
        assert empty_trash(paths) > 0 and os.listdir(paths.trash) == ["one"]
    finally:
        subprocess.run(["chattr", "-i", locked], check=True)
    assert empty_trash(paths) > 0 and os.listdir(paths.trash) == []
