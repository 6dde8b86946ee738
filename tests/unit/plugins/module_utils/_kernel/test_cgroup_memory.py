# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_files, cgroup_v1, cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory, written

MIB = 1 << 20
NO_LIMIT = str((1 << 63) - 4096)


@pytest.fixture
def v1(tmp_path):
    return CgroupDirectory(
        tmp_path / "v1",
        memory__limit_in_bytes=str(64 * MIB),
        memory__memsw__limit_in_bytes=str(128 * MIB),
        memory__soft_limit_in_bytes=NO_LIMIT,
    )


@pytest.fixture
def v2(tmp_path):
    return CgroupDirectory(tmp_path / "v2", memory__max=str(64 * MIB), memory__swap__max=str(64 * MIB), memory__low="0")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 0}, {"memory.swap.max": 64 * MIB, "memory.max": 64 * MIB}),
        (
            {"memory_bytes": 64 * MIB, "memory_swap_bytes": 100 * MIB},
            {"memory.swap.max": 36 * MIB, "memory.max": 64 * MIB},
        ),
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB}, {"memory.swap.max": 0, "memory.max": 64 * MIB}),
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": -1}, {"memory.swap.max": "max", "memory.max": 64 * MIB}),
        ({"memory_bytes": 0, "memory_swap_bytes": 0}, {"memory.swap.max": "max", "memory.max": "max"}),
        ({"memory_bytes": 32 * MIB}, {"memory.swap.max": 32 * MIB, "memory.max": 32 * MIB}),
        ({"memory_swap_bytes": 80 * MIB}, {"memory.swap.max": 16 * MIB}),
        ({"memory_reservation_bytes": 5 * MIB}, {"memory.low": 5 * MIB}),
        ({"memory_reservation_bytes": 0}, {"memory.low": 0}),
        ({}, {}),
    ],
)
def test_version_2_counts_swap_without_the_memory(v2, limits, expected):
    assert dict(written(cgroup_v2.memory(str(v2), limits, fresh=False))) == {k: str(v) for k, v in expected.items()}


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
def test_a_fresh_cgroup_without_limits_needs_no_write(module, v1):
    limits = {"memory_bytes": 0, "memory_swap_bytes": 0, "memory_reservation_bytes": 0}
    assert module.memory(str(v1), limits, fresh=True) == []


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        # now: 64 MiB of memory, 128 MiB with swap
        (
            {"memory_bytes": 256 * MIB},
            [("memory.memsw.limit_in_bytes", 512 * MIB), ("memory.limit_in_bytes", 256 * MIB)],
        ),
        ({"memory_bytes": 16 * MIB}, [("memory.limit_in_bytes", 16 * MIB), ("memory.memsw.limit_in_bytes", 32 * MIB)]),
        (
            {"memory_bytes": 0, "memory_swap_bytes": 0},
            [("memory.memsw.limit_in_bytes", -1), ("memory.limit_in_bytes", -1)],
        ),
        (
            {"memory_bytes": 96 * MIB, "memory_swap_bytes": 96 * MIB},
            [("memory.limit_in_bytes", 96 * MIB), ("memory.memsw.limit_in_bytes", 96 * MIB)],
        ),
        (
            {"memory_bytes": 32 * MIB, "memory_swap_bytes": -1},
            [("memory.memsw.limit_in_bytes", -1), ("memory.limit_in_bytes", 32 * MIB)],
        ),
    ],
)
def test_version_1_never_has_memory_above_memory_plus_swap(v1, limits, expected):
    assert written(cgroup_v1.memory(str(v1), limits, fresh=False)) == [(name, str(value)) for name, value in expected]


def test_version_1_reservation_is_the_soft_limit_and_can_be_lifted(v1):
    name = "memory.soft_limit_in_bytes"
    assert written(cgroup_v1.memory(str(v1), {"memory_reservation_bytes": 7}, fresh=True)) == [(name, "7")]
    assert written(cgroup_v1.memory(str(v1), {"memory_reservation_bytes": 0}, fresh=False)) == [(name, "-1")]


@pytest.mark.parametrize(
    ("module", "file"), [(cgroup_v1, "memory.memsw.limit_in_bytes"), (cgroup_v2, "memory.swap.max")]
)
def test_without_swap_accounting_memory_is_limited_and_a_warning_given(module, file, v1, v2):
    directory = v1 if module is cgroup_v1 else v2
    os.unlink(f"{directory}/{file}")
    settings = module.memory(str(directory), {"memory_bytes": 8 * MIB}, fresh=False)
    warnings = cgroup_files.apply(settings, undo=True)
    assert [warning.partition(":")[0] for warning in warnings] == ["memory_swap"]
    assert directory.read("memory.limit_in_bytes" if module is cgroup_v1 else "memory.max") == str(8 * MIB)


@pytest.mark.parametrize(
    ("module", "file"), [(cgroup_v1, "memory.memsw.limit_in_bytes"), (cgroup_v2, "memory.swap.max")]
)
def test_unlimited_swap_without_swap_accounting_is_no_warning(module, file, v1, v2):
    directory = v1 if module is cgroup_v1 else v2
    os.unlink(f"{directory}/{file}")
    settings = module.memory(str(directory), {"memory_bytes": 8 * MIB, "memory_swap_bytes": -1}, fresh=False)
    assert cgroup_files.apply(settings, undo=True) == ()


def test_version_2_refuses_a_limit_below_what_stays_in_use(tmp_path):
    directory = CgroupDirectory(tmp_path / "c", memory__current=str(50 * MIB), memory__reclaim="")
    with pytest.raises(errors.Conflict, match=f"uses {50 * MIB} bytes"):
        cgroup_v2.make_room(str(directory), 10 * MIB)
    assert directory.read("memory.reclaim") == str(40 * MIB)
    cgroup_v2.make_room(str(directory), 60 * MIB)


def test_version_1_usage_takes_the_hierarchical_counts(tmp_path):
    directory = CgroupDirectory(
        tmp_path / "c",
        memory__stat="cache 1\ninactive_file 5\ntotal_inactive_file 9\n",
        memory__usage_in_bytes="100\n",
        memory__memsw__usage_in_bytes="130\n",
        memory__max_usage_in_bytes="200\n",
        memory__limit_in_bytes=NO_LIMIT + "\n",
    )
    assert cgroup_v1.memory_usage(str(directory)) == {
        "memory_bytes": 100,
        "memory_inactive_file_bytes": 9,
        "memory_peak_bytes": 200,
        "memory_limit_bytes": 0,
        "swap_bytes": 30,
    }


def test_version_2_usage_reads_max_as_no_limit(tmp_path):
    directory = CgroupDirectory(
        tmp_path / "c",
        memory__stat="anon 70\ninactive_file 9\n",
        memory__current="100\n",
        memory__swap__current="30\n",
        memory__peak="200\n",
        memory__max="max\n",
    )
    assert cgroup_v2.memory_usage(str(directory)) == {
        "memory_bytes": 100,
        "memory_inactive_file_bytes": 9,
        "memory_peak_bytes": 200,
        "memory_limit_bytes": 0,
        "swap_bytes": 30,
    }
