# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Kernels that lack what this one can't be made to lack; tests/kernel/test_host_check.py has the others."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._engine import host_check
from ansible_collections.hull.engine.plugins.module_utils._engine.host_check import Demand, check_host
from ansible_collections.hull.engine.plugins.module_utils._kernel import features, probes
from ansible_collections.hull.engine.plugins.module_utils._kernel.features import Features, lacks_of

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


def _paths(tmp_path: Path) -> Paths:
    return Paths(root=f"{tmp_path}/a/b/hull", run=f"{tmp_path}/run", config=f"{tmp_path}/etc")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is different from this host's kernel, to be filled in."""
    changes: dict[str, object] = {"missing_capabilities": (), "initial_user_namespace": True}
    real = features.probe("/")

    def probe(_directory: str) -> Features:
        changed = replace(real, **{"overlayfs": True, "seccomp": True, "mount_api": True, **changes})
        return replace(changed, lacks=tuple(lacks_of(changed)))

    monkeypatch.setattr(host_check.features, "probe", probe)
    return changes


@pytest.mark.parametrize(
    ("change", "what", "cure"),
    [
        ({"overlayfs": False}, "overlayfs", "CONFIG_OVERLAY_FS"),
        ({"seccomp": False}, "seccomp", "CONFIG_SECCOMP_FILTER"),
        ({"cgroup_controllers": ("cpu", "cpuset", "memory", "pids")}, "io cgroup controller", ""),
        ({"cgroup_controllers": ("blkio", "cpu", "cpuset", "pids")}, "memory cgroup controller", ""),
        ({"cgroup_version": "", "cgroup_controllers": CONTROLLERS}, "cgroups", "mount -t cgroup2"),
    ],
)
def test_a_kernel_that_lacks_what_containers_need_is_refused_with_the_cure(
    tmp_path: Path, found: dict[str, object], change: dict[str, object], what: str, cure: str
) -> None:
    found["cgroup_controllers"] = CONTROLLERS
    found.update(change)
    problems = check_host(_paths(tmp_path), Demand(controllers=CONTROLLERS, writable_layers=False)).problems
    assert [problem.what for problem in problems] == [what]
    assert problems[0].needed and problems[0].cure and cure in problems[0].cure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("io", ["io", "blkio"])
def test_both_names_of_the_controller_of_io_will_do(tmp_path: Path, found: dict[str, object], io: str) -> None:
    found["cgroup_controllers"] = ("cpu", io)
    demand = Demand(controllers=("cpu", "io"), writable_layers=False)
    assert check_host(_paths(tmp_path), demand).problems == ()


def test_what_is_not_asked_for_may_be_lacking(tmp_path: Path, found: dict[str, object]) -> None:
    found["cgroup_controllers"] = ("cpu",)
    assert check_host(_paths(tmp_path), Demand(controllers=("cpu",), writable_layers=False)).problems == ()


def test_an_overlayfs_that_does_not_work_is_found_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(probes, "try_overlay", fail)
    monkeypatch.setattr(probes, "is_unloaded_module", lambda *_names: False)
    assert not features.probe(str(tmp_path)).overlayfs
