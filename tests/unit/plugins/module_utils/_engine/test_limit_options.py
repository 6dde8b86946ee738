# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import Limits
from ansible_collections.hull.engine.plugins.module_utils._engine.limit_options import (
    integer,
    parse_limits,
    parse_shm_size,
    parse_ulimits,
)

MIB = 1 << 20
SDA = [{"path": "/dev/sda", "rate": "10M"}]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"memory": "64M"}, {"memory_bytes": 64 * MIB}),
        ({"memory": 67108864}, {"memory_bytes": 64 * MIB}),
        ({"memory": "0"}, {"memory_bytes": 0}),
        ({"memory": "-1"}, {"memory_bytes": 0}),
        ({"memory": "64M", "memory_swap": "128MiB"}, {"memory_bytes": 64 * MIB, "memory_swap_bytes": 128 * MIB}),
        ({"memory": "64M", "memory_swap": "64M"}, {"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB}),
        ({"memory_swap": "unlimited"}, {"memory_swap_bytes": -1}),
        ({"memory": "64M", "memory_swap": "-1"}, {"memory_bytes": 64 * MIB, "memory_swap_bytes": -1}),
        ({"memory_reservation": "32M"}, {"memory_reservation_bytes": 32 * MIB}),
        ({"memory_swappiness": 0}, {"memory_swappiness": 0}),
        ({"memory_swappiness": "100"}, {"memory_swappiness": 100}),
        ({"kernel_memory": "16M"}, {"kernel_memory_bytes": 16 * MIB}),
        ({"oom_killer": True}, {"oom_kill_disable": True}),
        ({"oom_killer": False}, {"oom_kill_disable": False}),
        ({"cpus": 0.5}, {"cpu_quota_us": 50_000}),
        ({"cpus": "1.25"}, {"cpu_quota_us": 125_000}),
        ({"cpus": 0}, {}),
        ({"cpu_quota": 20_000, "cpu_period": 50_000}, {"cpu_quota_us": 20_000, "cpu_period_us": 50_000}),
        ({"cpu_quota": -1}, {}),
        ({"cpu_quota": 0, "cpus": 2}, {"cpu_quota_us": 200_000}),
        ({"cpu_shares": 512}, {"cpu_shares": 512}),
        ({"cpuset_cpus": "0-1, 3", "cpuset_mems": "0"}, {"cpuset_cpus": "0-1,3", "cpuset_mems": "0"}),
        ({"pids_limit": 50}, {"pids": 50}),
        ({"pids_limit": -1}, {"pids": -1}),
        ({"pids_limit": 0}, {"pids": -1}),
        ({"blkio_weight": 10}, {"blkio_weight": 10}),
        ({"blkio_weight": 0}, {"blkio_weight": 0}),
        ({"device_read_bps": SDA}, {"read_bps": {"/dev/sda": 10 * MIB}}),
        ({"device_write_bps": ["/dev/sda:1k", "/dev/sdb:2"]}, {"write_bps": {"/dev/sda": 1024, "/dev/sdb": 2}}),
        ({"device_read_iops": [{"path": "/dev/sda", "rate": 100}]}, {"read_iops": {"/dev/sda": 100}}),
        ({"device_write_iops": ["/dev/sda:0"]}, {"write_iops": {"/dev/sda": 0}}),
    ],
)
def test_limits_as_users_write_them(options, fields):
    assert parse_limits(options) == Limits(**fields)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"memory": "lots"}, "memory"),
        ({"memory": "5M"}, "memory"),
        ({"memory": "64M", "memory_swap": "63M"}, "memory_swap"),
        ({"memory_swap": "64M"}, "memory_swap"),
        ({"memory": "64M", "memory_reservation": "65M"}, "memory_reservation"),
        ({"memory_swappiness": 101}, "memory_swappiness"),
        ({"memory_swappiness": -2}, "memory_swappiness"),
        ({"kernel_memory": "x"}, "kernel_memory"),
        ({"cpus": -1}, "cpus"),
        ({"cpus": "nan"}, "cpus"),
        ({"cpus": 0.005}, "cpus"),
        ({"cpus": 1, "cpu_quota": 5000}, "cpus"),
        ({"cpus": 1, "cpu_period": 5000}, "cpus"),
        ({"cpu_period": 999}, "cpu_period"),
        ({"cpu_period": 1_000_001}, "cpu_period"),
        ({"cpu_quota": 999}, "cpu_quota"),
        ({"cpu_quota": -2}, "cpu_quota"),
        ({"cpu_shares": 1}, "cpu_shares"),
        ({"cpu_shares": 262145}, "cpu_shares"),
        ({"cpuset_cpus": "a"}, "cpuset_cpus"),
        ({"cpuset_cpus": "2-1"}, "cpuset_cpus"),
        ({"cpuset_cpus": "٣"}, "cpuset_cpus"),
        ({"cpuset_mems": "-"}, "cpuset_mems"),
        ({"pids_limit": -2}, "pids_limit"),
        ({"pids_limit": "many"}, "pids_limit"),
        ({"blkio_weight": 9}, "blkio_weight"),
        ({"blkio_weight": 1001}, "blkio_weight"),
        ({"device_read_bps": ["/dev/sda"]}, "device_read_bps"),
        ({"device_read_bps": [{"path": "sda", "rate": "1M"}]}, "device_read_bps"),
        ({"device_read_bps": [{"path": "/dev/../etc/shadow", "rate": "1M"}]}, "device_read_bps"),
        ({"device_write_bps": [{"path": "/dev/sda"}]}, "device_write_bps"),
        ({"device_write_bps": [*SDA, *SDA]}, "device_write_bps"),
        ({"device_write_bps": ["/dev/sda:-1"]}, "device_write_bps"),
        ({"device_read_iops": ["/dev/sda:10M"]}, "device_read_iops"),
        ({"device_write_iops": ["/dev/sda:-1"]}, "device_write_iops"),
    ],
)
def test_what_is_no_limit_is_refused_by_the_name_of_its_option(options, option):
    with pytest.raises(Invalid) as caught:
        parse_limits(options)
    assert caught.value.option == option


