# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

from typing import Any

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._cli.info_text import info_text
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.info import engine_info


def _facts(tmp_path: Any, **changes: Any) -> dict[str, Any]:
    paths = Paths(root=f"{tmp_path}/root", run=f"{tmp_path}/run", config=f"{tmp_path}/etc")
    return {**engine_info(Engine(paths)), "Lacks": [], **changes}


def test_each_thing_has_a_line_of_its_own(tmp_path):
    lines = info_text(_facts(tmp_path, Containers=3, ContainersRunning=1, ContainersStopped=2)).splitlines()
    values = dict(line.split(":", 1) for line in lines)
    assert values["State"].strip() == f"{tmp_path}/root"
    assert values["Containers"].strip() == "3 (1 running, 0 paused, 2 stopped)"
    assert len(values) == len(lines)


def test_each_kind_of_limit_that_the_host_can_keep_is_named(tmp_path):
    keys = ("MemoryLimit", "SwapLimit", "CpuCfsQuota", "CPUSet", "PidsLimit", "IOLimit")
    assert set(keys) <= set(_facts(tmp_path))
    line = next(
        line for line in info_text(_facts(tmp_path, **dict.fromkeys(keys, True))).splitlines() if "Limits" in line
    )
    assert line.split(":")[1].strip() == "memory, swap, CPU time, CPUs, processes, I/O"


def test_lacks_come_last_with_their_cures_the_needed_ones_first(tmp_path):
    lacks = [
        {"what": "zstd", "why": "some layers can't be unpacked", "cure": "install zstd", "needed": False},
        {"what": "overlayfs", "why": "images can't be stacked", "cure": "boot another kernel", "needed": True},
    ]
    assert info_text(_facts(tmp_path, Lacks=lacks)).endswith(
        "\n\nNo container runs without:\n"
        "  overlayfs: images can't be stacked\n"
        "    cure: boot another kernel\n"
        "\nLacking:\n"
        "  zstd: some layers can't be unpacked\n"
        "    cure: install zstd\n"
    )


def test_a_fact_that_has_no_line_yet_is_told_in_words(tmp_path):
    text = info_text(_facts(tmp_path, DefaultLimits={"memory": "1g", "swap": False}, NewList=["a", "b"], Empty=[]))
    assert "memory 1g, swap no\n" in text and "New list:" in text and "a, b\n" in text and "Empty" not in text


def test_what_others_chose_cannot_steer_a_terminal(tmp_path):
    assert "\x1b" not in info_text(_facts(tmp_path, Name="vm\x1b[2J"))
