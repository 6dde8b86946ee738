# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's root in a user namespace: idmapped layers, its own file systems, masks, pivot, capabilities."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import (
    capabilities,
    mounts,
    namespaces,
    overlay,
    privileges,
    targets,
)
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.idmapping import tmpfs_can_be_idmapped
from tests.support.isolated import mounts_below, run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FIRST, COUNT = 200000, 65536


def build_and_enter(root_fd: int, null_fd: int) -> dict[str, Any]:
    """As init does it: root over `/`, mounts inside, masks, pivot, privileges."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    mounts.set_propagation("/", "rprivate")
    mounts.cover_root(root_fd)
    targets.mount_inside(root_fd, "proc", "/proc", flags=("nosuid", "nodev", "noexec"))
    targets.mount_inside(root_fd, "tmpfs", "/dev", options="mode=755,size=64k,nosuid")
    os.close(targets.open_target(root_fd, "/dev/null", directory=False))
    targets.attach_inside(null_fd, root_fd, "/dev/null", kind="bind", directory=False)
    targets.mount_inside(root_fd, "devpts", "/dev/pts", options="newinstance,ptmxmode=0666,mode=0620")
    targets.mount_inside(root_fd, "mqueue", "/dev/mqueue")
    targets.mount_inside(root_fd, "sysfs", "/sys", flags=("ro",))
    with targets.Masks(root_fd) as masks:
        for path in ("/proc/timer_list", "/proc/kcore", "/proc/acpi", "/sys/firmware"):
            masks.hide(path)
    targets.protect(root_fd, "/proc/sys")
    mounts.set_attributes(root_fd, ("nodev", "nosuid"))
    mounts.pivot(root_fd)
    privileges.become(0, 0, (), capabilities.DEFAULT_CAPABILITIES)
    Path("/written").write_text("x")
    with pytest.raises(OSError, match="Read-only"):
        Path("/proc/sys/kernel/hostname").write_text("x")
    Path("/dev/null").write_text("swallowed")
    return {
        "uid of file": os.stat("/file").st_uid,
        "firmware": os.listdir("/sys/firmware"),
        "points": sorted({line[4] for line in mounts_below("/")}),
        "map": Path("/proc/self/uid_map").read_text().split(),
        "effective": capabilities.names_of(calls.capget()[0]),
    }


def test_a_root_is_built_and_entered_inside_a_user_namespace(tmp_path: Path) -> None:
    tmpfs = tmpfs_can_be_idmapped(tmp_path)

    def act() -> Any:
        if tmpfs:
            mounts.attach_at(mounts.new_filesystem("tmpfs"), str(tmp_path))
        for name in ("a", "b", "upper", "work"):
            os.mkdir(tmp_path / name)
        (tmp_path / "a" / "file").write_text("x")
        id_map = [(0, FIRST, COUNT)]
        user_fd = namespaces.make_user_namespace(id_map, id_map)
        layers = [str(tmp_path / "a"), str(tmp_path / "b")]
        root_fd = overlay.overlay_mount(layers, str(tmp_path / "upper"), str(tmp_path / "work"), idmap_fd=user_fd)
        null_fd = mounts.clone_tree("/dev/null", recursive=False)

        def enter() -> Any:
            calls.setns(user_fd)
            names = ("mount", "pid", "net", "ipc", "uts", "cgroup")
            return run_isolated(build_and_enter, root_fd, null_fd, namespaces=names)

        seen = run_isolated(enter, namespaces=())
        return seen, os.stat(tmp_path / "upper" / "written").st_uid

    seen, owner_on_disk = run_isolated(act)
    assert owner_on_disk == 0
    assert seen["uid of file"] == 0
    assert seen["firmware"] == []
    assert seen["map"] == ["0", str(FIRST), str(COUNT)]
    assert set(seen["effective"]) == set(capabilities.DEFAULT_CAPABILITIES)
    assert {"/", "/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/null", "/sys", "/proc/sys"} <= set(seen["points"])
