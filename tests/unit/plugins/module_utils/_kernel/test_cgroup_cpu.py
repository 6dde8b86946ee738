# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_v1, cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory, written


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (10**6, 10_000)],
)
def test_shares_become_weight_with_the_defaults_equal(shares, weight):
    assert cgroup_v2.weight_from_shares(shares) == weight


def test_more_shares_never_weigh_less():
    weights = [cgroup_v2.weight_from_shares(shares) for shares in range(2, 262_145, 13)]
    assert weights == sorted(weights)
    assert weights[0] >= 1 and weights[-1] <= 10_000


@pytest.mark.parametrize(
    ("limits", "version_1", "version_2"),
    [
        ({"cpu_shares": 512}, [("cpu.shares", "512")], [("cpu.weight", "59")]),
        (
            {"cpu_quota_us": 50_000, "cpu_period_us": 100_000},
            [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
            [("cpu.max", "50000 100000")],
        ),
        (
            {"cpu_quota_us": 5000, "cpu_period_us": 10_000},
            [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "5000")],
            [("cpu.max", "5000 10000")],
        ),
        ({"cpu_quota_us": 0, "cpu_period_us": 100_000, "cpu_shares": 0}, [], []),
        ({}, [], []),
    ],
)
def test_a_fresh_cgroup_gets_what_was_asked_for(limits, version_1, version_2):
    assert written(cgroup_v1.cpu("/c", limits, fresh=True)) == version_1
    assert written(cgroup_v2.cpu("/c", limits, fresh=True)) == version_2


def test_a_live_change_passes_through_no_invalid_pair_of_quota_and_period():
    limits = {"cpu_quota_us": 50_000, "cpu_period_us": 20_000}
    assert written(cgroup_v1.cpu("/c", limits, fresh=False)) == [
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.cfs_period_us", "20000"),
        ("cpu.cfs_quota_us", "50000"),
    ]


def test_zero_lifts_live_limits():
    limits = {"cpu_quota_us": 0, "cpu_shares": 0}
    assert ("cpu.max", "max 100000") in written(cgroup_v2.cpu("/c", limits, fresh=False))
    assert ("cpu.weight", "100") in written(cgroup_v2.cpu("/c", limits, fresh=False))
    assert written(cgroup_v1.cpu("/c", limits, fresh=False)) == [
        ("cpu.shares", "1024"),
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.cfs_period_us", "100000"),
    ]


def test_version_2_usage_is_in_nanoseconds(tmp_path):
    directory = CgroupDirectory(
        tmp_path / "c",
        cpu__stat="usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
    )
    assert cgroup_v2.cpu_usage(str(directory)) == {
        "cpu_ns": 30_000,
        "cpu_user_ns": 20_000,
        "cpu_system_ns": 10_000,
        "cpu_periods": 5,
        "cpu_throttled_periods": 2,
        "cpu_throttled_ns": 7000,
    }
