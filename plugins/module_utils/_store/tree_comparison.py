# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Two directory trees side by side: how one that should be like the other differs from it, and how it is mended.

Mending keeps what can be kept: a damaged file's bytes are rewritten in the same inode, so that a container that has it
open, mapped or below its overlay sees them right away. What can't be mended in place (a file of another type, one that
is being executed, a hard link that should not be one) is replaced by a rename. Works on whatever is in the trees: links
are never followed. Not for trees that others write to at the same time.
"""

from __future__ import annotations

import os
from errno import ENOTSUP, ETXTBSY
from stat import S_IFMT, S_IMODE, S_ISCHR, S_ISDIR, S_ISLNK, S_ISREG

from .._base.values import Value
from .files import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    Statuses = dict[bytes, os.stat_result]

MISSING, EXTRA = "missing", "not of the layer"
_CHUNK = 256 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Difference(Value):
    """One entry that is not as it should be, `path` relative to the top, and in which way."""

    path: bytes
    what: str  # MISSING, EXTRA, or what changed, such as `mode 0755 became 0777, content`


def differences(
    good: str, bad: str, *, contents: bool, timeless: Container[bytes] = frozenset()
) -> Iterator[Difference]:
    """How the second tree differs from the first, in order of paths, the top's own being empty.

    With `contents` files are read too. The times of whiteouts and of the directories `timeless` mean nothing.
    """
    pair = _Pair(good, bad, contents, timeless)
    what = pair.changes(b"", os.lstat(pair.good), os.lstat(pair.bad))
    if what:
        yield Difference(b"", what)
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        wanted, found = _list(_below(pair.good, path)), _list(_below(pair.bad, path))
        inner = []
        for name in sorted(wanted.keys() | found.keys()):
            below = path + b"/" + name if path else name
            if name not in found:
                yield Difference(below, MISSING)
            elif name not in wanted:
                yield Difference(below, EXTRA)
            else:
                what = pair.changes(below, wanted[name], found[name])
                if what:
                    yield Difference(below, what)
                if S_ISDIR(wanted[name].st_mode) and S_ISDIR(found[name].st_mode):
                    inner.append(below)
        waiting += reversed(inner)


def _below(top: bytes, path: bytes) -> bytes:
    return top + b"/" + path if path else top


def _list(directory: bytes) -> Statuses:
    with os.scandir(directory) as found:
        return {entry.name: entry.stat(follow_symlinks=False) for entry in found}


class _Pair:
    """The two trees, and which names of files in each were seen to be one file."""

    def __init__(self, good: str, bad: str, contents: bool, timeless: Container[bytes]) -> None:
        self.good = os.fsencode(good)
        self.bad = os.fsencode(bad)
        self._contents = contents
        self._timeless = timeless
        self._good_links: dict[int, bytes] = {}
        self._bad_links: dict[int, bytes] = {}

    def changes(self, path: bytes, wanted: os.stat_result, found: os.stat_result) -> str:
        """What is different, in words; empty where nothing is."""
        if S_IFMT(wanted.st_mode) != S_IFMT(found.st_mode):
            return "another type of file"
        good, bad = _below(self.good, path), _below(self.bad, path)
        words = _metadata(wanted, found, good, bad)
        is_directory = S_ISDIR(wanted.st_mode)
        is_timeless = path in self._timeless if is_directory else _is_whiteout(wanted)
        if wanted.st_mtime_ns != found.st_mtime_ns and not is_timeless:
            words.append("time")
        if not is_directory:
            first = self._good_links.setdefault(wanted.st_ino, path)
            if first != self._bad_links.setdefault(found.st_ino, path):
                words.append("hard links")
        if S_ISREG(wanted.st_mode):
            if wanted.st_size != found.st_size:
                words.append(f"size {wanted.st_size} became {found.st_size}")
            elif self._contents and not _is_same(good, bad):
                words.append("content")
        return ", ".join(words)


def _is_whiteout(status: os.stat_result) -> bool:
    return S_ISCHR(status.st_mode) and not status.st_rdev


def _metadata(wanted: os.stat_result, found: os.stat_result, good: bytes, bad: bytes) -> list[str]:
    words = []
    if wanted.st_mode != found.st_mode:
        words.append(f"mode {S_IMODE(wanted.st_mode):04o} became {S_IMODE(found.st_mode):04o}")
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        words.append(f"owner {wanted.st_uid}:{wanted.st_gid} became {found.st_uid}:{found.st_gid}")
    if wanted.st_rdev != found.st_rdev:
        words.append("device number")
    if S_ISLNK(wanted.st_mode) and os.readlink(good) != os.readlink(bad):
        words.append("target")
    if _attributes(good) != _attributes(bad):
        words.append("extended attributes")
    return words


def _attributes(path: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno != ENOTSUP:
            raise
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _is_same(good: bytes, bad: bytes) -> bool:
    with open(good, "rb", buffering=0) as one, open(bad, "rb", buffering=0) as other:
        while True:
            piece = one.read(_CHUNK)
            if piece != other.read(_CHUNK):
                return False
            if not piece:
                return True


def mend(good: str, bad: str) -> None:
    """Make the second tree like the first, whose files may be moved there: it is to be thrown away then.

    Overlays that lie above it see that. Killed in the middle, it can be done again. Raises OSError, as when the disk is
    full.
    """
    from .._kernel.name_cache import forget_names

    _Mending(good, bad).run()
    forget_names()  # also where nothing is replaced now: one that was killed before this may have done that


class _Mending:
    def __init__(self, good: str, bad: str) -> None:
        self._good = os.fsencode(good)
        self._bad = os.fsencode(bad)
        self._draft = self._bad + b".draft"  # beside the tree, where nothing else is
        self._placed: dict[int, bytes] = {}  # inode in the good tree to the path that has its like in the bad one
        self._used: set[int] = set()  # inodes of the bad tree that have their meaning
        self._directories: list[tuple[bytes, os.stat_result, dict[str, bytes]]] = []

    def run(self) -> None:
        remove_tree(os.fsdecode(self._draft))
        self._note(b"")
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            wanted, found = _list(_below(self._good, path)), _list(_below(self._bad, path))
            for name in sorted(found.keys() - wanted.keys()):
                self._remove(path + b"/" + name if path else name)
            for name in sorted(wanted):
                below = path + b"/" + name if path else name
                if S_ISDIR(wanted[name].st_mode):
                    self._directory(below, found.get(name))
                    waiting.append(below)
                else:
                    self._entry(below, wanted[name], found.get(name))
        for path, status, attributes in reversed(self._directories):
            self._describe(_below(self._bad, path), status, attributes)

    def _remove(self, path: bytes) -> None:
        remove_tree(os.fsdecode(_below(self._bad, path)))

    def _note(self, path: bytes) -> None:
        """Remember what a directory is to be in the end: mending what is in it changes its time."""
        place = _below(self._good, path)
        self._directories.append((path, os.lstat(place), _attributes(place)))

    def _directory(self, path: bytes, found: os.stat_result | None) -> None:
        if found is None or not S_ISDIR(found.st_mode):
            self._remove(path)
            os.mkdir(_below(self._bad, path), 0o700)
        self._note(path)

    def _entry(self, path: bytes, wanted: os.stat_result, found: os.stat_result | None) -> None:
        place = _below(self._bad, path)
        first = self._placed.get(wanted.st_ino)
        if first is not None:
            if found is None or found.st_ino != os.lstat(_below(self._bad, first)).st_ino:
                os.link(_below(self._bad, first), self._draft, follow_symlinks=False)
                self._replace(self._draft, path, found)
            return
        good = _below(self._good, path)
        if found is None or found.st_ino in self._used or not self._mend_in_place(good, place, wanted, found):
            self._replace(good, path, found)
        self._placed[wanted.st_ino] = path
        self._used.add(os.lstat(place).st_ino)

    def _replace(self, source: bytes, path: bytes, found: os.stat_result | None) -> None:
        place = _below(self._bad, path)
        if found is not None and S_ISDIR(found.st_mode):
            remove_tree(os.fsdecode(place))
        os.rename(source, place)

    def _mend_in_place(self, good: bytes, bad: bytes, wanted: os.stat_result, found: os.stat_result) -> bool:
        """Whether the entry is what it should be now, under the same inode."""
        if (S_IFMT(wanted.st_mode), wanted.st_rdev) != (S_IFMT(found.st_mode), found.st_rdev):
            return False
        if S_ISLNK(wanted.st_mode) and os.readlink(good) != os.readlink(bad):
            return False
        if S_ISREG(wanted.st_mode):
            try:
                _rewrite(good, bad, wanted.st_size, found.st_size)
            except OSError as error:
                if error.errno != ETXTBSY:
                    raise
                return False
        self._describe(bad, wanted, _attributes(good))
        return True

    def _describe(self, place: bytes, wanted: os.stat_result, attributes: dict[str, bytes]) -> None:
        """Set what differs of owner, mode, attributes and time, in the order that keeps each."""
        found, present = os.lstat(place), _attributes(place)
        if _facts(wanted) == _facts(found) and attributes == present:
            return
        os.chown(place, wanted.st_uid, wanted.st_gid, follow_symlinks=False)
        if not S_ISLNK(wanted.st_mode):
            os.chmod(place, S_IMODE(wanted.st_mode))
        for name in present.keys() - attributes.keys():
            os.removexattr(place, name, follow_symlinks=False)
        for name, value in attributes.items():
            os.setxattr(place, name, value, follow_symlinks=False)
        os.utime(place, ns=(wanted.st_atime_ns, wanted.st_mtime_ns), follow_symlinks=False)


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)


def _rewrite(good: bytes, bad: bytes, wanted_bytes: int, found_bytes: int) -> None:
    """Give a file the bytes of another, writing only those that differ."""
    if wanted_bytes == found_bytes and _is_same(good, bad):
        return
    source = os.open(good, _READ)
    try:
        target = os.open(bad, _WRITE)
        try:
            offset = 0
            while offset < wanted_bytes:
                piece = os.pread(source, _CHUNK, offset)
                if piece != os.pread(target, len(piece), offset):
                    _write_at(target, piece, offset)
                offset += len(piece)
            os.ftruncate(target, wanted_bytes)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _write_at(fd: int, piece: bytes, offset: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
