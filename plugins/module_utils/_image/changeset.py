# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's writable layer, as overlayfs keeps it, read as changes: for `diff` and as the tar of an OCI layer.

    character device 0:0, or an empty file with the attribute overlay.whiteout    deleted: `.wh.name`
    directory with the attribute overlay.opaque=y                                 replaced: `.wh..wh..opq` in it

A file whose name begins with `.wh.` can't be in a layer; it is left out, and the caller is told. Mount points that the
engine itself made (`places`) are left out where nothing else is in them.

Source: as in whiteouts.py. The kernel gives all whiteouts one inode, so they are no hard links of each other.
"""

from __future__ import annotations

import os
from errno import ENODATA, ENOTSUP
from stat import S_IMODE, S_ISDIR, S_ISREG, S_ISSOCK

from .._base.values import Value
from .attributes import attribute_names, kept_attributes, named
from .compression import sniff
from .packing import Packer, Subdirectory, check_depth, list_directory, refuse_dependent
from .tar_writer import END, header_of, make_entry
from .tree import is_whiteout
from .whiteouts import OPAQUE, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDED, CHANGED, DELETED = "A", "C", "D"
_FILE, _DIRECTORY, _OPAQUE, _WHITEOUT = range(4)

if TYPE_CHECKING:
    Listed = tuple[bytes, os.stat_result]


class Change(Value):
    """One path below a root that was added, changed or deleted; of a change perhaps in what respect."""

    kind: str
    path: bytes
    what: tuple[str, ...] = ()


class _Found:
    """Something in the writable layer: `name` in the open `directory`, or a directory, which is then open itself.

    `lower` is what the layers below have in place of `directory`, -1 where nothing. Both are closed after the next one.
    """

    __slots__ = ("directory", "existed", "kind", "lower", "name", "path", "replaces", "status")

    def __init__(self, kind: int, path: bytes, directory: int, lower: int) -> None:
        self.kind, self.path, self.directory, self.lower = kind, path, directory, lower
        self.name = b""  # of what is no directory
        self.status: os.stat_result | None = None  # the same
        self.existed = True  # whether the layers below have something in place of a directory
        self.replaces = False  # whether nothing of the layers below is seen in a directory


class UpperLayer:
    """A writable layer beside a view of the layers below it, both open directories that stay the caller's.

    `places` are paths, without a slash at the beginning, at which the engine mounts something in every container.
    """

    def __init__(self, upper: int, lower: int, places: tuple[bytes, ...] = ()) -> None:
        self._upper, self._lower = upper, lower
        self._places = frozenset(places)
        self._above = frozenset(parent for place in places for parent in parents(place))

    def changes(self) -> list[Change]:
        """What the container has changed, in order of paths, by Docker's rules: of a file any change of content, mode,
        owner or time, of a directory any but of its time, and any change in it. Raises OSError, Unsupported.
        """
        kinds: dict[bytes, str] = {}
        for found in self._walk(self._upper, b"", self._lower, self._list(self._upper, b"", self._lower)[0]):
            if kind := _kind_of(found):
                kinds[found.path] = kind
            if found.replaces and found.lower >= 0:
                hidden = set(os.listdir(found.lower)).difference(os.listdir(found.directory))
                kinds.update({found.path + b"/" + os.fsencode(name): DELETED for name in hidden})
        for path in list(kinds):
            for parent in parents(path):
                kinds.setdefault(parent, CHANGED)
        if directory_differences(self._upper, self._lower, times=False):
            kinds[b""] = CHANGED
        return [Change(kinds[path], path) for path in sorted(kinds)]

    def pieces(self, *, leave_out: Callable[[bytes], None]) -> Iterator[bytes]:
        """The tar of the layer; nothing at all where the container has changed nothing.

        `leave_out` is told of every path that a layer can't have. Raises OSError, Unsupported.
        """
        pieces = self._entries(leave_out)
        first = next(pieces, b"")
        if not first:
            return
        if sniff(first) != "plain":  # by its first name it could be taken for a compressed stream
            yield Packer().directory(self._upper, b"")
        yield first
        yield from pieces
        yield END

    def _entries(self, leave_out: Callable[[bytes], None]) -> Iterator[bytes]:
        packer = Packer()
        if directory_differences(self._upper, self._lower, times=False):
            yield packer.directory(self._upper, b"")
        reserved = b"\0"  # the last directory that can't be in a layer, with a slash at its end
        for found in self._walk(self._upper, b"", self._lower, self._list(self._upper, b"", self._lower)[0]):
            path = found.path
            if path.startswith(reserved):
                continue
            if path.rpartition(b"/")[2].startswith(PREFIX):
                leave_out(path)
                reserved = path + b"/"
            elif found.kind == _WHITEOUT:
                yield whiteout(path)
            elif found.kind == _FILE:
                assert found.status is not None
                yield from packer.file(found.directory, found.name, path, found.status)
            else:
                yield packer.directory(found.directory, path)
                if found.kind == _OPAQUE:
                    yield header_of(make_entry(path + b"/" + OPAQUE, mode=0))

    def _walk(
        self, directory: int, parent: bytes, lower: int, entries: list[Listed], *, replaces: bool = False
    ) -> Iterator[_Found]:
        """Everything below a directory: what it deletes first, then the rest, by name."""
        by_attribute = _overlay_attribute(directory, "opaque") == b"x"
        rest = []
        for name, status in entries:
            if not _is_deletion(directory, name, status, by_attribute=by_attribute):
                rest.append((name, status))
            elif lower >= 0:
                yield _file(_WHITEOUT, parent, directory, lower, name, status)
        for name, status in rest:
            if S_ISDIR(status.st_mode):
                yield from self._walk_directory(directory, name, parent + name, lower, replaces)
            elif not S_ISSOCK(status.st_mode):
                yield _file(_FILE, parent, directory, lower, name, status)

    def _walk_directory(self, directory: int, name: bytes, path: bytes, lower: int, replaces: bool) -> Iterator[_Found]:
        check_depth(path)
        with Subdirectory(directory, name) as inner, Subdirectory(lower, name) as beneath:
            if inner < 0:
                return
            refuse_dependent(attribute_names(inner), path)
            is_opaque = _overlay_attribute(inner, "opaque") == b"y"
            entries, left_out = self._list(inner, path + b"/", beneath)
            is_engines = left_out and not entries and not is_opaque and beneath >= 0
            if is_engines and not directory_differences(inner, beneath, times=False):
                return
            found = _Found(_OPAQUE if is_opaque else _DIRECTORY, path, inner, beneath)
            found.existed = lstat(lower, name) is not None
            found.replaces = replaces or is_opaque
            yield found
            yield from self._walk(inner, path + b"/", beneath, entries, replaces=found.replaces)

    def _list(self, directory: int, parent: bytes, lower: int) -> tuple[list[Listed], bool]:
        """What is in a directory, and whether something of the engine's own was left out."""
        entries = list_directory(directory)
        if parent and parent[:-1] not in self._above:
            return entries, False
        own = [entry for entry in entries if not self._is_engines(directory, parent + entry[0], lower, entry)]
        return own, len(own) < len(entries)

    def _is_engines(self, directory: int, path: bytes, lower: int, entry: Listed) -> bool:
        """Whether the engine made this as a place to mount on, or as a parent of one, and nobody used it since."""
        name, status = entry
        if (path not in self._places and path not in self._above) or lstat(lower, name) is not None:
            return False
        if S_ISDIR(status.st_mode):
            with Subdirectory(directory, name) as inner:
                entries = list_directory(inner) if inner >= 0 else []
                return all(self._is_engines(inner, path + b"/" + found[0], -1, found) for found in entries)
        return path in self._places and S_ISREG(status.st_mode) and not status.st_size