@pytest.mark.parametrize("value", ["", "1.0", 1.5, True, "1_0", "٣", "0x10", None, [], "--1"])
def test_only_ascii_digits_are_a_number(value):
    if value is None:
        assert integer({"n": value}, "n", 7, 0, 9) == 7
        return
    with pytest.raises(Invalid, match="n: .* is not a number; write one between 0 and 9"):
        integer({"n": value}, "n", 7, 0, 9)


@pytest.mark.parametrize(("value", "size"), [(None, 64 * MIB), ("", 64 * MIB), ("0", 64 * MIB), ("1M", MIB)])
def test_shared_memory_always_has_a_size(value, size):
    assert parse_shm_size({"shm_size": value}) == size


def test_shared_memory_without_a_limit_is_refused():
    with pytest.raises(Invalid, match="shm_size: has to have a limit"):
        parse_shm_size({"shm_size": "-1"})


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        ("nofile:1024:2048", {"nofile": (1024, 2048)}),
        ("nofile=1024:2048", {"nofile": (1024, 2048)}),
        ("nproc:50", {"nproc": (50, 50)}),
        ("CORE:-1", {"core": (-1, -1)}),
        ("memlock:64:unlimited", {"memlock": (64, -1)}),
        ("core:0", {"core": (0, 0)}),
    ],
)
def test_ulimits_as_users_write_them(entry, limit):
    assert parse_ulimits([entry]) == limit


@pytest.mark.parametrize(
    "entries",
    [
        ["nofile"],
        ["nofile:"],
        ["nofile:a"],
        ["nofile:1:2:3"],
        ["nofile:2:1"],
        ["nofile:-1:5"],
        ["nofile:-2"],
        ["files:5"],
        [":5"],
        ["nofile:1", "nofile:2"],
        [{"nofile": 5}],
    ],
)
def test_what_is_no_ulimit_is_refused(entries):
    with pytest.raises(Invalid, match="^ulimits: "):
        parse_ulimits(entries)
