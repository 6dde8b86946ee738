# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""USER strings against passwd and group files."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import LaunchError
from ansible_collections.hull.engine.plugins.module_utils._runtime.users import Identity, resolve_user

PASSWD = """root:x:0:0:root:/root:/bin/sh
alice:x:1000:1001:A:/home/alice:/bin/sh
broken line
toolarge:x:99999999999:1:x:/:/bin/sh
negative:x:-1:1:x:/:/bin/sh
1234:x:55:55:digits as a name:/:/bin/sh
nohome:x:60:60:::
"""
GROUP = """root:x:0:
wheel:x:10:alice,bob
alice:x:1001:
extra:x:77:bob
broken:x
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (0,), "/root", "root")),
        ("root", Identity(0, 0, (0,), "/root", "root")),
        ("alice", Identity(1000, 1001, (1001, 10), "/home/alice", "alice")),
        ("1000", Identity(1000, 1001, (1001, 10), "/home/alice", "alice")),
        ("4711", Identity(4711, 0, (0,), "/", "")),
        ("alice:wheel", Identity(1000, 10, (10,), "/home/alice", "alice")),
        ("alice:5", Identity(1000, 5, (5,), "/home/alice", "alice")),
        ("5:6", Identity(5, 6, (6,), "/", "")),
        ("1234", Identity(1234, 0, (0,), "/", "")),
        ("2147483647", Identity(2147483647, 0, (0,), "/", "")),
        ("nohome", Identity(60, 60, (60,), "/", "nohome")),
        ("0001000", Identity(1000, 1001, (1001, 10), "/home/alice", "alice")),
    ],
)
def test_users(user: str, expected: Identity) -> None:
    assert resolve_user(user, (), PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "user",
    [
        "bob",
        "4294967295",
        "4294967296",
        "1" + "0" * 20,
        "-1",
        "0x0",
        "1_0",
        "\u0661",
        " 0",
        "0 ",
        "+0",
        "0:0:0",
        ":",
        "0:",
        ":0",
        "alice:",
        "alice:nogroup",
        "toolarge",
        "negative",
        "root\n",
        "2147483648",
        "0:2147483648",
        "\u00b2",
    ],
)
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(LaunchError, match="user: "):
        resolve_user(user, (), PASSWD, GROUP)


def test_further_groups_are_added_once() -> None:
    assert resolve_user("alice", ("extra", "10", "99"), PASSWD, GROUP).groups == (1001, 10, 77, 99)
    with pytest.raises(LaunchError, match="nogroup"):
        resolve_user("alice", ("nogroup",), PASSWD, GROUP)


def test_without_files_numbers_work_and_names_do_not() -> None:
    assert resolve_user("0", (), "", "") == Identity(0, 0, (0,), "/root", "")
    assert resolve_user("", (), "", "").uid == 0
    with pytest.raises(LaunchError):
        resolve_user("root", (), "", "")
