# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_sets, cgroup_v1, cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory, written


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", {0}), ("0-2,5", {0, 1, 2, 5}), ("3,1", {1, 3}), ("0, 2-3", {0, 2, 3})]
)
def test_lists_are_read(text, numbers):
    assert cgroup_sets.parse_set(text, option="cpuset_cpus") == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "2-1", "1,,2", "0-99999999999", "0:2", "٣"])
def test_what_is_no_list_is_refused_with_the_options_name(text):
    with pytest.raises(errors.Invalid, match="cpuset_cpus: .*is not a list of numbers"):
        cgroup_sets.parse_set(text, option="cpuset_cpus")


@pytest.fixture
def parent(tmp_path):
    files = {"cpuset__cpus": "0-3\n", "cpuset__mems": "0\n"}
    effective = {"cpuset__cpus__effective": "0-3\n", "cpuset__mems__effective": "0\n"}
    return CgroupDirectory(tmp_path / "hull", **files, **effective)


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
def test_a_set_is_written(module, parent):
    limits = {"cpuset_cpus": "1-2", "cpuset_mems": "0"}
    expected = [("cpuset.cpus", "1-2"), ("cpuset.mems", "0")]
    assert written(module.cpuset(f"{parent}/c", limits, fresh=True)) == expected


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
def test_a_cpu_that_the_host_lacks_is_named(module, parent):
    with pytest.raises(errors.Invalid, match="cpuset_cpus: '2-5' has 4,5, this host has 0-3"):
        module.cpuset(f"{parent}/c", {"cpuset_cpus": "2-5"}, fresh=True)


def test_lifting_gives_the_parents_set(parent):
    limits = {"cpuset_cpus": "", "cpuset_mems": ""}
    assert written(cgroup_v1.cpuset(f"{parent}/c", limits, fresh=False)) == [
        ("cpuset.cpus", "0-3"),
        ("cpuset.mems", "0"),
    ]
    assert written(cgroup_v2.cpuset(f"{parent}/c", limits, fresh=False)) == [("cpuset.cpus", ""), ("cpuset.mems", "")]
    assert cgroup_v1.cpuset(f"{parent}/c", limits, fresh=True) == []
    assert cgroup_v2.cpuset(f"{parent}/c", limits, fresh=True) == []


def test_version_1_fills_every_empty_level_from_above(tmp_path):
    root = CgroupDirectory(tmp_path / "root", cpuset__cpus="0-1\n", cpuset__mems="0\n")
    hull = CgroupDirectory(tmp_path / "root/hull", cpuset__cpus="\n", cpuset__mems="\n")
    leaf = CgroupDirectory(tmp_path / "root/hull/c", cpuset__cpus="\n", cpuset__mems="\n")
    cgroup_v1.copy_cpuset(str(root), str(leaf))
    for directory in (hull, leaf):
        assert (directory.read("cpuset.cpus"), directory.read("cpuset.mems")) == ("0-1", "0")


def test_version_1_leaves_a_set_that_is_there(tmp_path):
    root = CgroupDirectory(tmp_path / "root", cpuset__cpus="0-3\n", cpuset__mems="0\n")
    CgroupDirectory(tmp_path / "root/hull", cpuset__cpus="2\n", cpuset__mems="0\n")
    leaf = CgroupDirectory(tmp_path / "root/hull/c", cpuset__cpus="", cpuset__mems="")
    cgroup_v1.copy_cpuset(str(root), str(leaf))
    assert leaf.read("cpuset.cpus") == "2"
