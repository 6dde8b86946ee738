# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Whatever changes in a tree but the bytes in its files changes its digest; its place and its inodes do not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._store.tree_digest import tree_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "d/e").mkdir(parents=True)
    (top / "d/file").write_text("content")
    os.link(top / "d/file", top / "same")
    (top / "alone").write_text("x")
    (top / "link").symlink_to("d/file")
    os.mkfifo(top / "fifo")
    with open(os.fsencode(top) + b"/caf\xe9\nline", "w") as file:
        file.write("odd")
    return top


CHANGES: dict[str, Callable[[Path], object]] = {
    "mode": lambda top: os.chmod(top / "alone", 0o600),
    "mode of the top": lambda top: os.chmod(top, 0o700),
    "set-user-ID": lambda top: os.chmod(top / "alone", 0o4644),
    "size": lambda top: keep_time(top / "alone", lambda path: path.write_text("xy")),
    "time by a nanosecond": lambda top: os.utime(top / "alone", ns=(0, os.stat(top / "alone").st_mtime_ns + 1)),
    "time of a link": lambda top: os.utime(top / "link", ns=(0, 1), follow_symlinks=False),
    "time of a directory": lambda top: os.utime(top / "d/e", ns=(0, 1)),
    "name": lambda top: keep_time(top, lambda path: os.rename(path / "alone", path / "alonf")),
    "place": lambda top: keep_time(top, lambda path: os.rename(path / "alone", path / "d/alone")),
    "new file": lambda top: keep_time(top / "d/e", lambda path: (path / "new").touch()),
    "removed": lambda top: keep_time(top, lambda path: os.unlink(path / "alone")),
    "target": lambda top: keep_time(top, lambda path: replace_link(path / "link", "d/fil2")),
    "type": lambda top: keep_time(top, lambda path: (os.unlink(path / "fifo"), (path / "fifo").touch())),
    "attribute": lambda top: os.setxattr(top / "alone", "user.x", b"1"),
    "link broken": lambda top: keep_time(top, lambda path: break_link(path / "same")),
}


def keep_time(path: Path, change: Callable[[Path], object]) -> None:
    found = os.stat(path)
    change(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace_link(path: Path, target: str) -> None:
    found = os.lstat(path)
    path.unlink()
    path.symlink_to(target)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def break_link(path: Path) -> None:
    shutil.copy2(path, str(path) + "~")
    os.rename(str(path) + "~", path)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes_the_digest(tree: Path, name: str) -> None:
    before = tree_digest(str(tree))
    assert before == tree_digest(str(tree)) and len(before) == 71
    try:
        CHANGES[name](tree)
    except OSError as error:
        pytest.skip(f"this file system: {error}")
    assert tree_digest(str(tree)) != before


def test_bytes_alone_do_not(tree: Path) -> None:
    before = tree_digest(str(tree))
    keep_time(tree / "alone", lambda path: path.write_text("y"))
    assert tree_digest(str(tree)) == before


def test_a_copy_that_keeps_all_has_the_same(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "filler").write_text("other inodes")
    subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)
    assert tree_digest(str(tmp_path / "copy")) == tree_digest(str(tree))


def test_names_that_look_like_other_fields_are_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/a\n1").touch()
    for part in ("a", "1"):
        (tmp_path / "two" / part).touch()
    for directory, _, files in os.walk(tmp_path):
        for path in [*files, "."]:
            os.utime(os.path.join(directory, path), ns=(0, 0))
    assert tree_digest(str(tmp_path / "one")) != tree_digest(str(tmp_path / "two"))
