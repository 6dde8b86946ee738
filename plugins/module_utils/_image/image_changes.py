# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Two trees compared: what has to be added, changed and deleted to make the one into the other.

For two images, and for layers that are to become one. Both are seen whole, as overlayfs shows them; what a container
has changed in its writable layer is told faster by changeset.py.
"""

from __future__ import annotations

import os
from stat import S_IFMT, S_IMODE, S_ISDIR, S_ISLNK, S_ISREG, S_ISSOCK

from .attributes import kept_attributes, named
from .changeset import ADDED, CHANGED, DELETED, Change, directory_differences, parents, whiteout
from .packing import Packer, Subdirectory, check_depth, list_directory
from .tar_writer import END

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1024 * 1024
TIME = "time"


def compare(before: int, after: int) -> Iterator[Change]:
    """What is different between two trees, each an open directory (-1: an empty one), in order of paths.

    `what` of a change names the respects: type, content, size, link, device, mode, owner, xattrs, time, links (which
    names are one file). Of a directory that is deleted, what is in it is not listed.
    """
    groups = _changed_groups(before, after)
    if before >= 0 and (what := directory_differences(before, after, times=True)):
        yield Change(CHANGED, b"", what)
    yield from _compare_below(before, after, b"", groups)


def _compare_below(before: int, after: int, parent: bytes, groups: frozenset[bytes]) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(after)
    for name in sorted(old.keys() | new.keys()):
        path = parent + name
        if name not in new:
            yield Change(DELETED, path)
            continue
        if name not in old:
            yield Change(ADDED, path)
        is_directory = S_ISDIR(new[name].st_mode)
        if not is_directory:
            if name in old:
                what = _differences(before, after, name, old[name], new[name])
                if path in groups and "type" not in what:
                    what = (*what, "links")
                if what:
                    yield Change(CHANGED, path, what)
            continue
        check_depth(path)
        with Subdirectory(before, name) as inner_before, Subdirectory(after, name) as inner_after:
            if name in old:
                what = ("type",)
                if inner_before >= 0:
                    what = directory_differences(inner_before, inner_after, times=True)
                if what:
                    yield Change(CHANGED, path, what)
            yield from _compare_below(inner_before, inner_after, path + b"/", groups)


def _by_name(directory: int) -> dict[bytes, os.stat_result]:
    if directory < 0:
        return {}
    return {name: status for name, status in list_directory(directory) if not S_ISSOCK(status.st_mode)}


def _differences(before: int, after: int, name: bytes, a: os.stat_result, b: os.stat_result) -> tuple[str, ...]:
    """In what respects two entries that are no directories differ."""
    if S_IFMT(a.st_mode) != S_IFMT(b.st_mode):
        return ("type",)
    if _is_same_file(a, b):
        return ()
    found = [
        ("content", S_ISREG(a.st_mode) and _content_differs(before, after, name, a, b)),
        ("size", S_ISREG(a.st_mode) and a.st_size != b.st_size),
        ("link", S_ISLNK(a.st_mode) and os.readlink(name, dir_fd=before) != os.readlink(name, dir_fd=after)),
        ("device", a.st_rdev != b.st_rdev),
        ("mode", S_IMODE(a.st_mode) != S_IMODE(b.st_mode)),
        ("owner", (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid)),
        ("xattrs", kept_attributes(named(before, name)) != kept_attributes(named(after, name))),
        (TIME, a.st_mtime_ns != b.st_mtime_ns),
    ]
    return tuple(what for what, differs in found if differs)


def _is_same_file(a: os.stat_result, b: os.stat_result) -> bool:
    """Whether both are one file of a layer that the trees share: overlayfs shows its inode number and times."""
    return (a.st_ino, a.st_ctime_ns, a.st_mtime_ns, a.st_size) == (b.st_ino, b.st_ctime_ns, b.st_mtime_ns, b.st_size)


def _content_differs(before: int, after: int, name: bytes, a: os.stat_result, b: os.stat_result) -> bool:
    if a.st_size != b.st_size:
        return True
    one = os.open(name, _OPEN, dir_fd=before)
    try:
        other = os.open(name, _OPEN, dir_fd=after)
        try:
            while data := os.read(one, _CHUNK):
                if data != os.read(other, _CHUNK):
                    return True
            return False
        finally:
            os.close(other)
    finally:
        os.close(one)


def _changed_groups(before: int, after: int) -> frozenset[bytes]:
    """The paths of files whose further names are not the same in both trees."""
    old, new = _groups(before), _groups(after)
    alone: frozenset[bytes] = frozenset()
    return frozenset(path for path in old.keys() | new.keys() if old.get(path, alone) != new.get(path, alone))


def _groups(root: int) -> dict[bytes, frozenset[bytes]]:
    """All names of each file that has several, by each of its names."""
    inodes: dict[tuple[int, int], list[bytes]] = {}
    _collect_links(root, b"", inodes)
    return {path: frozenset(paths) for paths in inodes.values() if len(paths) > 1 for path in paths}


def _collect_links(directory: int, parent: bytes, inodes: dict[tuple[int, int], list[bytes]]) -> None:
    for name, status in _by_name(directory).items():
        if S_ISDIR(status.st_mode):
            with Subdirectory(directory, name) as inner:
                _collect_links(inner, parent + name + b"/", inodes)
        elif status.st_nlink > 1:
            inodes.setdefault((status.st_dev, status.st_ino), []).append(parent + name)


def pack_changes(before: int, after: int) -> Iterator[bytes]:
    """The tar of a layer that makes the tree `before` into the tree `after`; nothing where they are equal."""
    changes = list(compare(before, after))
    if not changes:
        return
    changed = {change.path for change in changes if change.kind != DELETED}
    deleted = {change.path for change in changes if change.kind == DELETED}
    groups = _groups(after)
    for path in list(changed):
        changed |= groups.get(path, frozenset())  # a link needs its target in the same layer
    yield from _Layer(changed, deleted).pieces(after)
    yield END


class _Layer:
    """The entries of a layer of known changes: each with its parents, deletions before their siblings."""

    def __init__(self, changed: set[bytes], deleted: set[bytes]) -> None:
        self._changed = changed
        self._parents = {parent for path in changed | deleted for parent in parents(path)}
        self._deleted: dict[bytes, list[bytes]] = {}
        for path in sorted(deleted):
            self._deleted.setdefault(path.rpartition(b"/")[0], []).append(path)
        self._packer = Packer()

    def pieces(self, root: int) -> Iterator[bytes]:
        yield self._packer.directory(root, b"")
        yield from self._below(root, b"")

    def _below(self, directory: int, parent: bytes) -> Iterator[bytes]:
        for path in self._deleted.get(parent[:-1], ()):
            yield whiteout(path)
        for name, status in list_directory(directory):
            path = parent + name
            if path not in self._changed and path not in self._parents:
                continue
            if not S_ISDIR(status.st_mode):
                yield from self._packer.file(directory, name, path, status)
                continue
            with Subdirectory(directory, name) as inner:
                yield self._packer.directory(inner, path)
                yield from self._below(inner, path + b"/")