def whiteout(path: bytes) -> bytes:
    """The entry that deletes a path of the layers below."""
    parent, slash, name = path.rpartition(b"/")
    return header_of(make_entry(parent + slash + PREFIX + name, mode=0))


def lstat(directory: int, name: bytes) -> os.stat_result | None:
    """What a name in an open directory is; None where there is nothing, or no directory (-1)."""
    if directory < 0:
        return None
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def directory_differences(one: int, other: int, *, times: bool) -> tuple[str, ...]:
    """In what respects two open directories themselves differ."""
    a, b = os.fstat(one), os.fstat(other)
    found = (
        ("mode", S_IMODE(a.st_mode) != S_IMODE(b.st_mode)),
        ("owner", (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid)),
        ("xattrs", kept_attributes(one) != kept_attributes(other)),
        ("time", times and a.st_mtime_ns != b.st_mtime_ns),
    )
    return tuple(name for name, differs in found if differs)


def _file(kind: int, parent: bytes, directory: int, lower: int, name: bytes, status: os.stat_result) -> _Found:
    found = _Found(kind, parent + name, directory, lower)
    found.name, found.status = name, status
    return found


def _kind_of(found: _Found) -> str:
    """Docker's letter for what was found; empty where nothing is different, as of what was only copied up."""
    if found.status is None:
        if not found.existed:
            return ADDED
        if found.lower < 0:
            return CHANGED
        return CHANGED if directory_differences(found.directory, found.lower, times=False) else ""
    old = lstat(found.lower, found.name)
    if found.kind == _WHITEOUT:
        return "" if old is None else DELETED
    if old is None:
        return ADDED
    if _facts(old) != _facts(found.status):
        return CHANGED
    place = found.name
    return (
        CHANGED if kept_attributes(named(found.lower, place)) != kept_attributes(named(found.directory, place)) else ""
    )


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return (
        *(status.st_mode, status.st_uid, status.st_gid, status.st_rdev),
        *(status.st_size, status.st_mtime_ns),
    )


def parents(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the nearest first, without the root."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _overlay_attribute(directory: int, name: str) -> bytes:
    """The value of one of overlayfs's own attributes of an open directory, empty where it has none."""
    for prefix in ("trusted.overlay.", "user.overlay."):
        try:
            return os.getxattr(directory, prefix + name)
        except OSError as error:
            if error.errno not in (ENODATA, ENOTSUP):
                raise
    return b""


def _is_deletion(directory: int, name: bytes, status: os.stat_result, *, by_attribute: bool) -> bool:
    if is_whiteout(status):
        return True
    if not by_attribute or status.st_size or not S_ISREG(status.st_mode):
        return False
    return any(found.endswith(b".overlay.whiteout") for found in attribute_names(named(directory, name)))
