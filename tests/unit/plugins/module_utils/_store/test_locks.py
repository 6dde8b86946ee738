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
