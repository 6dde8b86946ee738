# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One layer's tar stream made into the files of a directory, as overlayfs wants them.

Every layer is unpacked by itself, so this can run for many layers at once; what can only be decided with the lower
layers in view is listed in `Unpacked.deferred`. Nothing is ever written outside of the directory. Not for archives of
other kinds: what a layer must not contain is refused, and the directory is then to be thrown away.
"""

from __future__ import annotations

import os
from errno import EDQUOT, EFBIG, EINVAL, ELOOP, ENAMETOOLONG, ENOSPC, ENOTSUP, EPERM
from stat import S_IFBLK, S_IFCHR, S_ISDIR

from .._base.errors import Damaged, SyscallError
from .._base.values import Value
from .._store.files import room_bytes
from .attributes import CAPABILITY, is_kept_attribute
from .compression import DecompressingReader
from .tar import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMLINK,
    Entry,
    TarReader,
    shown,
)
from .tree import Missing, WhitedOut, is_whiteout, normalise
from .whiteouts import PREFIX, Whiteouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .compression import ByteStream
    from .tar_record import RecordWriter

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESERVED_INODES = 4096
_LOOK_EVERY = 1024 * 1024
_LAST_NS = ((1 << 33) - 1) * 10**9
_LONGEST_LINK = 4095
_MOST_HELD = 256 * 1024 * 1024  # bytes of names and attributes that are kept until the end of a layer
_CONTENT_ERRNOS = frozenset((EFBIG, EINVAL, ELOOP, ENAMETOOLONG))


class UnpackLimits(Value):
    """What one layer may at most be. Beyond it the layer is refused as damaged."""

    max_entries: int = 5_000_000
    max_bytes: int = 1 << 40  # of the uncompressed stream, and of all files' sizes; free space is a limit too
    max_ratio: int = 200  # bytes out of one compressed byte, asked of what is larger than `ratio_from_bytes`
    ratio_from_bytes: int = 8 << 30
    max_depth: int = 256  # components of a path
    max_xattr_bytes: int = 64 * 1024  # of one value, the kernel's own limit


DEFAULT_LIMITS = UnpackLimits()


class Deferred(Value):
    """Something that can only be decided with the lower layers in view. `path` is relative to the layer's root.

    implicit-parent  a directory that no entry describes (the root too, empty): made 0755, root's and of time 0; a lower
                     layer may have another mode and owner there, or a symbolic link
    hollow           such a directory that holds nothing but whiteouts
    hard-link        path, NUL, and the path of a file that a lower layer should have; an empty file has its place
    opaque-root      all lower layers are hidden
    whiteouts        there are whiteouts in this layer, which something has to lie below or above
    """

    kind: str
    path: bytes


class Unpacked(Value):
    """What was unpacked. `size_bytes` is the sum of the regular files' sizes."""

    diff_id: str  # sha256 of the whole uncompressed stream
    size_bytes: int
    entries: int
    stream_bytes: int = 0  # length of the uncompressed stream
    deferred: tuple[Deferred, ...] = ()
    skipped_devices: int = 0  # where this process may not make device nodes
    skipped_xattrs: int = 0  # where the file system has none of that kind
    newest_ns: int = 0  # the latest time of an entry


def unpack(
    stream: ByteStream,
    fs_directory: str,
    *,
    limits: UnpackLimits = DEFAULT_LIMITS,
    record: RecordWriter | None = None,
) -> Unpacked:
    """Unpack a layer, compressed or not, into an empty directory; the stream is read to its end and stays open.

    The same bytes always give the same tree, so that a layer may be found by its diff ID. On an error the directory
    holds a part of the layer. `record` gets what it takes to make the same tar of the files again. Raises Damaged for
    what the stream says, SyscallError for what the host can't do. Works without regard to the umask and leaves it
    alone, so threads may unpack side by side.
    """
    from hashlib import sha256

    digest = sha256()
    root_fd = os.open(fs_directory, _DIRECTORY)
    try:
        counted = _Counted(stream)
        with DecompressingReader(counted) as content, _Writer(root_fd, limits, record) as writer:
            metered = _Metered(content, counted, root_fd, limits)
            source = metered if record is None else record.watch(metered)
            reader = TarReader(source, what="layer", max_bytes=limits.max_bytes, digest=digest)
            writer.write(reader)
            reader.drain()
            return Unpacked(
                "sha256:" + digest.hexdigest(),
                writer.size_bytes,
                writer.entries,
                reader.size_bytes,
                writer.deferred(),
                writer.skipped_devices,
                writer.skipped_xattrs,
                writer.newest_ns,
            )
    finally:
        os.close(root_fd)


