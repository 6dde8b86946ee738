# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_rates
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_rates import io_max, throttles, whole_device

from tests.support.cgroup_directory import CgroupDirectory, written


@pytest.fixture
def disks(monkeypatch):
    """Names of disks that are there, `/dev/a` as 8:0 and so on, with two names for the first one."""
    numbers = {"/dev/a": "8:0", "/dev/a1": "8:0", "/dev/b": "8:16", "/dev/c": "8:32"}
    monkeypatch.setattr(cgroup_rates, "whole_device", lambda path, option: numbers[path])


@pytest.mark.parametrize(("path", "cause"), [("/dev/null", "is not a block device"), ("/dev/hull-no", "No such file")])
def test_what_is_no_disk_is_refused_with_the_option(path, cause):
    with pytest.raises(errors.Invalid, match=f"^device_read_bps: {path}.*{cause}"):
        whole_device(path, option="device_read_bps")


def test_a_partition_is_limited_as_its_disk():
    partitions = [
        name for name in os.listdir("/sys/class/block") if os.path.exists(f"/sys/class/block/{name}/partition")
    ]
    nodes = [f"/dev/{name}" for name in partitions if os.path.exists(f"/dev/{name}")]
    if not nodes:
        pytest.skip("this machine has no partition")
    number = whole_device(nodes[0], option="device_read_bps")
    assert stat.S_ISBLK(os.stat(nodes[0]).st_mode)
    assert not os.path.exists(f"/sys/dev/block/{number}/partition")


def test_new_rates_are_written_by_number_and_the_lowest_of_one_disk_counts(disks, tmp_path):
    limits = {
        "read_bps": {"/dev/a": 100, "/dev/a1": 50},
        "write_iops": {"/dev/b": 1 << 40},
        "write_bps": {},
    }
    assert written(throttles(str(tmp_path), limits, fresh=True)) == [
        ("blkio.throttle.read_bps_device", "8:0 50"),
        ("blkio.throttle.write_iops_device", "8:16 4294967295"),
    ]
    assert written(io_max(str(tmp_path), limits, fresh=True)) == [
        ("io.max", "8:0 rbps=50"),
        ("io.max", "8:16 wiops=4294967295"),
    ]


def test_a_rate_that_is_no_longer_there_is_lifted_and_others_stay(disks, tmp_path):
    old = CgroupDirectory(tmp_path / "1", blkio__throttle__read_bps_device="8:0 50\n8:16 60\n8:32 70\n")
    new = CgroupDirectory(
        tmp_path / "2",
        io__max="8:0 rbps=50 wbps=9 riops=max wiops=max\n8:16 rbps=60 wbps=max riops=max wiops=max\n8:32 rbps=70\n",
    )
    limits = {"read_bps": {"/dev/b": 60, "/dev/c": 75}}
    before = throttles(str(old), limits, fresh=False)
    assert [(setting.value, setting.back) for setting in before] == [("8:0 0", "8:0 50"), ("8:32 75", "8:32 70")]
    after = io_max(str(new), limits, fresh=False)
    assert [(setting.value, setting.back) for setting in after] == [
        ("8:0 rbps=max", "8:0 rbps=50"),
        ("8:32 rbps=75", "8:32 rbps=70"),
    ]
    assert throttles(str(old), {}, fresh=False) == io_max(str(new), {}, fresh=False) == []
