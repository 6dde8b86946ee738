# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The tar of a copy compared with files below a root, and made into them.

The root may be a container's whose processes swap files for links meanwhile. Every directory is opened once, inside the
root and, below the copy's own top, without following links; what is written gets its content, owner and mode by
descriptor before it has a name, and takes the place of what was there in one step. So a reader sees the old file or the
new one. Only over a file that something is mounted on there is no renaming: such a one is written in place.
"""

from __future__ import annotations

import os
from errno import (
    EBUSY,
    EDQUOT,
    EEXIST,
    EINVAL,
    ELOOP,
    ENOENT,
    ENOSPC,
    ENOTDIR,
    ENOTSUP,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    EROFS,
)
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG

from .._base.errors import Conflict, Denied, HullError, Invalid, NotFound, SyscallError
from .._base.values import Value
from .._image.attributes import CAPABILITY, is_kept_attribute
from .._image.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, TarReader, shown
from .._image.tree import normalise
from .._kernel.targets import open_inside
from .._store.files import remove_tree
from .._sys.file_calls import openat2
from .._sys.open_flags import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from .copy_reading import open_place, open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .._image.compression import ByteStream
    from .._image.tar import Entry

_BELOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_CHUNK = 1024 * 1024
_MAX_DEPTH = 256
_MOST_OPEN = 64
_SET_IDS = 0o6000
_LARGEST_SHOWN = 104448  # of a file whose content a diff shows, as ansible.builtin.copy has it
_LAST_NS = ((1 << 33) - 1) * 10**9
BINARY = "(binary)"
_NAMES = {
    FILE: "file",
    DIRECTORY: "directory",
    SYMLINK: "link",
    FIFO: "FIFO",
    CHARACTER: "character device",
    BLOCK_DEVICE: "block device",
    HARD_LINK: "hard link",
}


class CopyRules(Value):
    """What becomes of owners, modes and kinds. None: as the archive says."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None  # of files; a directory can be searched by whom may read it
    set_ids: bool = True  # whether set-user-ID and set-group-ID, where the owner does, and file capabilities go along
    devices: bool = True  # whether device nodes are made
    describe: bool = False  # whether directories that are there get owner, mode and time
    replace: bool = False  # whether a file may take a directory's place, and the other way round


class Place(Value):
    """Where a copy goes, by path inside the root.

    exact      the path is that of the copied thing itself; else it goes into a directory that is there, as with cp(1)
    contents   of a directory its content is meant, which goes into the directory at the path
    follow     a link at the path's end is followed
    unpack     an archive of anybody's: it goes into the directory, and links that are in its way there are followed
    """

    path: str
    exact: bool = False
    contents: bool = False
    follow: bool = True
    unpack: bool = False


class Difference(Value):
    """One entry that is not at its place, or another there. JSON types; `name` is the path below the copy's directory.

    `before` and `after` say what it is: type, mode, owner, size, link and, of a text that is not too long, content.
    """

    name: str
    path: str
    before: dict[str, Any]
    after: dict[str, Any]


