# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_v1, cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory, written


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
@pytest.mark.parametrize(
    ("pids", "fresh", "expected"),
    [(50, True, ["50"]), (50, False, ["50"]), (-1, True, []), (-1, False, ["max"]), (0, False, ["max"]), (0, True, [])],
)
def test_the_number_of_processes(module, pids, fresh, expected):
    settings = module.SETTINGS["pids"]("/c", {"pids": pids}, fresh=fresh)
    assert written(settings) == [("pids.max", value) for value in expected]


def test_usage_counts_refused_forks(tmp_path):
    directory = CgroupDirectory(tmp_path / "c", pids__current="3\n", pids__max="max\n", pids__events="max 4\n")
    assert cgroup_v1.pids_usage(str(directory)) == {"pids": 3, "pids_limit": 0, "pids_refused": 4}
