# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os

from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import CgroupHost
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_search import find_cgroups


def test_a_name_is_found_in_every_hierarchy_once_and_not_below_itself_or_in_others_units(tmp_path):
    for path in (
        "memory/hull/x1",
        "cpu/hull/x1/below/x2",
        "cpu/a/b/x3",
        "unified/web.slice/hull/x4",
        "unified/other.service/hull/x5",
        "unified/session-1.scope/x6",
    ):
        os.makedirs(tmp_path / path)
    mounts = {"memory": f"{tmp_path}/memory", "cpu": f"{tmp_path}/cpu", "pids": f"{tmp_path}/gone"}
    host = CgroupHost("hybrid", mounts, f"{tmp_path}/unified")
    assert find_cgroups(host, lambda name: name.startswith("x")) == ["a/b/x3", "hull/x1", "web.slice/hull/x4"]
