# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The taking away of capabilities, as /proc/self/status shows it and as an executed program gets it."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import capabilities, privileges

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

EMPTY = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}


def parse(text: str) -> dict[str, int]:
    lines = (line.split(":") for line in text.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in lines}


def after(names: tuple[str, ...], uid: int) -> dict[str, int]:
    """The sets that a program has which is executed after `become`."""

    def act() -> dict[str, int]:
        privileges.become(uid, uid, (), names)
        return parse(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)

    sets: dict[str, int] = run_isolated(act, namespaces=())
    return sets


def test_root_executes_with_the_named_capabilities_alone() -> None:
    mask = capabilities.mask_of(capabilities.DEFAULT_CAPABILITIES)
    assert after(capabilities.DEFAULT_CAPABILITIES, 0) == {**EMPTY, "CapPrm": mask, "CapEff": mask, "CapBnd": mask}


def test_another_user_executes_with_none_and_a_bounding_set() -> None:
    mask = capabilities.mask_of(capabilities.DEFAULT_CAPABILITIES)
    assert after(capabilities.DEFAULT_CAPABILITIES, 1000) == {**EMPTY, "CapBnd": mask}


@pytest.mark.parametrize("uid", [0, 1000])
def test_all_can_be_dropped(uid: int) -> None:
    assert after((), uid) == {**EMPTY, "CapBnd": 0}


def test_capabilities_that_the_host_lacks_are_left_out() -> None:
    sets = after(capabilities.ALL_CAPABILITIES, 0)
    assert sets["CapPrm"] == sets["CapBnd"] == capabilities.mask_of(privileges.host_capabilities())


def test_the_host_s_are_those_of_proc() -> None:
    with open("/proc/self/status") as file:
        sets = parse(file.read())
    assert capabilities.mask_of(privileges.host_capabilities()) == sets["CapPrm"] & sets["CapBnd"]


def test_ids_and_groups_are_exactly_those_given() -> None:
    def act() -> object:
        privileges.become(1000, 1001, (4, 1001), ())
        with pytest.raises(PermissionError):
            os.setuid(0)
        return os.getresuid(), os.getresgid(), os.getgroups()

    assert run_isolated(act, namespaces=()) == ((1000,) * 3, (1001,) * 3, [4, 1001])
