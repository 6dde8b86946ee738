# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Hosts that are refused, made of this one: other file systems and fewer control groups in a mount namespace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._engine.host_check import Demand, check_host

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _told(tmp_path: Path, demand: Demand, *commands: str) -> tuple[list[str], list[str], list[str]]:
    """What is in the way, why and the cures, after these commands; {0} in them is the directory of the test."""

    def ask() -> tuple[list[str], list[str], list[str]]:
        for command in commands:
            subprocess.run(command.format(tmp_path), shell=True, check=True)
        place = tmp_path / "place"
        before = (sorted(os.listdir(place)), place.stat().st_mtime_ns)
        paths = Paths(root=f"{place}/lib/hull", run=f"{tmp_path}/run", config=f"{tmp_path}/etc")
        problems = check_host(paths, demand).problems
        assert (sorted(os.listdir(place)), place.stat().st_mtime_ns) == before, "nothing is left and nothing is seen"
        return [one.what for one in problems], [one.why for one in problems], [one.cure for one in problems]

    (tmp_path / "place").mkdir()
    answer: tuple[list[str], list[str], list[str]] = run_isolated(ask)
    return answer


def test_a_host_where_containers_can_run_has_nothing_in_the_way(tmp_path: Path) -> None:
    assert _told(tmp_path, Demand(controllers=("cpu", "memory", "pids"), min_free_bytes=1)) == ([], [], [])


OVERLAY = (
    "mkdir {0}/lower {0}/upper {0}/work"
    " && mount -t overlay none -o lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work {0}/place"
)


def test_a_file_system_that_cannot_have_a_writable_layer_is_refused(tmp_path: Path) -> None:
    (what,), (why,), (cure,) = _told(tmp_path, Demand(), OVERLAY)
    assert what == "file system for the state directory"
    assert f"the file system of {tmp_path}/place can't have overlayfs's writable layer" in why
    assert "ext4, xfs or btrfs" in cure and "file system of its own" in cure


def test_it_will_do_where_the_state_directory_gets_another_one(tmp_path: Path) -> None:
    assert _told(tmp_path, Demand(writable_layers=False), OVERLAY) == ([], [], [])


def test_a_file_system_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (what,), (why,), (cure,) = _told(tmp_path, Demand(), "mount -t tmpfs -o ro none {0}/place")
    assert what == "writable state directory"
    assert f"make a directory in {tmp_path}/place: Read-only file system" in why and "ext4, xfs or btrfs" in cure


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    demand = Demand(min_free_bytes=1 << 30)
    (what,), (why,), (cure,) = _told(tmp_path, demand, "mount -t tmpfs -o size=1M none {0}/place")
    assert what == "disk space" and "has 1.05MB free, 1.07GB are asked for" in why and "free some" in cure


def test_a_host_without_control_groups_is_refused(tmp_path: Path) -> None:
    what, why, cures = _told(tmp_path, Demand(controllers=("memory",)), "umount -R /sys/fs/cgroup")
    assert what == ["cgroups", "memory cgroup controller"]
    assert "no container can be tracked or limited" in why[0] and "mount -t cgroup2" in cures[0]


@pytest.mark.skipif(not os.path.isdir("/sys/fs/cgroup/blkio"), reason="version 2 has all controllers in one mount")
def test_a_controller_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    (what,), (why,), (cure,) = _told(tmp_path, Demand(controllers=("io", "memory")), "umount /sys/fs/cgroup/blkio")
    assert what == "io cgroup controller" and "its limits are kept by nothing" in why and "blkio" in cure


def test_a_kernel_parameter_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    demand = Demand(kernel_parameters=("net.ipv4.ip_forward", "net.ipv4.no_such"))
    (what,), (why,), (cure,) = _told(tmp_path, demand)
    assert what == "kernel parameter net.ipv4.no_such" and "/proc/sys/net/ipv4/no_such" in why and "name" in cure


def test_kernel_parameters_are_told_as_they_are() -> None:
    found = check_host(Paths(), Demand(kernel_parameters=("net.ipv4.ip_local_port_range",))).kernel_parameters
    told = subprocess.run(["cat", "/proc/sys/net/ipv4/ip_local_port_range"], capture_output=True, text=True, check=True)
    assert found == {"net.ipv4.ip_local_port_range": told.stdout.strip()}
