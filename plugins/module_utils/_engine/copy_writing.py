# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The tar of a copy compared with files below a root, and made into them.

The root may be a container's whose processes swap files for links meanwhile. Every directory is opened once, inside the
root and, below the copy's own top, without following links; what is written (copy_files.py) takes the place of what was
there in one step. So a reader sees the old file or the new one. Only over a file that something is mounted on there is
no renaming: such a one is written in place.
"""

from __future__ import annotations

import os
from errno import EDQUOT, EINVAL, ELOOP, ENOENT, ENOSPC, ENOTDIR, EOVERFLOW, EROFS
from stat import S_ISDIR, S_ISLNK

from .._base.errors import Conflict, Denied, HullError, Invalid, NotFound, SyscallError
from .._image.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FILE, HARD_LINK, SYMLINK, TarReader, shown
from .._image.tree import normalise
from .._kernel.targets import open_inside
from .._store.files import remove_tree
from .._sys.file_calls import openat2
from .._sys.open_flags import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from .copy_comparison import compare_content, content_facts, facts_of, is_like, wanted_facts
from .copy_files import FileWriter, lstat, move_aside
from .copy_reading import open_place, open_regular
from .copy_values import CopyReport, CopyRules, Difference, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._image.compression import ByteStream
    from .._image.tar import Entry

_BELOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 256
_MOST_OPEN = 64
_SET_IDS = 0o6000


def compare_copy(root: int, stream: ByteStream, place: Place, rules: CopyRules, *, what: str) -> CopyReport:
    """In what a tar differs from what is at the place. Changes nothing. Times and extended attributes do not count.

    `what` names the root in messages (`container web`). Raises as `write_copy`, for what it would refuse.
    """
    with _Copy(root, place, rules, what) as copy:
        return copy.run(stream, write=False)


def write_copy(
    root: int, stream: ByteStream, place: Place, rules: CopyRules, *, what: str, only: frozenset[str] | None = None
) -> CopyReport:
    """Make files of a tar at the place; with `only`, those of these names (`Difference.name`) and no others.

    Raises NotFound where the place's directory is missing, Conflict where a directory would have to become a file or
    the other way round, Denied on a read-only file system, Damaged, SyscallError.
    """
    with _Copy(root, place, rules, what) as copy:
        return copy.run(stream, write=True, only=only)


class _Copy:
    """One archive on its way below one directory, `base`."""

    def __init__(self, root: int, place: Place, rules: CopyRules, what: str) -> None:
        self._root, self._place, self._rules, self._what = root, place, rules, what
        self._base = -1
        self._base_path = ""  # as asked for, to be resolved inside the root
        self._rename: tuple[bytes, bytes] | None = None  # the first component of names: as it is, as it is to be
        self._open: dict[bytes, int] = {}
        self._made: dict[bytes, Entry] = {}  # directories to be described at the end
        self._changed: set[bytes] = set()
        self._only: frozenset[str] | None = None
        self._write = False
        self._differences: list[Difference] = []
        self._writer = FileWriter(set_ids=rules.set_ids)
        self._files = self._size_bytes = 0

    def __enter__(self) -> _Copy:
        return self

    def __exit__(self, *_error: object) -> None:
        for fd in self._open.values():
            os.close(fd)
        if self._base >= 0:
            os.close(self._base)

    def run(self, stream: ByteStream, *, write: bool, only: frozenset[str] | None = None) -> CopyReport:
        self._write, self._only = write, only
        reader = TarReader(stream, what="copy")
        for entry in reader:
            try:
                if self._base < 0:
                    self._find_base(entry)
                self._take(entry, reader)
            except OSError as error:
                raise self._explained(error, entry.name) from error
        if self._base < 0:
            raise Invalid("the archive is empty")
        if write:
            self._describe_directories()
        top = f"{self._base_path.rstrip('/')}/{os.fsdecode(self._rename[1]) if self._rename else ''}".rstrip("/") or "/"
        return CopyReport(top, tuple(self._differences), self._files, self._size_bytes, tuple(self._writer.warnings))

    # where it goes

    def _find_base(self, entry: Entry) -> None:
        """Decide by the first entry, the top of the copy, in which directory it lies and under which name."""
        name = normalise(entry.name, _MAX_DEPTH).partition(b"/")[0]
        place, path = self._place, self._place.path
        try:
            directory, last, path = open_place(self._root, path, follow=place.follow or path.endswith("/"))
        except OSError as error:
            raise self._no_directory(error, path) from error
        status = lstat(directory, last) if last else os.fstat(directory)
        if status is not None and S_ISDIR(status.st_mode) and (not place.exact or entry.kind == DIRECTORY or not last):
            self._base, self._base_path = self._enter(directory, last), path
            if not place.unpack:
                is_content = entry.kind == DIRECTORY and (place.contents or place.exact)
                self._rename = (name, b"" if is_content else name)
        elif place.unpack or place.path.endswith("/") and entry.kind != DIRECTORY:
            os.close(directory)
            raise self._not_a_directory(path, status)
        else:
            self._base, self._base_path = self._enter(directory, ""), path.rstrip("/").rpartition("/")[0] or "/"
            self._rename = (name, os.fsencode(last))

    def _enter(self, directory: int, name: str) -> int:
        try:
            return os.open(name or ".", _DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)

    def _no_directory(self, error: OSError, path: str) -> Exception:
        parent = path.rstrip("/").rpartition("/")[0] or "/"
        if error.errno in (ENOENT, ENOTDIR):
            return NotFound(f"copy to {self._what}: there is no directory {parent}", hint="make it first")
        return self._explained(error, os.fsencode(path))

    def _not_a_directory(self, path: str, status: os.stat_result | None) -> HullError:
        if status is None:
            return NotFound(f"copy to {self._what}: there is no directory {path.rstrip('/')}", hint="make it first")
        return Conflict(f"copy to {self._what}: {path} is not a directory")

    # one entry

    def _path(self, name: bytes) -> bytes:
        """The path of an entry below the base; empty for the base itself."""
        path = normalise(name, _MAX_DEPTH)
        if self._rename is None:
            return path
        old, new = self._rename
        rest = path if not old else path[len(old) + 1 :]  # the content of `.` has no common name
        return b"/".join(part for part in (new, rest) if part)

    def _shown(self, path: bytes) -> str:
        return f"{self._base_path.rstrip('/')}/{shown(path)}".rstrip("/") or "/"

    def _take(self, entry: Entry, reader: TarReader) -> None:
        path = self._path(entry.name)
        if not path:
            self._take_base(entry)
            return
        parent, _, name = path.rpartition(b"/")
        self._apply_rules(entry)
        if entry.kind == DIRECTORY:
            self._take_directory(entry, parent, path, os.fsdecode(name))
            return
        directory = self._directory(parent)
        if entry.kind in (CHARACTER, BLOCK_DEVICE) and not self._rules.devices:
            self._writer.warnings.append(f"{self._shown(path)} is a device and was left out")
            return
        if not self._write:
            self._compare(entry, reader, directory, os.fsdecode(name), path)
        elif self._only is None or os.fsdecode(path) in self._only:
            self._refuse_directory(directory, os.fsdecode(name), path)
            self._make(entry, reader, directory, os.fsdecode(name))
            self._files += 1
            self._size_bytes += entry.size

    def _make(self, entry: Entry, reader: TarReader, directory: int, name: str) -> None:
        if entry.kind == FILE:
            self._writer.file(entry, reader, directory, name)
        elif entry.kind == SYMLINK:
            self._writer.symlink(entry, directory, name)
        elif entry.kind == HARD_LINK:
            parent, _, target = self._path(entry.link).rpartition(b"/")
            here = os.dup(directory)  # looking the other one up may close it
            try:
                self._writer.hard_link(self._directory(parent), target, here, name)
            finally:
                os.close(here)
        else:
            self._writer.node(entry, directory, name)

    def _apply_rules(self, entry: Entry) -> None:
        rules = self._rules
        owner = entry.uid, entry.gid
        entry.uid = entry.uid if rules.uid is None else rules.uid
        entry.gid = entry.gid if rules.gid is None else rules.gid
        if not rules.set_ids or owner != (entry.uid, entry.gid):
            entry.mode &= ~_SET_IDS  # they would give another one's rights
        if rules.mode is not None and entry.kind in (FILE, DIRECTORY):
            searchable = (rules.mode & 0o444) >> 2 if entry.kind == DIRECTORY else 0
            entry.mode = rules.mode | searchable

    def _take_base(self, entry: Entry) -> None:
        if entry.kind != DIRECTORY:
            raise Conflict(f"copy to {self._what}: {self._base_path} is a directory", hint="name the file in it")
        if self._rules.describe:
            self._apply_rules(entry)
            self._made[b""] = entry

    def _directory(self, path: bytes) -> int:
        """The directory at a path below the base, opened, valid until the next call; -1 where it would be made."""
        if not path:
            return self._base
        fd = self._open.get(path)
        if fd is None:
            try:
                fd = self._open_directory(path)
            except (FileNotFoundError, NotADirectoryError):
                if self._write:
                    raise
                return -1  # it would be made, and nothing is in it
            if len(self._open) >= _MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[path] = fd
        return fd

    def _open_directory(self, path: bytes) -> int:
        try:
            if self._place.unpack:
                whole = f"{self._base_path}/{os.fsdecode(path)}"
                return open_inside(self._root, whole, os.O_RDONLY | os.O_DIRECTORY)
            return openat2(self._base, path, _DIRECTORY, resolve=_BELOW)
        except FileNotFoundError:
            if not self._write:
                raise
            parent, _, name = path.rpartition(b"/")
            os.mkdir(name, 0o755, dir_fd=self._directory(parent))
            return self._open_directory(path)

    def _take_directory(self, entry: Entry, parent: bytes, path: bytes, name: str) -> None:
        directory = self._directory(parent)
        status = lstat(directory, name)
        if status is not None and S_ISLNK(status.st_mode) and self._place.unpack:
            status = os.fstat(self._directory(path))
        exists = status is not None and S_ISDIR(status.st_mode)
        if status is not None and not exists and not self._rules.replace:
            hint = "end it with a slash to follow the link, or " if S_ISLNK(status.st_mode) and not parent else ""
            raise Conflict(
                f"copy to {self._what}: {self._shown(path)} is no directory there, and one in what is copied",
                hint=f"{hint}remove it first",
            )
        if exists:
            if self._rules.describe and self._write:
                self._made[path] = entry
            return
        if not self._write:
            self._differ(path, facts_of(status), wanted_facts(entry))
            return
        if self._only is not None and os.fsdecode(path) not in self._only:
            return
        aside = move_aside(directory, name) if status is not None else ""
        os.mkdir(name, entry.mode & 0o777 | 0o700, dir_fd=directory)
        if aside:
            remove_tree(f"/proc/self/fd/{directory}/{aside}")
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        self._made[path] = entry

    def _describe_directories(self) -> None:
        """Owner, mode, attributes and time of directories, when nothing is put into them any more."""
        for path, entry in reversed(self._made.items()):
            fd = os.open(".", _DIRECTORY, dir_fd=self._directory(path))
            try:
                self._writer.describe(fd, entry)
            except OSError as error:
                raise self._explained(error, path) from error
            finally:
                os.close(fd)

    def _refuse_directory(self, directory: int, name: str, path: bytes) -> None:
        status = lstat(directory, name)
        if status is not None and S_ISDIR(status.st_mode) and not self._rules.replace:
            raise Conflict(
                f"copy to {self._what}: {self._shown(path)} is a directory there, and none in what is copied",
                hint="remove it first",
            )

    # comparing

    def _differ(self, path: bytes, before: dict[str, Any], after: dict[str, Any]) -> None:
        self._changed.add(path)
        self._differences.append(Difference(os.fsdecode(path), self._shown(path), before, after))

    def _compare(self, entry: Entry, reader: TarReader, directory: int, name: str, path: bytes) -> None:
        status = lstat(directory, name) if directory >= 0 else None
        if status is not None and S_ISDIR(status.st_mode):
            self._refuse_directory(directory, name, path)
        if entry.kind == HARD_LINK:
            target = self._path(entry.link)
            if target in self._changed or not self._is_same_file(target, status):
                self._differ(path, facts_of(status), wanted_facts(entry))
            return
        before, same = facts_of(status), is_like(entry, status, directory, name)
        if entry.kind != FILE:
            if not same:
                self._differ(path, before, wanted_facts(entry))
            return
        old = open_regular(directory, name) if status is not None else -1
        try:
            equal, new_text, old_text = compare_content(entry, reader, old)
        finally:
            if old >= 0:
                os.close(old)
        if not same or not equal:
            self._differ(path, {**before, **content_facts(old_text)}, wanted_facts(entry, new_text))

    def _is_same_file(self, path: bytes, status: os.stat_result | None) -> bool:
        parent, _, name = path.rpartition(b"/")
        directory = self._directory(parent)
        other = lstat(directory, os.fsdecode(name)) if directory >= 0 else None
        return status is not None and other is not None and os.path.samestat(status, other)

    # errors

    def _explained(self, error: OSError, name: bytes) -> HullError:
        where = f"copy to {self._what}: {self._shown(self._path(name)) if self._base >= 0 else shown(name)}"
        if error.errno == EROFS:
            return Denied(
                f"{where}: the file system there is read-only",
                hint="a read-only root or volume, or a tmpfs of a container that does not run",
            )
        if error.errno == ELOOP:
            return Conflict(f"{where}: a link is in the way, and links are not followed there")
        if error.errno == ENOTDIR:
            return Conflict(f"{where}: something on the way is not a directory")
        hint = "free some space" if error.errno in (ENOSPC, EDQUOT) else ""
        if error.errno in (EINVAL, EOVERFLOW):
            hint = "the container may not have the owner's ids: give others"
        return SyscallError(f"{where}: {(error.strerror or '').lower()}", errno=error.errno or 0, hint=hint)