class _Counted:
    """A stream that knows how much of it was read."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.size_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.size_bytes += len(data)
        return data


class _Metered:
    """A stream that ends with an error before what it holds has filled the file system, or where it is a bomb.

    What is free is asked again and again: directories and attributes take more than the stream says, and others write
    to the same file system.
    """

    def __init__(self, stream: ByteStream, compressed: _Counted, root_fd: int, limits: UnpackLimits) -> None:
        self._stream = stream
        self._compressed = compressed
        self._root_fd = root_fd
        self._limits = limits
        self._size_bytes = self._look_at = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._size_bytes += len(data)
        if self._size_bytes >= self._look_at:
            self._look()
        return data

    def _look(self) -> None:
        most = max(self._compressed.size_bytes * self._limits.max_ratio, self._limits.ratio_from_bytes)
        if self._size_bytes > most:
            raise Damaged(
                f"unpack layer: {self._size_bytes} bytes and more come out of {self._compressed.size_bytes} compressed"
            )
        free = os.fstatvfs(self._root_fd)
        room = room_bytes(self._root_fd)
        if room < 0 or (free.f_files and free.f_favail < min(_RESERVED_INODES, free.f_files // 64)):
            raise SyscallError(
                "unpack layer: no space left on the device", errno=ENOSPC, hint="free some, or move the state directory"
            )
        # A header of 512 bytes may take a block for a directory and one for its attributes
        step = max(room // 16, _LOOK_EVERY // 16)
        self._look_at = self._size_bytes + min(step, _LOOK_EVERY, self._limits.ratio_from_bytes)


def current_umask() -> int:
    """The umask of this process, read without changing it for a moment, which other threads would notice."""
    with open("/proc/self/status", "rb", buffering=0) as file:
        text = file.read(4096)
    return int(text.partition(b"Umask:")[2].partition(b"\n")[0], 8)


class _Writer:
    """Puts the entries of one layer below `root_fd`."""

    def __init__(self, root_fd: int, limits: UnpackLimits, record: RecordWriter | None) -> None:
        self.newest_ns = self.entries = self.size_bytes = self.skipped_devices = self.skipped_xattrs = 0
        self._root_fd = root_fd
        self._limits = limits
        self._record = record
        self._whiteouts = Whiteouts(root_fd)
        self._tree = self._whiteouts.tree
        self._umask = current_umask()
        self._directories: dict[bytes, Entry] = {}  # described at the end, when nothing is added to them any more
        self._borrowed: dict[bytes, bytes] = {}  # hard links to files that this layer does not have
        self._held_bytes = 0  # of both, about
        self._makers = {
            FILE: self._file,
            HARD_LINK: self._hard_link,
            SYMLINK: self._symlink,
            CHARACTER: self._device,
            BLOCK_DEVICE: self._device,
            DIRECTORY: self._directory,
            FIFO: self._fifo,
        }

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tree.close()

    def write(self, reader: TarReader) -> None:
        """Write all entries of the archive."""
        for entry in reader:
            self.entries += 1
            if entry.mtime_ns > self.newest_ns:
                self.newest_ns = entry.mtime_ns
            if self.entries + len(self._whiteouts.implicit) > self._limits.max_entries:
                raise Damaged(f"unpack layer: more than {self._limits.max_entries} entries")
            try:
                self._add(entry, reader)
            except OSError as error:
                raise _explained(error, entry.name) from error
        try:
            self._describe_directories()
        except OSError as error:
            raise _explained(error, b"directories") from error

    def deferred(self) -> tuple[Deferred, ...]:
        """What the lower layers decide."""
        found = [] if b"" in self._directories else [Deferred("implicit-parent", b"")]
        found += [
            Deferred("hollow" if is_hollow else "implicit-parent", path) for path, is_hollow in self._whiteouts.asking()
        ]
        found += [Deferred("hard-link", path + b"\0" + target) for path, target in self._borrowed.items()]
        if self._whiteouts.deletes_root:
            found.append(Deferred("opaque-root", b""))
        if self._whiteouts.has_whiteouts:
            found.append(Deferred("whiteouts", b""))
        return tuple(found)

    def _add(self, entry: Entry, reader: TarReader) -> None:
        path = normalise(entry.name, self._limits.max_depth)
        if PREFIX in path and self._whiteouts.take(path):
            return
        parent, _, name = path.rpartition(b"/")
        if not path:
            self._root(entry)
            return
        fd, real = self._tree.directory(parent, create=True)
        self._whiteouts.fills(real)
        if real != parent:
            path = real + b"/" + name if real else name
        self._makers[entry.kind](entry, reader, fd, name, path)

    def _root(self, entry: Entry) -> None:
        if entry.kind != DIRECTORY:
            raise Damaged("unpack layer: its root is not a directory")
        self._describe_later(b"", entry)

    def _clear(self, fd: int, name: bytes, path: bytes) -> None:
        """Remove what an earlier entry made under this name: the last one wins."""
        found = os.lstat(name, dir_fd=fd)
        if S_ISDIR(found.st_mode):
            for below, _entry, _fd in self._tree.below(path):
                self._forgets(below)
            self._tree.forget(path)
        self._forgets(path)
        if self._record is None or not self._record.keep(fd, name, path, found):
            self._tree.remove(fd, name, path, found)

    def _forgets(self, path: bytes) -> None:
        self._whiteouts.forgets(path)
        self._directories.pop(path, None)
        self._borrowed.pop(path, None)

    def _takes(self, size_bytes: int) -> None:
        """Add to the sizes of the files, which may be far more than the stream's where they have holes."""
        self.size_bytes += size_bytes
        if self.size_bytes > self._limits.max_bytes:
            raise Damaged(f"unpack layer: its files are larger than the limit of {self._limits.max_bytes} bytes")

    # one function per kind of entry: `name` in the directory `fd`, whose path in the layer is `path`

    def _file(self, entry: Entry, reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        mode = entry.mode & 0o777
        self._takes(entry.size)
        try:
            out = os.open(name, _NEW_FILE, mode, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, path)
            out = os.open(name, _NEW_FILE, mode, dir_fd=fd)
        if self._record is not None and entry.stored:
            self._record.content(reader.position, entry.stored, path, entry.segments)
        try:
            if entry.segments is not None:
                _copy_sparse(reader, out, entry)
            elif entry.stored:
                _copy(reader, out, entry.stored)
            self._describe(out, entry, mode & ~self._umask)
        finally:
            os.close(out)

    def _directory(self, entry: Entry, _reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
        except FileExistsError:
            if not S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                self._clear(fd, name, path)
                os.mkdir(name, 0o755, dir_fd=fd)
                self._whiteouts.replaces(path)  # what was there hid the lower layers' directory
            self._whiteouts.describes(path)
        self._describe_later(path, entry)

    def _describe_later(self, path: bytes, entry: Entry) -> None:
        """Keep what an entry says of a directory, and no more of it: there may be millions."""
        entry.name, entry.link = path, b""
        if entry.xattrs:
            entry.xattrs = {name: value for name, value in entry.xattrs.items() if value and is_kept_attribute(name)}
            self._check_xattrs(entry)
            self._hold(sum(len(name) + len(value) for name, value in entry.xattrs.items()))
        self._hold(len(path))
        self._directories[path] = entry

    def _hold(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        if self._held_bytes + self._whiteouts.implicit_bytes > _MOST_HELD:
            raise Damaged(
                f"unpack layer: its directories and links have over {_MOST_HELD} bytes of names and attributes"
            )

    def _symlink(self, entry: Entry, _reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        if not 0 < len(entry.link) <= _LONGEST_LINK:
            raise Damaged(f"unpack {shown(path)}: a symbolic link to a target of {len(entry.link)} bytes")
        try:
            os.symlink(entry.link, name, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, path)
            os.symlink(entry.link, name, dir_fd=fd)
        self._describe_by_name(fd, name, entry)

    def _hard_link(self, entry: Entry, _reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        target = normalise(entry.link, self._limits.max_depth)
        parent, _, target_name = target.rpartition(b"/")
        fd = os.dup(fd)  # looking up the target may close the other one
        try:
            try:
                target_fd, real = self._tree.directory(parent, create=False)
                target = real + b"/" + target_name if real else target_name
                found = os.lstat(target_name or b".", dir_fd=target_fd)
            except Missing as error:
                self._borrow(error.path + b"/" + target_name, fd, name, path)
                return
            except WhitedOut as error:
                raise _no_target(path, target) from error
            except FileNotFoundError:
                self._borrow(target, fd, name, path)
                return
            if is_whiteout(found):
                raise _no_target(path, target)
            if S_ISDIR(found.st_mode):
                if not self._whiteouts.implicit.get(target):
                    raise Damaged(f"unpack {shown(path)}: a hard link to the directory {shown(target)}")
                self._borrow(target, fd, name, path)  # a lower layer may have a link or file there
                return
            if path != target:
                self._link(target_fd, target_name, fd, name, path)
                if target in self._borrowed:
                    self._hold(len(path))
                    self._borrowed[path] = self._borrowed[target]
        finally:
            os.close(fd)

    def _borrow(self, target: bytes, fd: int, name: bytes, path: bytes) -> None:
        """Let an empty file hold the place of a link to a file that may be in a lower layer."""
        if self._whiteouts.hides(target, itself=False):
            raise _no_target(path, target)
        try:
            out = os.open(name, _NEW_FILE, 0, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, path)
            out = os.open(name, _NEW_FILE, 0, dir_fd=fd)
        os.utime(out, ns=(0, 0))
        os.close(out)
        self._hold(len(path) + len(target))
        self._borrowed[path] = target

    def _link(self, target_fd: int, target_name: bytes, fd: int, name: bytes, path: bytes) -> None:
        try:
            os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            target_fd = os.dup(target_fd)
            try:
                self._clear(fd, name, path)
                os.link(target_name, name, src_dir_fd=target_fd, dst_dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(target_fd)

    def _fifo(self, entry: Entry, _reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        try:
            os.mkfifo(name, entry.mode & 0o777, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, path)
            os.mkfifo(name, entry.mode & 0o777, dir_fd=fd)
        self._describe_by_name(fd, name, entry)

    def _device(self, entry: Entry, _reader: TarReader, fd: int, name: bytes, path: bytes) -> None:
        major, minor = entry.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise Damaged(f"unpack {shown(path)}: there is no device {major}:{minor}")
        if entry.kind == CHARACTER and major == minor == 0:
            raise Damaged(f"unpack {shown(path)}: the device 0:0, which would delete a file of a lower layer")
        mode = (S_IFCHR if entry.kind == CHARACTER else S_IFBLK) | (entry.mode & 0o777)
        try:
            os.lstat(name, dir_fd=fd)
            self._clear(fd, name, path)
        except FileNotFoundError:
            pass
        try:
            os.mknod(name, mode, os.makedev(major, minor), dir_fd=fd)
        except PermissionError:
            self.skipped_devices += 1
            return
        self._describe_by_name(fd, name, entry)

    # owner, mode, extended attributes and time

    def _describe(self, fd: int, entry: Entry, mode: int) -> None:
        """Give an open file or directory, root's and of this mode so far, what its entry says.

        The order matters: chown clears the set-user-ID bit and the capabilities.
        """
        if entry.uid or entry.gid:
            os.chown(fd, entry.uid, entry.gid)
        if entry.mode != mode:
            os.chmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        time_ns = _clamped(entry.mtime_ns)
        os.utime(fd, ns=(time_ns, time_ns))

    def _describe_by_name(self, fd: int, name: bytes, entry: Entry) -> None:
        """The same for what was just made here and can't be opened: links, devices, FIFOs."""
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.kind != SYMLINK and (entry.mode & ~0o777 or entry.mode & self._umask):
            os.chmod(name, entry.mode, dir_fd=fd)
        if entry.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%s" % (fd, name), entry)
        time_ns = _clamped(entry.mtime_ns)
        os.utime(name, ns=(time_ns, time_ns), dir_fd=fd, follow_symlinks=False)

    def _set_xattrs(self, target: int | bytes, entry: Entry) -> None:
        """Set what may come from an image: `trusted.` would steer overlayfs, labels are the host's policy."""
        self._check_xattrs(entry)
        for name, value in (entry.xattrs or {}).items():
            if not value or not is_kept_attribute(name):
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, name, value)
                else:
                    os.setxattr(target, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (ENOTSUP, EPERM) or name == CAPABILITY:
                    raise
                self.skipped_xattrs += 1

    def _check_xattrs(self, entry: Entry) -> None:
        for name, value in (entry.xattrs or {}).items():
            if len(value) > self._limits.max_xattr_bytes and is_kept_attribute(name):
                raise Damaged(f"unpack {shown(entry.name)}: {shown(name)} has {len(value)} bytes")

    def _describe_directories(self) -> None:
        """Owner, mode and times of all directories; those that no entry describes are of the same time always."""
        created = -1 if self._umask & 0o755 else 0o755
        for path in self._whiteouts.implicit:
            os.utime(path, ns=(0, 0), dir_fd=self._root_fd, follow_symlinks=False)
        if b"" not in self._directories:
            os.utime(self._root_fd, ns=(0, 0))
        for path, entry in self._directories.items():
            fd = os.open(path or b".", _DIRECTORY, dir_fd=self._root_fd)  # a real path: no link on its way
            try:
                self._describe(fd, entry, created if path else -1)
            finally:
                os.close(fd)


def _copy(reader: TarReader, out: int, left: int) -> None:
    write = os.write
    while left:
        piece = reader.read_some()
        left -= len(piece)
        written = write(out, piece)
        while written < len(piece):
            written += write(out, piece[written:])


def _copy_sparse(reader: TarReader, out: int, entry: Entry) -> None:
    """Write the pieces where they belong and leave holes between them."""
    piece: bytes | memoryview = b""
    for offset, length in entry.segments or ():
        end = offset + length
        while offset < end:
            piece = piece or reader.read_some()
            written = os.pwrite(out, piece[: end - offset], offset)
            offset += written
            piece = piece[written:]
    os.ftruncate(out, entry.size)


def _no_target(path: bytes, target: bytes) -> Damaged:
    return Damaged(f"unpack {shown(path)}: a hard link to {shown(target)}, which the same layer deletes")


def _clamped(time_ns: int) -> int:
    """A time that every file system can hold: from 1970 to 2242."""
    return time_ns if 0 <= time_ns <= _LAST_NS else 0 if time_ns < 0 else _LAST_NS


def _explained(error: OSError, name: bytes) -> Exception:
    """What went wrong with an entry: the entry's own fault, or the host's."""
    text = f"unpack {shown(name)}: {os.strerror(error.errno or 0).lower()}"
    if error.errno in _CONTENT_ERRNOS:
        return Damaged(text)
    hint = "free some space, or move the state directory" if error.errno in (ENOSPC, EDQUOT) else ""
    return SyscallError(text, errno=error.errno or 0, hint=hint)
