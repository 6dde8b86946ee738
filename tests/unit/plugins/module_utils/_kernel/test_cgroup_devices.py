# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_devices import (
    DEFAULT_DEVICES,
    list_changes,
    merged,
)

FUSE = ("c", 10, 229, "rwm")
KMSG = ("c", 1, 11, "r")


def after(current: str, changes: list[tuple[str, str]]) -> set[str]:
    """What devices.list holds after the changes, one entry per device and letter."""
    entries = set()
    for line in current.split("\n"):
        if line and not line.startswith("a "):
            device, _, letters = line.rpartition(" ")
            entries |= {f"{device} {letter}" for letter in letters}
    for file, line in changes:
        if line == "a":
            entries = {"a"} if file == "allow" else set()
            continue
        device, _, letters = line.rpartition(" ")
        given = {f"{device} {letter}" for letter in letters}
        entries = entries | given if file == "allow" else entries - given
    return entries


@pytest.mark.parametrize(
    "current",
    ["a *:* rwm", "", "c 1:3 rwm", "c 1:3 rwm\nc 10:229 rwm\nc 1:11 rw", "b *:* m\nc 136:* rwm\nc 1:3 r"],
)
def test_any_list_becomes_the_wanted_one(current):
    wanted = merged([*DEFAULT_DEVICES, KMSG])
    entries = after(current, list_changes(current, wanted))
    assert entries == after("", list_changes("a *:* rwm", wanted))
    assert "c 1:11 r" in entries and "c 1:11 w" not in entries and "c 10:229 r" not in entries


def test_a_living_list_is_never_emptied_and_additions_come_first():
    changes = list_changes("c 1:3 rwm\nc 10:229 rwm", [("c", 1, 3, "rwm"), KMSG])
    assert changes == [("allow", "c 1:11 r"), ("deny", "c 10:229 rwm")]


def test_the_same_list_again_is_no_change():
    current = "c 1:3 rwm\nc 136:* rwm\n"
    assert list_changes(current, [("c", 1, 3, "rwm"), ("c", 136, -1, "rwm")]) == []
    assert list_changes("a *:* rwm", None) == []


def test_privileged_allows_all():
    assert list_changes("c 1:3 rwm", None) == [("allow", "a")]


def test_rules_for_one_device_are_merged():
    assert merged([("c", 1, 11, "w"), FUSE, ("c", 1, 11, "r")]) == [("c", 1, 11, "rw"), FUSE]


def test_neither_tun_nor_fuse_nor_a_wildcard_for_mknod_is_a_default():
    numbers = {device[:3] for device in DEFAULT_DEVICES}
    assert ("c", 10, 200) not in numbers and ("c", 10, 229) not in numbers
    assert all(major != -1 and kind == "c" for kind, major, _ in numbers)
