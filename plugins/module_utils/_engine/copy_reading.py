# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files below a root made into the tar that a copy consists of.

The root may be a container's whose processes change it meanwhile: every path is resolved inside it once, directories
are entered by descriptor and without following links, and only what is known to be a regular file is opened for
reading. Holes of files stay holes. Sockets are left out.
"""

from __future__ import annotations

import os
from errno import ELOOP, ENOENT
from stat import S_ISDIR, S_ISREG

from .._base.errors import NotFound
from .._image.attributes import kept_attributes
from .._image.packing import OPEN_DIRECTORY, Packer, Subdirectory, check_depth, list_directory
from .._image.tar import FILE, shown
from .._image.tar_headers import BLOCK
from .._image.tar_writer import END, header_of, make_entry, sparse_header_of
from .._kernel.targets import open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1024 * 1024
_MOST_LINKS = 40
_MOST_PIECES = 4096  # of a file with holes; one with more is copied as if it had none
_MOST_UNSIZED = 1024 * 1024
_NAMELESS = ("", ".", "..")


def open_place(root: int, path: str, *, follow: bool) -> tuple[int, str, str]:
    """The directory, as a descriptor of the caller's, the name in it, and the path that a path inside the root means.

    The name, which may not exist, is no link if `follow`. It is empty where the path names no entry (`/`, `a/..`): then
    the directory itself is meant. Raises OSError as open(2) does.
    """
    for _ in range(_MOST_LINKS):
        parent, _, name = path.rstrip("/").rpartition("/")
        if name in _NAMELESS:
            return open_inside(root, path or "/", os.O_PATH | os.O_DIRECTORY), "", path or "/"
        directory = open_inside(root, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            link = os.readlink(name, dir_fd=directory) if follow else ""
        except OSError:
            link = ""
        if not link:
            return directory, name, path
        os.close(directory)
        path = link if link.startswith("/") else f"{parent}/{link}"
    raise OSError(ELOOP, os.strerror(ELOOP), path)


def open_regular(directory: int, name: str | bytes) -> int:
    """A regular file, opened for reading; -1 where there is something else or nothing. Nothing else is ever opened."""
    try:
        place = os.open(name, _PATH, dir_fd=directory)
    except FileNotFoundError:
        return -1
    try:
        if not S_ISREG(os.fstat(place).st_mode):
            return -1
        return os.open(f"/proc/self/fd/{place}", _READ)
    finally:
        os.close(place)


def pack_path(root: int, path: str, *, follow: bool = False, shown_path: str = "") -> Iterator[bytes]:
    """A file, or a directory with all that is in it, as a tar whose first entry is the thing itself, under its name.

    A path that ends with `/.`, or names no entry, gives the directory under the name `.`. With `follow`, a link at the
    path's end is followed, as it is where the path ends with a slash; the name stays the link's. Raises NotFound.
    """
    what = shown_path or path
    try:
        directory, name = _open_source(root, path, follow)
    except OSError as error:
        raise _missing(error, what) from error
    base = os.fsencode(path.rstrip("/").rpartition("/")[2])
    try:
        yield from _pack(directory, name, b"" if path.endswith("/.") or not name else base, what)
    finally:
        os.close(directory)
    yield END


def _open_source(root: int, path: str, follow: bool) -> tuple[int, str]:
    directory, name, _path = open_place(root, path, follow=follow or path.endswith("/"))
    if path.endswith(("/", "/.")) and name:
        with Subdirectory(directory, os.fsencode(name)) as inner:
            if inner < 0:
                os.close(directory)
                raise NotADirectoryError(20, "not a directory", path)
    return directory, name


def _pack(directory: int, name: str, base: bytes, what: str) -> Iterator[bytes]:
    packer = CopyPacker()
    try:
        status = os.lstat(name, dir_fd=directory) if name else os.fstat(directory)
    except OSError as error:
        raise _missing(error, what) from error
    if not S_ISDIR(status.st_mode):
        yield from packer.file(directory, os.fsencode(name), base, status)
        return
    top = os.open(name or ".", OPEN_DIRECTORY, dir_fd=directory)
    try:
        yield packer.directory(top, base)
        yield from _pack_below(packer, top, base + b"/" if base else b"")
    finally:
        os.close(top)


def _pack_below(packer: CopyPacker, directory: int, parent: bytes) -> Iterator[bytes]:
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


def _missing(error: OSError, what: str) -> Exception:
    if error.errno in (ENOENT, ELOOP) or isinstance(error, NotADirectoryError):
        return NotFound(f"copy {what}: {(error.strerror or '').lower()}")
    return error


class CopyPacker(Packer):
    """Entries of a copy: as of an image's layer, but that holes stay holes."""

    def regular(self, directory: int, name: bytes, path: bytes) -> Iterator[bytes]:
        """The entry of a regular file; nothing where it has gone or been replaced meanwhile."""
        fd = open_regular(directory, name)
        if fd < 0:
            return
        try:
            yield from _file_pieces(fd, path)
        finally:
            os.close(fd)


def _file_pieces(fd: int, path: bytes) -> Iterator[bytes]:
    status = os.fstat(fd)
    entry = make_entry(
        path,
        FILE,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size,
        xattrs=kept_attributes(fd),
    )
    if not status.st_size:
        data = _unsized(fd)  # files of proc and sysfs have no size, but content
        entry.size = len(data)
        yield header_of(entry) + data + bytes(-len(data) % BLOCK)
        return
    pieces = _data_pieces(fd, status.st_size) if status.st_blocks * BLOCK < status.st_size else None
    if pieces is None:
        yield header_of(entry)
        yield from _range(fd, 0, status.st_size, path)
        yield bytes(-status.st_size % BLOCK)
        return
    yield sparse_header_of(entry, pieces)
    for offset, length in pieces:
        yield from _range(fd, offset, length, path)
    yield bytes(-sum(length for _, length in pieces) % BLOCK)


def _unsized(fd: int) -> bytes:
    data = b""
    try:
        while len(data) < _MOST_UNSIZED and (more := os.read(fd, _MOST_UNSIZED - len(data))):
            data += more
    except OSError:  # one of the kernel's files that can't be read
        return b""
    return data


def _range(fd: int, offset: int, length: int, path: bytes) -> Iterator[bytes]:
    """Bytes of a file; zeros where it has shrunk meanwhile."""
    while length:
        try:
            data = os.pread(fd, min(length, _CHUNK), offset) or bytes(min(length, _CHUNK))
        except OSError as error:
            raise OSError(error.errno, error.strerror, shown(path)) from error
        offset, length = offset + len(data), length - len(data)
        yield data


def _data_pieces(fd: int, size: int) -> list[tuple[int, int]] | None:
    """Where a file has data, as (offset, length); None where these are too many pieces to tell."""
    pieces: list[tuple[int, int]] = []
    offset = 0
    while offset < size:
        try:
            start = min(os.lseek(fd, offset, os.SEEK_DATA), size)
        except OSError:  # ENXIO: only a hole follows
            break
        offset = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < size:
            pieces.append((start, offset - start))
        if len(pieces) > _MOST_PIECES:
            return None
    return pieces
