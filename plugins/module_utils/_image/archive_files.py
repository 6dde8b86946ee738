# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The files in an image archive, or in an OCI layout directory, by their names there.

A tar that is a regular file is indexed once by its headers and then read at the places that are needed, by several
processes at once. What can only be read once, from its beginning to its end, is archive_stream.py's. Names in an
archive are keys of a table and never become paths of the host.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from .._base.errors import Damaged
from .._base.values import Value
from .tar import FILE, HARD_LINK, SYMLINK, TarReader, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from .._base.paths import Paths
    from .._store.database import Database
    from .archived_image import ArchivedLayer
    from .tar import Entry

    Found = TypeVar("Found")
    Progress = Callable[[str, str, int, int], None]

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
_MOST_HOPS = 8
_MOST_FILES = 100_000
_MOST_NAME_BYTES = 16 * 1024 * 1024


class Destination(Value):
    """Where the layers of an archive go."""

    paths: Paths
    database: Database
    keep_blobs: bool  # whether compressed layers are kept as they came
    progress: Progress


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
    """Files by name. `what` names the archive in messages. To be closed, or used with `with`.

    `brought` are the diff IDs, `kept` the digests of blobs, that this archive may have put into the store. `checked`
    has diff ID and digest of the layers whose files were read.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.brought: set[str] = set()
        self.kept: set[str] = set()
        self.checked: set[tuple[str, str]] = set()

    def __enter__(self) -> ArchiveFiles:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held open."""

    def receive(self, destination: Destination) -> None:
        """Take up what can be read only once. Comes before everything else, and is nothing for files."""

    def look(self) -> None:
        """Instead of `receive`: only the documents are wanted, nothing is stored."""

    def has(self, name: str) -> bool:
        """Whether there is a regular file of this name, or a link to one."""
        raise NotImplementedError

    def read(self, name: str, limit: int) -> bytes:
        """A small file's content. Raises Damaged where it is missing or larger than `limit`."""
        raise NotImplementedError

    def bring(self, destination: Destination, layers: Sequence[ArchivedLayer]) -> None:
        """Have these layers in the store, each checked against what the archive says of it. Idempotent."""
        raise NotImplementedError

    def missing(self, name: str) -> Damaged:
        """The error for a file that is named and not there."""
        return Damaged(
            f"load {self.what}: it has no file {shown(name.encode('utf-8', 'surrogatepass'))}",
            hint="the archive is incomplete; save it again",
        )


class SeekableFiles(ArchiveFiles):
    """Files that can be read in any order, and at once."""

    def open(self, name: str) -> Piece:
        """The file as a stream, for use with `with`. Raises Damaged where it is missing."""
        raise NotImplementedError

    def read(self, name: str, limit: int) -> bytes:
        with self.open(name) as piece:
            check_size(self, name, piece.size, limit)
            data = b""
            while len(data) < piece.size:
                more = piece.read(piece.size)
                if not more:
                    raise Damaged(f"load {self.what}: {name} became shorter while it was read")
                data += more
            return data

    def bring(self, destination: Destination, layers: Sequence[ArchivedLayer]) -> None:
        from .archive_layers import bring_layers

        bring_layers(destination, self, layers)


def check_size(files: ArchiveFiles, name: str, size: int, limit: int) -> None:
    """Raise Damaged where a document of this size is not read."""
    if size > limit:
        raise Damaged(f"load {files.what}: {name} has {size} bytes, the limit is {limit}")


class TarFiles(SeekableFiles):
    """The files of a tar that lies in a regular file. Owns the descriptor."""

    def __init__(self, fd: int, what: str) -> None:
        super().__init__(what)
        self._fd = fd
        self._files: dict[bytes, tuple[int, int]] = {}
        self._names = Names()
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
        for entry in reader:
            name = self._names.add(self.what, entry)
            self._files.pop(name, None)
            if entry.kind == FILE and entry.segments is None:
                self._files[name] = (reader.position, entry.size)
                if reader.position + entry.size > whole.size:
                    raise Damaged(f"load {self.what}: the archive is cut off in {shown(name)}")

    def has(self, name: str) -> bool:
        return self._names.find(name, self._files) is not None

    def open(self, name: str) -> Piece:
        found = self._names.find(name, self._files)
        if found is None:
            raise self.missing(name)
        return Piece(self._fd, *found)


class Names:
    """The names in a tar: the last entry of a name counts, and links lead to other names in it."""

    def __init__(self) -> None:
        self._count = self._bytes = 0
        self._links: dict[bytes, bytes] = {}

    def add(self, what: str, entry: Entry) -> bytes:
        """The name of the next entry, in the form that keys have. Raises Damaged where it goes too far."""
        self._count += 1
        self._bytes += len(entry.name) + len(entry.link)
        if self._count > _MOST_FILES or self._bytes > _MOST_NAME_BYTES:
            raise Damaged(
                f"load {what}: it has more than {_MOST_FILES} files, or more than {_MOST_NAME_BYTES} of names"
            )
        name = joined(b"", entry.name)
        self._links.pop(name, None)
        if entry.kind == SYMLINK:
            self._links[name] = joined(name.rpartition(b"/")[0], entry.link)
        elif entry.kind == HARD_LINK:
            self._links[name] = joined(b"", entry.link)
        return name

    def find(self, name: str, files: dict[bytes, Found]) -> Found | None:
        """What `files` has under a name, through links; None where there is nothing."""
        key = key_of(name)
        for _ in range(_MOST_HOPS):
            if key in files:
                return files[key]
            if key not in self._links:
                return None
            key = self._links[key]
        return None


def key_of(name: str) -> bytes:
    """The form that keys have of a name in a document."""
    return joined(b"", name.encode("utf-8", "surrogatepass"))


def joined(directory: bytes, name: bytes) -> bytes:
    """A name in the archive, relative to a directory there; `..` ends at the archive's root."""
    parts: list[bytes] = [] if name[:1] == b"/" else directory.split(b"/")
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        else:
            parts.append(part)
    return b"/".join(part for part in parts if part not in (b"", b"."))


class DirectoryFiles(SeekableFiles):
    """The files of a directory. No component of a name is followed as a link, and none climbs."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._fd = os.open(path, _READ_ONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        fd = self._open(name)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def open(self, name: str) -> Piece:
        fd = self._open(name)
        if fd < 0:
            raise self.missing(name)
        return Piece(fd, 0, os.fstat(fd).st_size, owns_fd=True)

    def _open(self, name: str) -> int:
        """A descriptor of the regular file of this name, -1 where there is none."""
        *directories, last = key_of(name).split(b"/")
        if b"\0" in last or b".." in (*directories, last):
            return -1
        fd = os.dup(self._fd)
        try:
            for part in directories:
                parent, fd = fd, os.open(part, _READ_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(parent)
            found = os.open(last, _READ_ONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
        except (OSError, ValueError):
            return -1
        finally:
            os.close(fd)
        if not S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            return -1
        return found
