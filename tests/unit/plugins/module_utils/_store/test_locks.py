# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store.locks import lock


def test_a_second_process_waits_in_vain_and_learns_who_holds_it(tmp_path):
    paths = Paths(root=str(tmp_path))
    with (
        lock(paths, "container", "web"),
        pytest.raises(errors.Timeout, match=f"container web: process {os.getpid()}"),
        lock(paths, "container", "web", timeout_s=0.05),
    ):
        pass


def test_a_lock_is_free_after_its_holder(tmp_path):
    paths = Paths(root=str(tmp_path))
    with lock(paths, "image", "a/b:1"):
        pass
    with lock(paths, "image", "a/b:1", timeout_s=0):
        pass


def test_a_killed_holder_frees_it(tmp_path):
    paths = Paths(root=str(tmp_path))
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with lock(paths, "volume", "data"):
            os.write(tell, b"1")
            os.kill(os.getpid(), 9)
    os.read(ready, 1)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(tell)
    with lock(paths, "volume", "data", timeout_s=1):
        pass


def test_only_one_of_many_is_in_at_a_time_and_no_file_stays(tmp_path):
    paths = Paths(root=str(tmp_path))
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            for _ in range(30):
                with lock(paths, "container", "web"):
                    counter.write_text(str(int(counter.read_text()) + 1))
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert counter.read_text() == "180"
    assert os.listdir(paths.locks) == []
