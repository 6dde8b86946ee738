# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.module_utils._engine.updating import changed_spec

MIB = 1 << 20
BEFORE = container_spec(
    {
        "name": "web",
        "image": "box",
        "memory": "64M",
        "memory_swap": "128M",
        "cpus": 0.5,
        "labels": {"a": "1"},
        "ulimits": ["nofile:5"],
        "healthcheck": {"test": "mine", "timeout": "9s"},
        "log_options": {"max-size": "1m"},
        "device_read_bps": ["/dev/sda:1m"],
    }
)


def test_only_what_is_named_changes():
    after = changed_spec(BEFORE, {"pids_limit": "9"})
    assert after.limits.pids == 9
    assert (after.limits.memory_bytes, after.labels, after.health) == (64 * MIB, BEFORE.labels, BEFORE.health)
    assert set(after.given) == {*BEFORE.given, "pids_limit"}


def test_parts_of_an_option_that_are_not_named_stay():
    after = changed_spec(
        BEFORE,
        {
            "healthcheck": {"test_cli_compatible": True, "interval": "5s"},
            "log_options": {"max-file": "5"},
            "labels": {"b": "2"},
            "ulimits": ["core=0"],
            "device_read_bps": ["/dev/sda:0", "/dev/sdb:1"],
        },
    )
    assert after.health is not None
    assert (after.health.test, after.health.timeout_ns, after.health.interval_ns) == (
        ("CMD-SHELL", "mine"),
        9 * 10**9,
        5 * 10**9,
    )
    assert (after.log_max_size_bytes, after.log_max_files) == (MIB, 5)
    assert after.labels == {"a": "1", "b": "2"}
    assert after.ulimits == {"nofile": (5, 5), "core": (0, 0)}
    assert after.limits.read_bps == {"/dev/sda": 0, "/dev/sdb": 1}


def test_limits_of_memory_are_read_beside_each_other():
    assert changed_spec(BEFORE, {"memory_swap": "100M"}).limits.memory_swap_bytes == 100 * MIB
    with pytest.raises(Invalid, match="memory_swap: is less than memory"):
        changed_spec(BEFORE, {"memory_swap": "32M"})
    with pytest.raises(Invalid, match="memory_swap: is less than memory"):
        changed_spec(BEFORE, {"memory": "256M"})


def test_cpus_are_of_their_own_period():
    slow = changed_spec(BEFORE, {"cpu_period": "50000", "cpu_quota": "50000"})
    assert (slow.limits.cpu_quota_us, slow.limits.cpu_period_us) == (50_000, 50_000)
    half = changed_spec(slow, {"cpus": "0.5"})
    assert (half.limits.cpu_quota_us, half.limits.cpu_period_us) == (50_000, 100_000)


def test_what_cannot_be_is_refused():
    with pytest.raises(Invalid, match="nothing is to be changed"):
        changed_spec(BEFORE, {})
    with pytest.raises(Invalid, match="pids_limit"):
        changed_spec(BEFORE, {"pids_limit": "-5"})
