# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import (
    CgroupHost,
    changed_limits,
    cure,
    detect,
    unkept_limits,
)

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def test_separate_hierarchies_are_version_1():
    host = detect(
        ROOT
        + "31 22 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        + "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        + "33 31 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:9 master:3 - cgroup cgroup rw,memory\n"
        + "34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n"
    )
    assert host.version == "1"
    assert host.unified == ""
    assert host.mounts == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }


def test_one_tree_is_version_2_and_its_controllers_are_those_of_its_file(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    host = detect(ROOT + f"30 22 0:26 / {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
    assert host.version == "2"
    assert host.unified == str(tmp_path)
    assert host.mounts == dict.fromkeys(("cpuset", "cpu", "io", "memory", "pids"), str(tmp_path))
    assert host.has("blkio") and host.has("io") and not host.has("freezer")


def test_both_are_hybrid_and_version_1_keeps_what_it_holds(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("io\n")
    host = detect(
        f"30 22 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
        "31 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    )
    assert host.version == "hybrid"
    assert host.mounts == {"memory": "/sys/fs/cgroup/memory", "io": str(tmp_path)}


def test_a_tagging_hierarchy_beside_version_2_does_not_make_it_hybrid(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    host = detect(
        f"30 22 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n31 22 0:27 / /opt/net_cls rw - cgroup none rw,net_cls\n"
    )
    assert host.version == "2"
    assert host.mounts["net_cls"] == "/opt/net_cls"


@pytest.mark.parametrize("order", [1, -1])
def test_the_writable_mount_of_the_root_wins(order):
    lines = [
        "31 22 0:27 /docker/a /srv/box/cgroup/memory rw - cgroup cgroup rw,memory",
        "32 22 0:27 / /srv/view/memory ro - cgroup cgroup rw,memory",
        "33 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    ]
    assert detect("\n".join(lines[::order])).mounts == {"memory": "/sys/fs/cgroup/memory"}


def test_a_mount_point_with_a_blank_is_unescaped():
    assert detect("31 22 0:27 / /mnt/a\\040b rw - cgroup c rw,pids").mounts == {"pids": "/mnt/a b"}


def test_nothing_mounted_is_told():
    assert detect(ROOT) == CgroupHost("", {}, "")


def test_each_limit_without_a_controller_is_named_with_a_cure():
    host = CgroupHost("1", {"cpu": "/c"})
    limits = {
        "memory_bytes": 1 << 26,
        "memory_swappiness": 0,
        "cpu_quota_us": 5000,
        "cpuset_cpus": "0",
        "pids": 2048,
        "blkio_weight": 0,
        "read_bps": {},
        "write_iops": {"/dev/sda": 5},
    }
    warnings = unkept_limits(host, limits)
    assert [warning.partition(":")[0] for warning in warnings] == [
        "memory",
        "memory_swappiness",
        "cpuset_cpus",
        "pids_limit",
        "device_write_iops",
    ]
    assert all("there is no limit; boot" in warning or "mount" in warning for warning in warnings)


def test_a_limit_whose_controller_is_withheld_is_named_with_the_obstacle():
    host = CgroupHost("2", {"memory": "/c", "io": "/c", "pids": "/c"}, "/c")
    limits = {"memory_bytes": 1 << 26, "pids": 5, "blkio_weight": 10}
    warnings = unkept_limits(host, limits, ["memory", "io"], "/c/x has processes itself")
    assert [warning.partition(":")[0] for warning in warnings] == ["memory", "blkio_weight"]
    assert all(warning.endswith("there is no limit; /c/x has processes itself") for warning in warnings)


@pytest.mark.parametrize(
    "limits", [{}, {"pids": -1}, {"memory_bytes": 0, "memory_swap_bytes": -1, "memory_swappiness": -1}]
)
def test_no_limits_need_no_controller(limits):
    assert unkept_limits(CgroupHost("", {}), limits) == ()


def test_the_io_controller_of_version_2_serves_the_blkio_weight():
    assert unkept_limits(CgroupHost("2", {"io": "/c"}, "/c"), {"blkio_weight": 100}) == ()


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({"pids": 5, "cpu_shares": 9}, {"pids": 6, "cpu_shares": 9}, {"pids": 6}),
        (
            {"memory_bytes": 1, "memory_swap_bytes": 8},
            {"memory_bytes": 2, "memory_swap_bytes": 8},
            {"memory_bytes": 2, "memory_swap_bytes": 8},
        ),
        (
            {"cpu_quota_us": 1000, "cpu_period_us": 5000},
            {"cpu_quota_us": 1000, "cpu_period_us": 6000},
            {"cpu_quota_us": 1000, "cpu_period_us": 6000},
        ),
        ({"read_bps": {"/dev/a": 1}}, {"read_bps": {}}, {"read_bps": {}}),
        ({"pids": 5}, {"pids": 5}, {}),
    ],
)
def test_what_belongs_together_changes_together(before, after, changed):
    assert changed_limits(before, after) == changed


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n", "boot with cgroup_enable=memory"),
        ("memory\t0\t1\t1\n", "not mounted"),
        ("cpu\t0\t1\t1\n", "CONFIG_MEMCG"),
    ],
)
def test_the_cure_depends_on_what_the_kernel_says(table, expected):
    assert expected in cure("memory", table)
