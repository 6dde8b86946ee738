# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Words of mount options, and the places that may be mounted on."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied, Invalid
from ansible_collections.hull.engine.plugins.module_utils._kernel.mount_options import (
    attribute_masks,
    propagation_flag,
    split_options,
)
from ansible_collections.hull.engine.plugins.module_utils._kernel.namespaces import namespace_flags
from ansible_collections.hull.engine.plugins.module_utils._kernel.targets import check_target
from ansible_collections.hull.engine.plugins.module_utils._sys import mount_flags as m


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (0, 0)),
        (("ro", "nosuid"), (m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID, 0)),
        (("ro", "rw"), (0, m.MOUNT_ATTR_RDONLY)),
        (("rw", "ro", "rbind"), (m.MOUNT_ATTR_RDONLY, 0)),
        (("noatime",), (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME)),
        (("noatime", "relatime"), (0, m.MOUNT_ATTR__ATIME)),
    ],
)
def test_later_words_win(words: tuple[str, ...], expected: tuple[int, int]) -> None:
    assert attribute_masks(words) == expected


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(Invalid, match="'nosiud' is not an option of a mount"):
        attribute_masks(("nosiud",))


def test_options_of_mount_and_file_system_are_told_apart() -> None:
    assert split_options("nosuid,size=64m,,ro,mode=1777") == (("nosuid", "ro"), ("size=64m", "mode=1777"))


def test_propagation_by_name() -> None:
    assert propagation_flag("rslave") == (m.MS_SLAVE, True) and propagation_flag("shared") == (m.MS_SHARED, False)
    with pytest.raises(Invalid, match="'rpublic' is not a mount propagation"):
        propagation_flag("rpublic")


def test_namespace_names() -> None:
    assert namespace_flags(("mount", "time")) == 0x20080
    with pytest.raises(Invalid, match="'mnt' is not a namespace"):
        namespace_flags(("mnt",))


@pytest.mark.parametrize(
    ("kind", "target", "actual", "allowed"),
    [
        ("tmpfs", "/tmp", "/tmp", True),
        ("bind", "/var/run/x", "/run/x", True),
        ("bind", "/", "/", False),
        ("tmpfs", "/a", "/", False),
        ("proc", "/proc", "/proc", True),
        ("proc", "/proc", "/data", False),
        ("proc", "/proc/x", "/proc/x", False),
        ("sysfs", "/sys", "/sys", True),
        ("sysfs", "/sys", "/tmp", False),
        ("cgroup", "/sys/fs/cgroup", "/sys/fs/cgroup", True),
        ("bind", "/proc", "/proc", False),
        ("bind", "/proc/sys", "/proc/sys", False),
        ("bind", "/proc/meminfo", "/proc/meminfo", True),
        ("tmpfs", "/proc/meminfo", "/proc/meminfo", False),
        ("bind", "/data", "/proc/self/attr", False),
        ("bind", "/process", "/process", True),
    ],
)
def test_dangerous_targets_are_refused(kind: str, target: str, actual: str, allowed: bool) -> None:
    if allowed:
        check_target(kind, target, actual)
    else:
        with pytest.raises((Denied, Invalid)):
            check_target(kind, target, actual)
