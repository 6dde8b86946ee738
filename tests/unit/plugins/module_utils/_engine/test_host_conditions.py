# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What is left out of a plan on a host that lacks it, and what patterns of masks mean there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._engine import host_conditions
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import LaunchPlan, ProcessPlan

SPEC = ContainerSpec(name="a", image="b")


def fitted(**fields: Any) -> LaunchPlan:
    plan = LaunchPlan(
        container_id="c", name="a", instance="", root_directory="/r", run_directory="/r", layers=(), hostname="a",
        **{"process": ProcessPlan(args=("true",), env=()), **fields},
    )  # fmt: skip
    return host_conditions.fit_to_host(None, None, SPEC, plan)  # type: ignore[arg-type]


def test_a_namespace_that_this_kernel_does_not_have_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cgroup").touch()
    paths = {name: str(tmp_path / name) for name in ("time", "cgroup")}
    monkeypatch.setattr(host_conditions, "_RECENT_NAMESPACES", paths)
    assert fitted().namespaces == ("mount", "pid", "net", "ipc", "uts", "cgroup")
    (tmp_path / "time").touch()
    assert fitted().namespaces == LaunchPlan.namespaces


def test_s25_a_pattern_of_masks_means_what_is_there(tmp_path: Path) -> None:
    for name in ("cpu0/thermal", "cpu1/thermal", "cpu2", "cpufreq/thermal", "gpu0/thermal"):
        (tmp_path / name).mkdir(parents=True)
    masked = fitted(
        masked_paths=(f"{tmp_path}/cpu*/thermal", "/proc/kcore", "/nowhere/x*", f"{tmp_path}/gpu*")
    ).masked_paths
    here = str(tmp_path)
    assert masked == (
        f"{here}/cpu0/thermal",
        f"{here}/cpu1/thermal",
        f"{here}/cpufreq/thermal",
        "/proc/kcore",
        f"{here}/gpu0",
    )


@pytest.mark.parametrize(("enabled", "kept"), [("Y\n", "web"), ("N\n", ""), (None, "")])
def test_a_profile_is_kept_where_the_host_has_apparmor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, enabled: str | None, kept: str
) -> None:
    if enabled is not None:
        (tmp_path / "enabled").write_text(enabled)
    monkeypatch.setattr(host_conditions, "_APPARMOR", str(tmp_path / "enabled"))
    assert fitted(process=ProcessPlan(args=("true",), env=(), apparmor="web")).process.apparmor == kept
    told = host_conditions.shortcomings(ContainerSpec(name="a", image="b", apparmor="web"))
    assert len(told) == (kept == "") and all("apparmor=web" in warning for warning in told)


def test_labels_are_told_and_disabling_them_is_not() -> None:
    spec = ContainerSpec(name="a", image="b", selinux=("disable", "type:web_t"))
    assert ["label=type:web_t" in warning for warning in host_conditions.shortcomings(spec)] == [True]
