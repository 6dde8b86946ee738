# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroup_files, cgroup_v1, cgroup_v2

from tests.support.cgroup_directory import CgroupDirectory, written


@pytest.mark.parametrize(("weight", "expected"), [(10, 1), (500, 4950), (1000, 10_000), (5, 1), (2000, 10_000)])
def test_the_scales_ends_meet(weight, expected):
    assert cgroup_v2.weight_from_blkio(weight) == expected


@pytest.mark.parametrize(
    ("module", "files", "expected"),
    [
        (cgroup_v1, {"blkio__weight": "500"}, ("blkio.weight", "300")),
        (cgroup_v1, {"blkio__bfq__weight": "100"}, ("blkio.bfq.weight", "300")),
        (cgroup_v2, {"io__bfq__weight": "default 100"}, ("io.bfq.weight", "300")),
        (cgroup_v2, {"io__weight": "default 100"}, ("io.weight", "2930")),
    ],
)
def test_the_weight_goes_where_the_kernel_has_one(module, files, expected, tmp_path):
    directory = CgroupDirectory(tmp_path / "c", **files)
    compute = module.SETTINGS["blkio" if module is cgroup_v1 else "io"]
    settings = compute(str(directory), {"blkio_weight": 300}, fresh=True)
    assert written(settings) == [expected]
    cgroup_files.apply(settings, undo=False)
    assert directory.read(expected[0]) == expected[1]


def test_a_weight_has_an_effect_where_a_disk_is_under_iocost(tmp_path):
    directory = CgroupDirectory(tmp_path / "root" / "c", io__weight="default 100", io__bfq__weight="default 100")
    root = CgroupDirectory(tmp_path / "root", io__cost__qos="8:0 enable=1 ctrl=auto\n")
    settings = cgroup_v2.io(str(directory), {"blkio_weight": 300}, fresh=True)
    assert written(settings) == [("io.bfq.weight", "300"), ("io.weight", "2930")]
    assert cgroup_files.apply(settings, undo=False) == ()
    (root.path / "io.cost.qos").write_text("8:0 enable=0 ctrl=auto\n")
    settings = cgroup_v2.io(str(directory), {"blkio_weight": 300}, fresh=True)
    warnings = set(cgroup_files.apply(settings, undo=False))
    assert warnings == (set() if cgroup_v2.has_scheduler("bfq") else {cgroup_v2.NO_WEIGHT})


@pytest.mark.parametrize("compute", [cgroup_v1.blkio, cgroup_v2.io])
def test_a_kernel_without_weights_is_a_warning(compute, tmp_path):
    settings = compute(str(tmp_path), {"blkio_weight": 300}, fresh=True)
    assert [text.partition(":")[0] for text in cgroup_files.apply(settings, undo=False)] == ["blkio_weight"]


@pytest.mark.parametrize("compute", [cgroup_v1.blkio, cgroup_v2.io])
def test_no_weight_is_no_write_at_first_and_the_default_later(compute, tmp_path):
    assert compute(str(tmp_path), {"blkio_weight": 0}, fresh=True) == []
    assert compute(str(tmp_path), {}, fresh=False) == []
    assert [setting.value for setting in compute(str(tmp_path), {"blkio_weight": 0}, fresh=False)] == ["100"]


def test_usage_sums_over_devices(tmp_path):
    old = CgroupDirectory(
        tmp_path / "v1",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 10\n8:0 Write 5\n8:16 Read 1\n8:16 Total 1\nTotal 16\n",
    )
    new = CgroupDirectory(
        tmp_path / "v2", io__stat="8:0 rbytes=10 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n"
    )
    expected = {"io_read_bytes": 11, "io_write_bytes": 5}
    assert cgroup_v1.blkio_usage(str(old)) == expected
    assert cgroup_v2.io_usage(str(new)) == expected
