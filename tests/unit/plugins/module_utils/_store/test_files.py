# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files written whole, and trees removed without leaving them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied
from ansible_collections.hull.engine.plugins.module_utils._store import files
from ansible_collections.hull.engine.plugins.module_utils._store.files import (
    make_private_directory,
    remove_tree,
    write_atomic,
)


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomic(str(path), b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_atomic(str(path), b"two", mode=0o644)
    assert path.read_bytes() == b"two" and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["state"]


def test_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("old")
    (tmp_path / "state").symlink_to("victim")
    write_atomic(str(tmp_path / "state"), b"new")
    assert (tmp_path / "victim").read_text() == "old" and not (tmp_path / "state").is_symlink()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_atomic(str(path), b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(str(path), b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["state"]


def test_a_tree_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(50):
        (tree / f"d{number}" / "e").mkdir(parents=True)
        (tree / f"d{number}" / "e" / "f").write_text("x")
    os.mkfifo(tree / "fifo")
    (tree / "unreadable").mkdir(mode=0o700)
    remove_tree(str(tree) + "/")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    (tmp_path / "alias").symlink_to(outside)
    remove_tree(str(tree))
    remove_tree(str(tmp_path / "alias"))
    assert os.listdir(tmp_path) == ["outside"] and (outside / "file").exists()


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "missing"))
    remove_tree(str(tmp_path / "missing" / "below"))


def test_a_single_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    remove_tree(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []


def test_a_tree_deeper_than_descriptors_and_path_names_last(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("tree", dir_fd=top)
    fd = os.open("tree", os.O_RDONLY, dir_fd=top)
    for level in range(3000):
        os.mkdir("d" * 20, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        assert level < 3000
    os.close(fd)
    os.close(top)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_two_may_remove_the_same_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(60):
        (tree / f"{number % 7}" / f"{number}").mkdir(parents=True)
        (tree / f"{number % 7}" / f"{number}" / "f").write_text("x")
    errors: list[BaseException] = []

    def remove() -> None:
        try:
            remove_tree(str(tree))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and not tree.exists()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_tree(str(tmp_path / "a"))
    write_atomic(str(tmp_path / "f"), b"")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_private_directory_is_private_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    make_private_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o755)
    make_private_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_private_directory_is_no_link_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(Denied, match="something else has this name"):
            make_private_directory(str(tmp_path / name))


def test_importing_costs_next_to_nothing() -> None:
    script = f"import sys; sys.path[:0] = sys.argv[1:]; import {files.__name__}; print('ctypes' in sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", script, *sys.path]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout == "False\n"
