# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The mounts of the caller's mount namespace, as the kernel lists them. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))


class MountPoint(Value):
    """One mount: where it is, and its tags such as `shared:7` and `master:3`."""

    path: str
    tags: tuple[str, ...] = ()


def read_mount_table() -> list[MountPoint]:
    """All mounts, the newest at a place last."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mount_table(file)


def parse_mount_table(lines: Iterable[str]) -> list[MountPoint]:
    """The mounts that the lines of mountinfo tell of. Pure."""
    found = []
    for line in lines:
        fields = line.split(" ")
        found.append(MountPoint(unescape(fields[4]), tuple(fields[6 : fields.index("-")])))
    return found


def unescape(path: str) -> str:
    """A path of mountinfo as it is. Pure."""
    for escape, character in _ESCAPES if "\\" in path else ():
        path = path.replace(escape, character)
    return path


def mounts_below(table: Iterable[MountPoint], path: str) -> list[str]:
    """The mount points that are the path or lie below it, those that cover others first. Pure."""
    return [point.path for point in reversed(list(table)) if is_below(point.path, path)]


def mount_of(table: Iterable[MountPoint], path: str) -> MountPoint:
    """The mount that a path without links lies on. Pure."""
    best = MountPoint("/")
    for point in table:
        if is_below(path, point.path) and len(point.path) >= len(best.path):
            best = point
    return best


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or leads to something in it. Pure."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
