# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the probes find on this host, checked by other witnesses, and that they leave nothing."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import features, probes
from ansible_collections.hull.engine.plugins.module_utils._sys import calls, sched_flags

from tests.support.isolated import mount_table, run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def host_state() -> dict[str, object]:
    """What probing could have changed."""
    shown = subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, check=False)
    return {
        "links": socket.if_nameindex(),
        "modules": sorted(os.listdir("/sys/module")),
        "nftables": shown.stdout,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
    }


def test_probing_leaves_nothing(tmp_path: Path) -> None:
    """In a mount and a network namespace of its own, as other engines work on the host's at the same time."""

    def act() -> tuple[object, object, set[str]]:
        mounts, before = mount_table(), host_state()
        features.probe(str(tmp_path))
        return before, host_state(), mount_table() - mounts

    before, after, mounts = run_isolated(act, namespaces=("mount", "net"))
    assert after == before
    assert mounts == set()
    assert list(tmp_path.iterdir()) == []


def test_what_is_found_agrees_with_proc() -> None:
    found = features.probe()
    filesystems = Path("/proc/filesystems").read_text().split()
    assert found.overlayfs == ("overlay" in filesystems) or probes.is_unloaded_module("overlay")
    assert found.kernel == os.uname().release
    assert found.user_namespaces == (Path("/proc/self/ns/user").exists() and found.max_user_namespaces > 0)
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    mask = int(effective.split()[1], 16)
    assert ("CAP_SYS_RESOURCE" in found.missing_capabilities) == (not mask >> 24 & 1)
    assert found.rlimit_nofile == tuple(
        -1 if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(resource.RLIMIT_NOFILE)
    )


def _idmapping_of_proc() -> bool:
    return probes.works(lambda: probes.try_idmapped_mount("/proc"))


def test_a_file_system_that_cannot_be_idmapped_is_recognised() -> None:
    assert run_isolated(_idmapping_of_proc) is False


def _user_namespaces_at_their_limit() -> tuple[bool, int, list[str]]:
    calls.unshare(sched_flags.CLONE_NEWUSER)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    found = features.probe()
    return found.user_namespaces, found.max_user_namespaces, [lack.what for lack in found.lacks if lack.needed]


def test_a_place_that_maps_users_is_told_so_and_not_that_its_kernel_is_old() -> None:
    user_namespaces, maximum, needed = run_isolated(_user_namespaces_at_their_limit)
    assert (user_namespaces, maximum) == (False, 0)
    assert needed == ["initial user namespace"]


def _without_cgroups() -> tuple[str, list[str]]:
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith("/sys/fs/cgroup"):
            calls.umount2(line.split()[4])
    found = features.probe()
    return found.cgroup_version, [lack.what for lack in found.lacks if lack.needed]


def test_a_host_without_cgroups_is_told_to_mount_them() -> None:
    assert run_isolated(_without_cgroups) == ("", ["cgroups"])


def _as_nobody() -> list[str]:
    os.setgid(65534)
    os.setuid(65534)
    return [lack.what for lack in features.probe().lacks if lack.needed]


def test_without_root_the_missing_capabilities_are_named() -> None:
    needed = run_isolated(_as_nobody)
    assert len(needed) == 1 and "CAP_SYS_ADMIN" in needed[0]
