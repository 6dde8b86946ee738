# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files of a directory tree as pieces of a tar: the opposite of unpack.py.

Everything is read below descriptors, links are never followed, and only regular files are opened. Kept are type, mode,
owner, time with nanoseconds, hard links and those extended attributes that an image may have; sockets are left out. A
file's holes are read as zeros without reading the disk.
"""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG

from .._base.errors import Unsupported
from .attributes import attribute_names, kept_attributes, named, read_attributes
from .tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, shown
from .tar_headers import BLOCK
from .tar_writer import END, header_of, make_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tar import Entry

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1024 * 1024
_SMALL = 64 * 1024
_MAX_DEPTH = 256  # as unpack.py has it
_ZEROS = bytes(_CHUNK)


def list_directory(directory: int) -> list[tuple[bytes, os.stat_result]]:
    """The names in an open directory with what they are, in order of their bytes, without what vanishes meanwhile."""
    found = []
    for name in sorted(map(os.fsencode, os.listdir(directory))):
        try:
            found.append((name, os.lstat(name, dir_fd=directory)))
        except FileNotFoundError:
            pass
    return found


class Packer:
    """The entries of one archive. It remembers files with several names: the first one packed is the others' target."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], bytes] = {}

    def directory(self, directory: int, path: bytes) -> bytes:
        """The entry of an open directory; an empty path is the archive's root."""
        status = os.fstat(directory)
        entry = _entry(path or b".", DIRECTORY, status)
        entry.xattrs = kept_attributes(directory)
        return header_of(entry)

    def file(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> Iterator[bytes]:
        """The entry of anything else, `name` in an open directory; nothing for a socket."""
        mode = status.st_mode
        if status.st_nlink > 1:
            first = self._first.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                yield header_of(_entry(path, HARD_LINK, status, link=first))
                return
        if S_ISREG(mode):
            yield from self.regular(directory, name, path)
        elif S_ISLNK(mode):
            yield header_of(_entry(path, SYMLINK, status, link=os.readlink(name, dir_fd=directory)))
        elif S_ISFIFO(mode) or S_ISCHR(mode) or S_ISBLK(mode):
            kind = FIFO if S_ISFIFO(mode) else CHARACTER if S_ISCHR(mode) else BLOCK_DEVICE
            entry = _entry(path, kind, status, device=(os.major(status.st_rdev), os.minor(status.st_rdev)))
            entry.xattrs = kept_attributes(named(directory, name))
            yield header_of(entry)

    def regular(self, directory: int, name: bytes, path: bytes) -> Iterator[bytes]:
        """The entry of a regular file with its content; nothing where it has gone."""
        return _regular(directory, name, path)


def _entry(
    path: bytes, kind: bytes, status: os.stat_result, *, link: bytes = b"", device: tuple[int, int] = (0, 0)
) -> Entry:
    return make_entry(
        path,
        kind,
        mode=S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        link=link,
        device=device,
    )


def _regular(directory: int, name: bytes, path: bytes) -> Iterator[bytes]:
    try:
        fd = os.open(name, _OPEN_FILE, dir_fd=directory)
    except FileNotFoundError:
        return  # of a container that goes on running
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode):
            return  # swapped meanwhile
        entry = _entry(path, FILE, status)
        size = entry.size = status.st_size
        names = attribute_names(fd)
        if names:
            entry.xattrs = read_attributes(fd, names)
            refuse_dependent(names, path)
        header, padding = header_of(entry), bytes(-size % BLOCK)
        if size <= _SMALL:
            data = os.read(fd, size) if size else b""
            if len(data) < size:
                data += b"".join(_content(fd, size - len(data)))
            yield b"".join((header, data, padding))
            return
        yield header
        yield from _content(fd, size) if status.st_blocks * BLOCK >= size else _sparse_content(fd, size)
        if padding:
            yield padding
    finally:
        os.close(fd)


def _content(fd: int, size: int) -> Iterator[bytes]:
    """The next `size` bytes of a file; zeros where it has shrunk."""
    while size:
        data = os.read(fd, min(size, _CHUNK)) or _ZEROS[:size]
        size -= len(data)
        yield data


def _sparse_content(fd: int, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size:
        start, end = _next_data(fd, offset, size)
        for position in range(offset, start, _CHUNK):
            yield _ZEROS[: start - position]
        os.lseek(fd, start, os.SEEK_SET)
        yield from _content(fd, end - start)
        offset = end


def _next_data(fd: int, offset: int, size: int) -> tuple[int, int]:
    """Where the next data of a file begins and ends; both the size where only a hole follows."""
    try:
        start = min(os.lseek(fd, offset, os.SEEK_DATA), size)
    except OSError:  # ENXIO: no more data
        return size, size
    return start, min(os.lseek(fd, start, os.SEEK_HOLE), size) if start < size else size


_DEPENDENT = (b".overlay.redirect", b".overlay.metacopy")


def refuse_dependent(names: list[bytes], path: bytes) -> None:
    """Raise Unsupported for what does not lie in its layer as it is shown, but refers to the layers below.

    The engine mounts with these features of overlayfs off; another program may have mounted the same directories.
    """
    if any(name.endswith(_DEPENDENT) for name in names):
        raise Unsupported(
            f"read {shown(path)}: it refers to a lower layer (overlayfs's redirect_dir or metacopy)",
            hint="export the container and import the result",
        )


def check_depth(path: bytes) -> None:
    """Raise Unsupported where a path is deeper than what can be unpacked again."""
    if path.count(b"/") >= _MAX_DEPTH:
        raise Unsupported(f"read {shown(path)}: deeper than {_MAX_DEPTH} directories")


def pack_tree(root: int) -> Iterator[bytes]:
    """A whole tree as a tar, its root as `./`, in order of the names' bytes, directories before what is in them."""
    packer = Packer()
    yield packer.directory(root, b"")
    yield from _pack_below(packer, root, b"")
    yield END


def _pack_below(packer: Packer, directory: int, parent: bytes) -> Iterator[bytes]:
    for name, status in list_directory(directory):
        path = parent + name
        if not S_ISDIR(status.st_mode):
            yield from packer.file(directory, name, path, status)
            continue
        check_depth(path)
        with Subdirectory(directory, name) as inner:
            if inner >= 0:
                yield packer.directory(inner, path)
                yield from _pack_below(packer, inner, path + b"/")


class Subdirectory:
    """`with Subdirectory(fd, name) as inner`: a directory in another one (-1: none) opened; -1 where there is none."""

    def __init__(self, directory: int, name: bytes) -> None:
        self._fd = -1
        if directory >= 0:
            try:
                self._fd = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
            except (FileNotFoundError, NotADirectoryError):
                pass

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_error: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class PieceStream:
    """Pieces of bytes, made as they are needed, to be read like a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end."""
        if self._position == len(self._buffer):
            self._refill()
        start = self._position
        data = self._buffer[start : start + size]
        self._position = start + len(data)
        return data

    def _refill(self) -> None:
        gathered, size = [], 0
        for piece in self._pieces:
            gathered.append(piece)
            size += len(piece)
            if size >= _SMALL:
                break
        self._buffer = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        self._position = 0
