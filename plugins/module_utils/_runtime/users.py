# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Who a process runs as: `USER` strings read strictly against a container's passwd and group files. Pure.

Strict, because lenient readings were privilege escalations elsewhere: a number is 1 to 10 ASCII digits and at most
2147483647, everything else must be an exact name of the file. `int()` alone would take `1_0`, ` 0` and `+0`.
"""

from __future__ import annotations

from .._base.errors import LaunchError
from .._base.values import Value

_DIGITS = frozenset("0123456789")
MAX_ID = 2**31 - 1
_MAX_LINE = 64 * 1024


class Identity(Value):
    """A resolved user. `groups` are the supplementary ones and contain `gid`."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    name: str = ""


class _Account(Value):
    name: str
    uid: int
    gid: int
    home: str


class _Group(Value):
    name: str
    gid: int
    members: tuple[str, ...]


def parse_id(text: str) -> int | None:
    """The number that the text is, or None where it is not 1 to 10 ASCII digits. Raises LaunchError beyond 2^31 - 1."""
    if not 0 < len(text) <= 10 or not _DIGITS.issuperset(text):
        if text and _DIGITS.issuperset(text):
            raise LaunchError(f"user: {text[:40]} is beyond the largest id {MAX_ID}")
        return None
    number = int(text)
    if number > MAX_ID:
        raise LaunchError(f"user: {number} is beyond the largest id {MAX_ID}")
    return number


def _accounts(passwd: str) -> list[_Account]:
    """The well-formed lines; others are skipped, as libc does."""
    accounts = []
    for line in passwd.split("\n"):
        fields = line.split(":")
        if len(fields) != 7 or len(line) > _MAX_LINE or not fields[0]:
            continue
        uid, gid = _file_id(fields[2]), _file_id(fields[3])
        if uid is not None and gid is not None:
            accounts.append(_Account(fields[0], uid, gid, fields[5]))
    return accounts


def _groups(group: str) -> list[_Group]:
    groups = []
    for line in group.split("\n"):
        fields = line.split(":")
        if len(fields) != 4 or len(line) > _MAX_LINE or not fields[0]:
            continue
        gid = _file_id(fields[2])
        if gid is not None:
            groups.append(_Group(fields[0], gid, tuple(name for name in fields[3].split(",") if name)))
    return groups


def _file_id(text: str) -> int | None:
    try:
        return parse_id(text)
    except LaunchError:
        return None


def resolve_user(user: str, extra_groups: tuple[str, ...], passwd: str, group: str) -> Identity:
    """The identity that `user` (name, uid, name:group, uid:gid; empty: root) means in these two files.

    Without a group of its own the account's primary group and all groups that list it apply; with one, that group
    only (as Docker does). `extra_groups` are added. Raises LaunchError naming what is not there.
    """
    parts = user.split(":")
    if len(parts) > 2 or (len(parts) == 2 and not all(parts)):
        raise LaunchError(f"user: {user!r} is not name, uid, name:group or uid:gid")
    account = _find_account(parts[0], _accounts(passwd))
    known = _groups(group)
    if len(parts) == 2:
        gid = _group_id(parts[1], known)
        groups = [gid]
    else:
        gid = account.gid
        groups = [gid, *(entry.gid for entry in known if account.name and account.name in entry.members)]
    groups += [_group_id(name, known) for name in extra_groups]
    return Identity(account.uid, gid, tuple(dict.fromkeys(groups)), account.home or "/", account.name)


def _find_account(user: str, accounts: list[_Account]) -> _Account:
    uid = parse_id(user) if user else 0
    for account in accounts:
        if account.uid == uid if uid is not None else account.name == user:
            return account
    if uid is None:
        raise LaunchError(f"user: no user {user[:80]!r} in the container's /etc/passwd", hint="give a uid instead")
    return _Account("", uid, 0, "/root" if uid == 0 else "/")


def _group_id(name: str, known: list[_Group]) -> int:
    gid = parse_id(name)
    if gid is not None:
        return gid
    for entry in known:
        if entry.name == name:
            return entry.gid
    raise LaunchError(f"user: no group {name[:80]!r} in the container's /etc/group", hint="give a gid instead")