class CopyReport(Value):
    """What was found or done. `path` is where the top of the copy came to lie inside the root."""

    path: str = ""
    differences: tuple[Difference, ...] = ()
    files: int = 0
    size_bytes: int = 0
    warnings: tuple[str, ...] = ()


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
        self._warnings: list[str] = []
        self._files = self._size_bytes = 0
        self._makers: dict[bytes, Callable[[Entry, TarReader, int, str], None]] = {
            FILE: self._file,
            SYMLINK: self._symlink,
            HARD_LINK: self._hard_link,
            FIFO: self._node,
            CHARACTER: self._node,
            BLOCK_DEVICE: self._node,
        }

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
        return CopyReport(top, tuple(self._differences), self._files, self._size_bytes, tuple(self._warnings))

    # where it goes

    def _find_base(self, entry: Entry) -> None:
        """Decide by the first entry, the top of the copy, in which directory it lies and under which name."""
        name = normalise(entry.name, _MAX_DEPTH).partition(b"/")[0]
        place, path = self._place, self._place.path
        try:
            directory, last, path = open_place(self._root, path, follow=place.follow or path.endswith("/"))
        except OSError as error:
            raise self._no_directory(error, path) from error
        status = _lstat(directory, last) if last else os.fstat(directory)
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
            self._warnings.append(f"{self._shown(path)} is a device and was left out")
            return
        if not self._write:
            self._compare(entry, reader, directory, os.fsdecode(name), path)
        elif self._only is None or os.fsdecode(path) in self._only:
            self._refuse_directory(directory, os.fsdecode(name), path)
            self._makers[entry.kind](entry, reader, directory, os.fsdecode(name))
            self._files += 1
            self._size_bytes += entry.size

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
        status = _lstat(directory, name)
        if status is not None and S_ISLNK(status.st_mode) and self._place.unpack:
            status = os.fstat(self._directory(path))
        exists = status is not None and S_ISDIR(status.st_mode)
        if status is not None and not exists and not self._rules.replace:
            raise Conflict(
                f"copy to {self._what}: {self._shown(path)} is no directory there, and one in what is copied",
                hint="remove it first",
            )
        if exists:
            if self._rules.describe and self._write:
                self._made[path] = entry
            return
        if not self._write:
            self._differ(path, _facts(status), self._wanted(entry, b""))
            return
        if self._only is not None and os.fsdecode(path) not in self._only:
            return
        aside = _move_aside(directory, name) if status is not None else ""
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
                self._describe(fd, entry)
            except OSError as error:
                raise self._explained(error, path) from error
            finally:
                os.close(fd)

    def _refuse_directory(self, directory: int, name: str, path: bytes) -> None:
        status = _lstat(directory, name)
        if status is not None and S_ISDIR(status.st_mode) and not self._rules.replace:
            raise Conflict(
                f"copy to {self._what}: {self._shown(path)} is a directory there, and none in what is copied",
                hint="remove it first",
            )

    # comparing

    def _differ(self, path: bytes, before: dict[str, Any], after: dict[str, Any]) -> None:
        self._changed.add(path)
        self._differences.append(Difference(os.fsdecode(path), self._shown(path), before, after))

    def _wanted(self, entry: Entry, content: bytes | None) -> dict[str, Any]:
        """What an entry is to become, as facts."""
        facts: dict[str, Any] = {"type": _NAMES[entry.kind], "owner": f"{entry.uid}:{entry.gid}"}
        if entry.kind in (SYMLINK, HARD_LINK):
            return {**facts, "link": shown(entry.link)}
        facts["mode"] = f"{entry.mode:04o}"
        return {**facts, "size": entry.size, **_content_facts(content)} if entry.kind == FILE else facts

    def _compare(self, entry: Entry, reader: TarReader, directory: int, name: str, path: bytes) -> None:
        status = _lstat(directory, name) if directory >= 0 else None
        if status is not None and S_ISDIR(status.st_mode):
            self._refuse_directory(directory, name, path)
        if entry.kind == HARD_LINK:
            target = self._path(entry.link)
            if target in self._changed or not self._is_same_file(target, status):
                self._differ(path, _facts(status), self._wanted(entry, None))
            return
        before, same = _facts(status), _is_like(entry, status, directory, name)
        if entry.kind != FILE:
            if not same:
                self._differ(path, before, self._wanted(entry, None))
            return
        old = open_regular(directory, name) if status is not None else -1
        try:
            equal, new_text, old_text = _compare_content(entry, reader, old)
        finally:
            if old >= 0:
                os.close(old)
        if not same or not equal:
            self._differ(path, {**before, **_content_facts(old_text)}, self._wanted(entry, new_text))

    def _is_same_file(self, path: bytes, status: os.stat_result | None) -> bool:
        parent, _, name = path.rpartition(b"/")
        directory = self._directory(parent)
        other = _lstat(directory, os.fsdecode(name)) if directory >= 0 else None
        return status is not None and other is not None and os.path.samestat(status, other)

    # writing: one function per kind, `name` in the open directory

    def _file(self, entry: Entry, reader: TarReader, directory: int, name: str) -> None:
        fd, draft = _new_file(directory, name)
        try:
            _fill(fd, entry, reader)
            self._describe(fd, entry)
            if not draft:
                if _link_new(fd, directory, name):
                    return
                draft = _draft_name(name)
                os.link(f"/proc/self/fd/{fd}", draft, dst_dir_fd=directory, follow_symlinks=True)
            try:
                self._put(draft, directory, name)
                draft = ""
            except OSError as error:
                if error.errno != EBUSY:
                    raise
                _overwrite(fd, directory, name)
        finally:
            os.close(fd)
            if draft:
                _unlink(draft, directory)

    def _put(self, draft: str, directory: int, name: str) -> None:
        """Give a finished draft its name, in the place of what has it."""
        status = _lstat(directory, name)
        aside = _move_aside(directory, name) if status is not None and S_ISDIR(status.st_mode) else ""
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        if aside:
            remove_tree(f"/proc/self/fd/{directory}/{aside}")

    def _symlink(self, entry: Entry, _reader: TarReader, directory: int, name: str) -> None:
        draft = _draft_name(name)
        os.symlink(entry.link, draft, dir_fd=directory)
        try:
            os.chown(draft, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            os.utime(draft, ns=_times(entry), dir_fd=directory, follow_symlinks=False)
            self._put(draft, directory, name)
            draft = ""
        finally:
            if draft:
                _unlink(draft, directory)

    def _hard_link(self, entry: Entry, _reader: TarReader, directory: int, name: str) -> None:
        parent, _, target = self._path(entry.link).rpartition(b"/")
        source = os.dup(directory)  # looking the other one up may close it
        try:
            draft = _draft_name(name)
            os.link(target, draft, src_dir_fd=self._directory(parent), dst_dir_fd=source, follow_symlinks=False)
            try:
                self._put(draft, source, name)
            finally:
                _unlink(draft, source)  # it stays where both names are one file already
        finally:
            os.close(source)

    def _node(self, entry: Entry, _reader: TarReader, directory: int, name: str) -> None:
        kind = {FIFO: S_IFIFO, CHARACTER: S_IFCHR, BLOCK_DEVICE: S_IFBLK}[entry.kind]
        draft = _draft_name(name)
        try:
            os.mknod(draft, kind | 0o600, os.makedev(*entry.device), dir_fd=directory)
        except PermissionError:
            self._warnings.append(f"{shown(entry.name)} is a device, which can't be made there, and was left out")
            return
        try:
            self._describe_node(entry, draft, directory)
            self._put(draft, directory, name)
            draft = ""
        finally:
            if draft:
                _unlink(draft, directory)

    def _describe_node(self, entry: Entry, name: str, directory: int) -> None:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            mode = os.fstat(fd).st_mode
            if not (S_ISFIFO(mode) or S_ISCHR(mode) or S_ISBLK(mode)):
                raise FileExistsError(EEXIST, "was replaced while it was made", name)
            os.chown(f"/proc/self/fd/{fd}", entry.uid, entry.gid)
            os.chmod(f"/proc/self/fd/{fd}", entry.mode)
            os.utime(f"/proc/self/fd/{fd}", ns=_times(entry))
        finally:
            os.close(fd)

    def _describe(self, fd: int, entry: Entry) -> None:
        """Owner, then mode (chown clears set-user-ID), then attributes (chown clears capabilities), then times."""
        os.chown(fd, entry.uid, entry.gid)
        os.chmod(fd, entry.mode)
        for key, value in (entry.xattrs or {}).items():
            if not is_kept_attribute(key) or (key == CAPABILITY and not self._rules.set_ids):
                continue
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno not in (ENOTSUP, EPERM):
                    raise
                self._warnings.append(f"{shown(entry.name)}: attribute {shown(key)} can't be kept there")
        os.utime(fd, ns=_times(entry))

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


def _lstat(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory) if directory >= 0 else None
    except FileNotFoundError:
        return None


def _times(entry: Entry) -> tuple[int, int]:
    time_ns = min(max(entry.mtime_ns, 0), _LAST_NS)
    return time_ns, time_ns


def _draft_name(name: str) -> str:
    return f".{os.fsdecode(os.fsencode(name)[:200])}.{os.urandom(6).hex()}"


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _move_aside(directory: int, name: str) -> str:
    aside = _draft_name(name)
    os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
    return aside


def _new_file(directory: int, name: str) -> tuple[int, str]:
    """A file that nobody else has: without a name, so that nothing is left of it whatever happens, where the file
    system can do that; else with a draft's name."""
    try:
        return os.open(".", _UNNAMED, 0o600, dir_fd=directory), ""
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EINVAL):
            raise
    draft = _draft_name(name)
    return os.open(draft, _NEW, 0o600, dir_fd=directory), draft


