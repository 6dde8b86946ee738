# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What kernels before 5.12 get instead of mount_setattr leaves no mount of a tree as it was; `test_mounts.py` has all
that both do."""

from __future__ import annotations

import os
from errno import EBUSY
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import mounts, remounting
from ansible_collections.hull.engine.plugins.module_utils._sys import calls
from ansible_collections.hull.engine.plugins.module_utils._sys import mount_flags as m

from tests.support.isolated import mounts_below, run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with another one, in which something is to be mounted, and a place for the tree."""
    for name in ("source/above/below", "source/hidden", "target"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "source"


def mount_at(*places: Path) -> None:
    for place in places:
        mounts.attach_at(mounts.new_filesystem("tmpfs"), str(place))


def make_read_only(source: Path) -> list[tuple[str, bool]]:
    """The mounts of a copy of the tree that was made read-only, the upper ones last, and whether they are."""
    fd = mounts.clone_tree(str(source))
    remounting.change_attributes(fd, set_=m.MOUNT_ATTR_RDONLY, clear=0, recursive=True)
    target = str(source.with_name("target"))
    mounts.attach_at(fd, target)
    return [(line[4][len(target) :], "ro" in line[5].split(",")) for line in mounts_below(target)]


def test_all_mounts_are_changed_but_one_that_is_covered(source: Path) -> None:
    def act() -> list[tuple[str, bool]]:
        mount_at(source / "above" / "below", source / "above" / "below", source / "hidden")
        return make_read_only(source)

    below = "/above/below"
    assert sorted(run_isolated(act)) == [("", True), (below, False), (below, True), ("/hidden", True)]


def test_a_mount_that_is_moved_meanwhile_is_an_error(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the directory, but not the mount, can rename what it lies on."""
    read, host = remounting._mount_table, os.open("/proc/self/ns/mnt", os.O_RDONLY)

    def read_and_move() -> dict[int, tuple[int, str, str]]:
        table = read()
        pid = os.fork()
        if pid == 0:
            calls.setns(host)
            names = ["above", "away"]
            old, new = names if (source / "above").exists() else reversed(names)
            (source / old).rename(source / new)
            os._exit(0)
        os.waitpid(pid, 0)
        return table

    def act() -> int:
        mount_at(source / "above" / "below")
        with pytest.raises(OSError) as caught:
            make_read_only(source)
        return caught.value.errno or 0

    monkeypatch.setattr(remounting, "_mount_table", read_and_move)
    try:
        assert run_isolated(act) == EBUSY
    finally:
        os.close(host)


def test_a_mount_that_a_rename_would_bring_to_light_is_an_error(source: Path) -> None:
    def act() -> int:
        mount_at(source / "above" / "below", source / "above")
        with pytest.raises(OSError) as caught:
            make_read_only(source)
        return caught.value.errno or 0

    assert run_isolated(act) == EBUSY
