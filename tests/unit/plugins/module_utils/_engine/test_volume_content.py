# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying an image's directory into a volume that a running container changes at the same time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._engine.volume_content import _Copy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def copy(source: Path, destination: Path) -> None:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, destination)]
    try:
        _Copy(fds[1]).directory(fds[0], fds[1], "")
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "destination").mkdir()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "one").write_text("secret")
    (tmp_path / "host" / "one").chmod(0o600)
    return tmp_path / "source"


def test_hard_links_stay_one_file(source: Path) -> None:
    (source / "d").mkdir()
    (source / "d" / "one").write_text("x")
    os.link(source / "d" / "one", source / "two")
    destination = source.parent / "destination"
    copy(source, destination)
    assert os.path.samefile(destination / "d" / "one", destination / "two")


def test_s40_a_directory_swapped_for_a_link_gives_no_hard_link_to_a_file_of_the_host(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("d1", "d2"):
        (source / name).mkdir()
    (source / "d1" / "one").write_text("x")
    os.link(source / "d1" / "one", source / "d2" / "one")
    destination, host = source.parent / "destination", source.parent / "host"
    real_mkdir = os.mkdir

    def mkdir(name: str, *arguments: Any, **options: Any) -> None:
        for made in os.listdir(destination):
            os.rename(destination / made, source.parent / "aside")
            os.symlink(host, destination / made)
        real_mkdir(name, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError):
        copy(source, destination)
    assert os.stat(host / "one").st_nlink == 1


def test_s40_a_fifo_swapped_for_a_link_changes_no_mode_of_the_host(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(source / "fifo", 0o666)
    os.chmod(source / "fifo", 0o666)
    destination, host = source.parent / "destination", source.parent / "host"
    real_chown = os.chown

    def chown(name: str, *arguments: Any, **options: Any) -> None:
        if (destination / "fifo").is_fifo():
            os.unlink(destination / "fifo")
            os.symlink(host / "one", destination / "fifo")
        real_chown(name, *arguments, **options)

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(OSError):
        copy(source, destination)
    assert os.stat(host / "one").st_mode & 0o7777 == 0o600