def _link_new(fd: int, directory: int, name: str) -> bool:
    """Give a file without a name its name; False where something else has it."""
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _overwrite(fd: int, directory: int, name: str) -> None:
    """Put the content of a file into one that can't be replaced."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not S_ISREG(os.fstat(place).st_mode):
            raise FileExistsError(EEXIST, "something that is not a file is mounted there", name)
        out = os.open(f"/proc/self/fd/{place}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        offset, status = 0, os.fstat(fd)
        while sent := os.sendfile(out, fd, offset, _CHUNK):
            offset += sent
        os.chown(out, status.st_uid, status.st_gid)
        os.chmod(out, S_IMODE(status.st_mode))
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(out)


def _fill(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write an entry's data; what is not in its segments stays a hole."""
    piece: bytes | memoryview = b""
    for offset, length in ((0, entry.size),) if entry.segments is None else entry.segments:
        end = offset + length
        while offset < end:
            piece = piece or reader.read_some()
            written = os.pwrite(fd, piece[: end - offset], offset)
            offset, piece = offset + written, piece[written:]
    os.ftruncate(fd, entry.size)


def _content(entry: Entry, reader: TarReader) -> Iterator[bytes]:
    """A file's bytes as an entry has them, holes as zeros."""
    piece: bytes | memoryview = b""
    position = 0
    for offset, length in ((0, entry.size),) if entry.segments is None else entry.segments:
        yield from _zeros(offset - position)
        position = offset + length
        while length:
            piece = piece or reader.read_some()
            part = bytes(piece[:length])
            length, piece = length - len(part), piece[len(part) :]
            yield part
    yield from _zeros(entry.size - position)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


