# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The files in an image archive, or in an OCI layout directory, by their names there.

A tar that is a regular file is indexed once by its headers and then read at the places that are needed; a compressed
one, or a pipe, is first written to a file without a name in the store's `tmp/`. Names in an archive are keys of a table
and never become paths of the host.
"""

from __future__ import annotations

import os
from errno import EISDIR, EOPNOTSUPP
from stat import S_ISDIR, S_ISREG

from .._base.errors import Damaged, NotFound, SyscallError
from .._store.files import make_private_directory
from .compression import DecompressingReader, sniff
from .tar import FILE, HARD_LINK, SYMLINK, TarReader, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from .._base.paths import Paths
    from .compression import ByteStream

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
_COPY = 1024 * 1024
_MOST_HOPS = 8
_MOST_FILES = 100_000


class Piece:
    """A part of a file as a stream of its own. Reading moves no file position, so processes may share the file."""

    def __init__(self, fd: int, offset: int, size: int, *, owns_fd: bool = False) -> None:
        self.size = size
        self.position = 0
        self._fd = fd
        self._offset = offset
        self._owns_fd = owns_fd

    def read(self, size: int) -> bytes:
        """As a file's read: up to `size` bytes, none at the end."""
        data = os.pread(self._fd, min(size, self.size - self.position), self._offset + self.position)
        self.position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        self.position = min(self.position + count, self.size)

    def __enter__(self) -> Piece:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._owns_fd:
            os.close(self._fd)


class ArchiveFiles:
    """Files by name. `what` names the archive in messages. To be closed, or used with `with`."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> ArchiveFiles:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held open."""

    def has(self, name: str) -> bool:
        """Whether there is a regular file of this name, or a link to one."""
        raise NotImplementedError

    def open(self, name: str) -> Piece:
        """The file as a stream, for use with `with`. Raises Damaged where it is missing."""
        raise NotImplementedError

    def read(self, name: str, limit: int) -> bytes:
        """A small file's content. Raises Damaged where it is missing or larger than `limit`."""
        with self.open(name) as piece:
            if piece.size > limit:
                raise Damaged(f"load {self.what}: {name} has {piece.size} bytes, the limit is {limit}")
            data = b""
            while len(data) < piece.size:
                more = piece.read(piece.size)
                if not more:
                    raise Damaged(f"load {self.what}: {name} became shorter while it was read")
                data += more
            return data

    def _missing(self, name: str) -> Damaged:
        return Damaged(
            f"load {self.what}: it has no file {shown(os.fsencode(name))}",
            hint="the archive is incomplete; save it again",
        )


class TarFiles(ArchiveFiles):
    """The files of a tar that lies in a regular file. Owns the descriptor."""

    def __init__(self, fd: int, what: str) -> None:
        super().__init__(what)
        self._fd = fd
        self._files: dict[bytes, tuple[int, int]] = {}
        self._links: dict[bytes, bytes] = {}
        try:
            self._index()
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    def _index(self) -> None:
        whole = Piece(self._fd, 0, os.fstat(self._fd).st_size)
        reader = TarReader(whole, what=self.what, skip=whole.skip)
        for count, entry in enumerate(reader):
            name = _joined(b"", entry.name)
            if count >= _MOST_FILES:
                raise Damaged(f"load {self.what}: more than {_MOST_FILES} files")
            self._files.pop(name, None)
            self._links.pop(name, None)
            if entry.kind == FILE and entry.segments is None:
                self._files[name] = (reader.position, entry.size)
                if reader.position + entry.size > whole.size:
                    raise Damaged(f"load {self.what}: the archive is cut off in {shown(name)}")
            elif entry.kind == SYMLINK:
                self._links[name] = _joined(name.rpartition(b"/")[0], entry.link)
            elif entry.kind == HARD_LINK:
                self._links[name] = _joined(b"", entry.link)

    def _find(self, name: str) -> tuple[int, int] | None:
        key = _joined(b"", os.fsencode(name))
        for _ in range(_MOST_HOPS):
            if key in self._files:
                return self._files[key]
            if key not in self._links:
                return None
            key = self._links[key]
        return None

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def open(self, name: str) -> Piece:
        found = self._find(name)
        if found is None:
            raise self._missing(name)
        return Piece(self._fd, *found)


def _joined(directory: bytes, name: bytes) -> bytes:
    """A name in the archive, relative to a directory there; `..` ends at the archive's root."""
    parts: list[bytes] = [] if name[:1] == b"/" else directory.split(b"/")
    for part in name.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return b"/".join(part for part in parts if part not in (b"", b"."))


class DirectoryFiles(ArchiveFiles):
    """The files of a directory. The last component of a name is never followed as a link."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._fd = os.open(path, _READ_ONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        try:
            return S_ISREG(os.lstat(name, dir_fd=self._fd).st_mode)
        except OSError:
            return False

    def open(self, name: str) -> Piece:
        if not self.has(name):
            raise self._missing(name)
        fd = os.open(name, _READ_ONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._fd)
        return Piece(fd, 0, os.fstat(fd).st_size, owns_fd=True)


def open_archive(paths: Paths, source: str | IO[bytes]) -> ArchiveFiles:
    """The files of an archive at a path or in a stream, which may be a pipe and stays open; or of a directory.

    Raises NotFound for a missing file, Damaged for what is no archive.
    """
    if not isinstance(source, str):
        fd = _descriptor(source)
        return _open_tar(paths, fd, "the archive") if fd >= 0 else TarFiles(_spooled(paths, source), "the archive")
    try:
        if S_ISDIR(os.stat(source).st_mode):
            return DirectoryFiles(source)
        fd = os.open(source, _READ_ONLY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"load {source}: there is no such file", hint="check the path; it is one of this host"
        ) from error
    except OSError as error:
        raise SyscallError(f"load {source}: {error.strerror}", errno=error.errno or 0) from error
    return _open_tar(paths, fd, source)


def _descriptor(stream: IO[bytes]) -> int:
    """A descriptor of the stream's own where it is a regular file that nothing was read of; else -1."""
    try:
        fd = stream.fileno()
        if S_ISREG(os.fstat(fd).st_mode) and stream.tell() == 0:
            return os.dup(fd)
    except (OSError, AttributeError, ValueError):
        pass
    return -1


def _open_tar(paths: Paths, fd: int, what: str) -> TarFiles:
    """Index a tar where it lies, or a copy of it. Owns the descriptor."""
    is_file = S_ISREG(os.fstat(fd).st_mode)
    if is_file and sniff(os.pread(fd, 6, 0)) == "plain":
        return TarFiles(fd, what)
    with open(fd, "rb", buffering=0) as file:
        return TarFiles(_spooled(paths, file), what)


def _spooled(paths: Paths, stream: ByteStream) -> int:
    """A descriptor of a nameless file with the stream's uncompressed content."""
    make_private_directory(paths.root)
    make_private_directory(paths.temporary)
    fd = _nameless_file(paths.temporary)
    try:
        with DecompressingReader(stream) as content:
            while True:
                data = memoryview(content.read(_COPY))
                if not data:
                    return fd
                while data:
                    data = data[os.write(fd, data) :]
    except OSError as error:
        os.close(fd)
        raise SyscallError(
            f"copy the archive to {paths.temporary}: {error.strerror}", errno=error.errno or 0
        ) from error
    except BaseException:
        os.close(fd)
        raise


def _nameless_file(directory: str) -> int:
    """A file that no name leads to, so that the kernel frees it with the last descriptor."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EISDIR):
            raise
    path = f"{directory}/archive-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd
