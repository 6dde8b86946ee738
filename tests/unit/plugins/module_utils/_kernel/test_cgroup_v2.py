# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory

ALL = "cpuset cpu io memory hugetlb pids rdma\n"


def test_controllers_are_passed_on_from_the_root_down_and_together(tmp_path):
    root = CgroupDirectory(tmp_path, cgroup__controllers=ALL, cgroup__subtree_control="memory\n")
    hull = CgroupDirectory(tmp_path / "hull", cgroup__subtree_control="")
    assert cgroup_v2.enable(str(root), str(hull)) == ""
    assert root.read("cgroup.subtree_control") == "+io +cpu +cpuset +pids"


def test_only_what_a_level_has_is_asked_of_the_next(tmp_path):
    root = CgroupDirectory(tmp_path, cgroup__controllers="cpu memory\n", cgroup__subtree_control="cpu memory pids\n")
    hull = CgroupDirectory(tmp_path / "hull", cgroup__subtree_control="")
    assert cgroup_v2.enable(str(root), str(hull)) == ""
    assert root.read("cgroup.subtree_control") == "cpu memory pids\n"
    assert hull.read("cgroup.subtree_control") == "+memory +cpu"


def test_nothing_is_written_where_all_are_passed_on(tmp_path):
    enabled = "cpuset cpu io memory pids\n"
    root = CgroupDirectory(tmp_path, cgroup__controllers=ALL, cgroup__subtree_control="untouched")
    hull = CgroupDirectory(tmp_path / "hull", cgroup__subtree_control=enabled)
    assert cgroup_v2.enable(str(root), str(hull)) == ""
    assert root.read("cgroup.subtree_control") == "untouched"
    assert hull.read("cgroup.subtree_control") == enabled


@pytest.mark.parametrize("controllers", ["", "hugetlb\n"])
def test_a_tree_without_our_controllers_needs_nothing(tmp_path, controllers):
    root = CgroupDirectory(tmp_path, cgroup__controllers=controllers, cgroup__subtree_control="")
    hull = CgroupDirectory(tmp_path / "hull", cgroup__subtree_control="")
    assert cgroup_v2.enable(str(root), str(hull)) == ""
    assert hull.read("cgroup.subtree_control") == ""