def _compare_content(entry: Entry, reader: TarReader, old: int) -> tuple[bool, bytes | None, bytes | None]:
    """Whether an open file (-1: none) has an entry's content, and both contents where they are short enough."""
    size = os.fstat(old).st_size if old >= 0 else -1
    old_text = os.pread(old, size, 0) if 0 <= size <= _LARGEST_SHOWN else None
    if entry.size <= _LARGEST_SHOWN:
        new_text = b"".join(_content(entry, reader))
        return new_text == old_text, new_text, old_text
    if size != entry.size:
        return False, None, old_text
    position = 0
    for piece in _content(entry, reader):
        if os.pread(old, len(piece), position) != piece:
            return False, None, None
        position += len(piece)
    return True, None, None


def _content_facts(content: bytes | None) -> dict[str, Any]:
    """A file's content as it may stand in a diff; nothing of what is too long."""
    if content is None:
        return {}
    try:
        if b"\0" not in content:
            return {"content": content.decode()}
    except UnicodeDecodeError:
        pass
    return {"content": BINARY}


def _is_like(entry: Entry, status: os.stat_result | None, directory: int, name: str) -> bool:
    """Whether what is there is of the entry's kind, owner, mode, and target or device."""
    if status is None or _kind(status.st_mode) != entry.kind:
        return False
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        return False
    if entry.kind == SYMLINK:
        return os.fsencode(os.readlink(name, dir_fd=directory)) == entry.link
    if entry.kind in (CHARACTER, BLOCK_DEVICE) and status.st_rdev != os.makedev(*entry.device):
        return False
    return S_IMODE(status.st_mode) == entry.mode


def _kind(mode: int) -> bytes:
    tests = ((S_ISREG, FILE), (S_ISDIR, DIRECTORY), (S_ISLNK, SYMLINK), (S_ISFIFO, FIFO), (S_ISCHR, CHARACTER))
    return next((kind for test, kind in tests if test(mode)), BLOCK_DEVICE if S_ISBLK(mode) else b"")


def _facts(status: os.stat_result | None) -> dict[str, Any]:
    """What is there now."""
    if status is None:
        return {"type": "absent"}
    kind = _kind(status.st_mode)
    facts = {"type": _NAMES.get(kind, "socket"), "owner": f"{status.st_uid}:{status.st_gid}"}
    if kind == SYMLINK:
        return facts
    facts["mode"] = f"{S_IMODE(status.st_mode):04o}"
    return {**facts, "size": status.st_size} if kind == FILE else facts
