# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup, CgroupHost


@pytest.mark.parametrize("path", ["", "hull", "/hull/a", "hull/../init.scope", "hull/", "hull//a", "./a"])
def test_only_what_lies_below_a_parent_is_a_containers_cgroup(path):
    with pytest.raises(errors.Invalid, match="not a cgroup below a parent"):
        Cgroup(CgroupHost("1", {}), path)


def test_a_host_without_hierarchies_gets_the_cure():
    with pytest.raises(errors.Unsupported, match="mount -t cgroup2"):
        Cgroup(CgroupHost("", {}), "hull/a").create({})


def test_a_limit_without_its_controller_is_a_warning_and_the_rest_is_applied(tmp_path):
    cgroup = Cgroup(CgroupHost("1", {"freezer": str(tmp_path)}), "hull/a")
    (warning,) = cgroup.create({"memory_bytes": 1 << 26})
    assert warning.startswith("memory: this host has no memory cgroup controller, there is no limit; ")
    assert cgroup.exists()


def test_swap_below_memory_is_refused_before_anything_is_made(tmp_path):
    cgroup = Cgroup(CgroupHost("1", {"memory": str(tmp_path)}), "hull/a")
    with pytest.raises(errors.Invalid, match="memory_swap: 1000 is less than"):
        cgroup.create({"memory_bytes": 1 << 26, "memory_swap_bytes": 1000})
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_no_directory(tmp_path):
    memory, pids = tmp_path / "memory", tmp_path / "pids"
    memory.mkdir()
    pids.mkdir()
    cgroup = Cgroup(CgroupHost("1", {"memory": str(memory), "pids": str(pids)}), "hull/a")
    with pytest.raises(errors.Unsupported, match="pids_limit: this kernel has no"):
        cgroup.create({"pids": 50})
    assert [*memory.iterdir(), *pids.iterdir()] == []


def test_the_default_number_of_processes_is_only_a_warning_without_its_controller(tmp_path):
    cgroup = Cgroup(CgroupHost("1", {"freezer": str(tmp_path)}), "hull/a")
    assert [text.partition(":")[0] for text in cgroup.create({"pids": 2048})] == ["pids_limit"]
    assert cgroup.exists()
    cgroup.remove()
    assert not cgroup.exists()


def test_limits_of_a_container_that_is_gone_are_a_conflict(tmp_path):
    with pytest.raises(errors.Conflict, match="not running"):
        Cgroup(CgroupHost("1", {"pids": str(tmp_path)}), "hull/a").set({"pids": 10})


def test_version_2_freezes_by_file(tmp_path):
    cgroup = Cgroup(CgroupHost("2", {}, str(tmp_path)), "hull/a")
    (tmp_path / "hull/a").mkdir(parents=True)
    (tmp_path / "hull/a/cgroup.events").write_text("populated 1\nfrozen 1\n")
    (tmp_path / "hull/a/cgroup.freeze").write_text("0\n")
    cgroup.freeze()
    assert (tmp_path / "hull/a/cgroup.freeze").read_text() == "1"
    (tmp_path / "hull/a/cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(errors.Timeout, match="did not stop"):
        cgroup.freeze(timeout_s=0.01)
    assert (tmp_path / "hull/a/cgroup.freeze").read_text() == "0"


def test_kills_for_want_of_memory_are_counted_in_both_versions(tmp_path):
    (tmp_path / "hull/a").mkdir(parents=True)
    (tmp_path / "hull/a/memory.events").write_text("max 9\noom 2\noom_kill 3\n")
    (tmp_path / "hull/a/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    root = str(tmp_path)
    assert Cgroup(CgroupHost("2", {"memory": root}, root), "hull/a").oom_kills() == 3
    assert Cgroup(CgroupHost("1", {"memory": root}), "hull/a").oom_kills() == 4
    assert Cgroup(CgroupHost("1", {}), "hull/a").oom_kills() == 0


def made_version_2(tmp_path, controllers):
    """A version 2 host with memory and pids, and a cgroup that has only these controllers."""
    directory = tmp_path / "hull/a"
    directory.mkdir(parents=True)
    (directory / "cgroup.controllers").write_text(controllers + "\n")
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (directory / name).write_text("max\n")
    root = str(tmp_path)
    return directory, Cgroup(CgroupHost("2", {"memory": root, "pids": root}, root), "hull/a")


def test_version_2_limits_are_written_where_the_cgroup_has_the_controllers(tmp_path):
    directory, cgroup = made_version_2(tmp_path, "memory pids")
    assert cgroup.set({"memory_bytes": 1 << 26, "memory_swap_bytes": -1, "pids": 50}) == ()
    assert (directory / "memory.max").read_text() == str(1 << 26)
    assert (directory / "pids.max").read_text() == "50"


def test_a_controller_that_is_not_passed_on_is_named_with_the_option(tmp_path):
    directory, cgroup = made_version_2(tmp_path, "pids")
    (warning,) = cgroup.set({"memory_bytes": 1 << 26, "pids": 50})
    assert warning.startswith("memory: the memory controller is not passed on to the container's cgroup")
    assert (directory / "pids.max").read_text() == "50"


def test_the_kernels_memory_has_no_limit_and_that_is_told(tmp_path):
    _, cgroup = made_version_2(tmp_path, "memory pids")
    (warning,) = cgroup.set({"kernel_memory_bytes": 1 << 26})
    assert warning.startswith("kernel_memory: ")


def test_the_default_number_of_processes_is_a_warning_where_pids_is_not_passed_on(tmp_path):
    directory, cgroup = made_version_2(tmp_path, "memory")
    assert [text.partition(":")[0] for text in cgroup.set({"pids": 2048, "memory_bytes": 0})] == ["pids_limit"]
    assert (directory / "pids.max").read_text() == "max\n"
