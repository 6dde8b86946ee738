# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Layers appear whole or not at all, and what their makers leave behind is found."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store import layers, temporary
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import empty_trash, sweep_temporary
from ansible_collections.hull.engine.plugins.module_utils._store.layers import (
    LayerDescription,
    describe,
    has_layer,
    list_layers,
    stage_layer,
)
from ansible_collections.hull.engine.plugins.module_utils._store.temporary import OwnedDirectory

ONE, TWO = "sha256:" + "1" * 64, "sha512:" + "2" * 128


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"))


def add(paths: Paths, diff_id: str, text: str = "x") -> None:
    with stage_layer(paths) as staged:
        Path(staged.fs, "file").write_text(text)
        staged.publish(LayerDescription(diff_id, len(text), 1))


def test_a_published_layer_is_there_with_its_description(paths: Paths) -> None:
    assert not has_layer(paths, ONE) and list_layers(paths) == []
    add(paths, ONE)
    add(paths, TWO)
    assert has_layer(paths, ONE) and list_layers(paths) == [ONE, TWO]
    assert Path(paths.layer(ONE), "fs/file").read_text() == "x"
    described = json.loads(Path(paths.layer(ONE), "layer.json").read_text())
    assert (described["diff_id"], described["size_bytes"]) == (ONE, 1)
    assert describe(paths, ONE) == LayerDescription(ONE, 1, 1)
    assert os.listdir(paths.temporary) == []


def test_nobody_else_can_enter_the_store(paths: Paths) -> None:
    before = os.umask(0)
    try:
        add(paths, ONE)
    finally:
        os.umask(before)
    for directory in (paths.root, paths.layers, paths.temporary):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(paths.layer(ONE) + "/fs").st_mode) == 0o755


def test_what_is_not_published_is_gone(paths: Paths) -> None:
    with stage_layer(paths) as staged:
        Path(staged.fs, "file").write_text("x")
    with pytest.raises(KeyError), stage_layer(paths) as staged:
        raise KeyError
    assert list_layers(paths) == [] == os.listdir(paths.temporary)


def test_the_layer_that_is_there_stays(paths: Paths) -> None:
    add(paths, ONE, "first")
    with stage_layer(paths) as late, stage_layer(paths) as later:
        Path(late.fs, "file").write_text("late")
        late.publish(LayerDescription(ONE, 4, 1))
        later.publish(LayerDescription(ONE, 0, 1))
    assert Path(paths.layer(ONE), "fs/file").read_text() == "first"
    assert os.listdir(paths.temporary) == []


def test_the_faster_of_two_processes_wins(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    write = layers.write_atomic

    def overtaken(path: str, data: bytes) -> None:
        monkeypatch.setattr(layers, "write_atomic", write)
        add(paths, ONE, "faster")
        write(path, data)

    monkeypatch.setattr(layers, "write_atomic", overtaken)
    add(paths, ONE, "slower")
    assert Path(paths.layer(ONE), "fs/file").read_text() == "faster"
    assert os.listdir(paths.temporary) == []


@pytest.mark.parametrize("name", ["../x", "sha256:../../etc", "sha256:" + "A" * 64, "md5:" + "0" * 32, ""])
def test_only_digests_name_layers(paths: Paths, name: str) -> None:
    for use in (has_layer, describe):
        with pytest.raises(Invalid):
            use(paths, name)


def in_child(do: Callable[[], None]) -> int:
    """A process that does something and then waits to be killed; it has done it when this returns."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        do()
        os.write(write_end, b"x")
        signal.pause()
    os.close(write_end)
    assert os.read(read_end, 1) == b"x"
    os.close(read_end)
    return pid


def test_the_sweep_takes_what_a_dead_process_left_and_nothing_else(paths: Paths) -> None:
    pid = in_child(lambda: stage_layer(paths).__enter__() and None)
    Path(paths.temporary, "someone-else-s.file").write_text("x")
    with OwnedDirectory(paths, "mine") as mine:
        assert sweep_temporary(paths) == 0
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert sweep_temporary(paths) == 1
        assert sorted(os.listdir(paths.temporary)) == sorted([os.path.basename(mine.path), "someone-else-s.file"])
    assert os.listdir(paths.temporary) == ["someone-else-s.file"]


def test_what_cannot_be_swept_stays_for_the_next_time(paths: Paths) -> None:
    orphan = Path(paths.temporary, temporary.PREFIX + "layer-0")
    orphan.mkdir(parents=True)
    Path(paths.trash).write_text("in the way")
    assert sweep_temporary(paths) == 0 and orphan.is_dir()
    os.unlink(paths.trash)
    assert sweep_temporary(paths) == 1 and not orphan.exists()


def test_a_directory_that_the_sweep_takes_at_once_is_made_again(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.mkdir, []

    def mkdir(path: str, mode: int = 0o777) -> None:
        real(path, mode)
        if temporary.PREFIX in path:
            calls.append(path)
            if len(calls) == 1:
                assert sweep_temporary(paths) == 1

    monkeypatch.setattr(temporary.os, "mkdir", mkdir)
    with OwnedDirectory(paths, "mine") as mine:
        assert len(calls) == 2 and os.path.isdir(mine.path)
    assert os.listdir(paths.temporary) == []


def test_the_trash_is_emptied(paths: Paths) -> None:
    assert empty_trash(paths) == 0 == sweep_temporary(paths)
    os.makedirs(paths.trash + "/one/deep")
    os.makedirs(paths.trash + "/two")
    assert empty_trash(paths) > 0 and os.listdir(paths.trash) == []
