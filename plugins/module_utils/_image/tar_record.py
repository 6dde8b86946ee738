# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The record of a layer's tar: with it and the unpacked files the tar can be made again, bit for bit.

Docker calls the like of it tar-split; this is a format of our own. `headers` is one zlib stream (level 1) of

    MAGIC
    frames: _FRAME (zeros before the literal, length of the literal, zeros after it, length of the content, length of
            the path, number of segments), then the literal itself, the path, and for a sparse file its segments as
            pairs of offset and length
    a frame of zeros only

A frame stands for its literal between its zeros, followed by its content: so many bytes of the file at `path` below
`fs`, from the segments one after another, or from its beginning where there are none. Literals are all that is no
file's content: headers, extended headers, padding, data of entries that became no file, and what follows the end of the
archive. Half of that are zeros, which are counted instead of deflated.

What a later entry of the same layer removes is moved to `replaced/N`, files or whole directories. `replaced/index` has
a line for each, ended by NUL: how many frames with a content had been written when it was moved, a blank, and its path.
So the content with number C (from 0) at a path is in the first of them that has the path, or a directory above it, and
a count greater than C; without one it is in `fs`.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from stat import S_ISDIR, S_ISREG
from struct import Struct

from .._base.errors import Damaged
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

    from .compression import ByteStream
    from .tar_headers import Segments

HEADERS = "headers"
REPLACED = "replaced"
MAGIC = b"hull tar record 1\n"
_FRAME = Struct("<IIIQII")
_SEGMENT = Struct("<QQ")
_LEVEL = 1
_BATCH = 64 * 1024
_MOST = 64 * 1024 * 1024  # of one frame's literal, path and segments; a writer never comes near it
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Content(Value):
    """A piece of a tar: `literal`, then `length` bytes of the file at `path`, which is empty where there is none."""

    literal: bytes
    length: int
    path: bytes
    segments: Segments


class RecordWriter:
    """Writes the record of one layer into its directory, while the layer is unpacked. A context manager.

    The unpacker reads the uncompressed stream through `watch` and tells every file's content before it reads that. It
    must not hold back more of the stream than a part of a header when it reads on.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._fd = -1
        self._index_fd = -1
        self._replaced_fd = -1
        self._count = 0  # of frames with a content
        self._moved = 0
        self._stream: ByteStream | None = None
        self._chunk = b""
        self._start = 0  # of the chunk in the stream
        self._end = 0
        self._mark = 0  # what is before it in the stream is recorded
        self._pieces = [MAGIC]
        self._held = 0

    def __enter__(self) -> RecordWriter:
        from zlib import compressobj

        self._deflate: Any = compressobj(_LEVEL)
        self._fd = os.open(f"{self._directory}/{HEADERS}", _NEW_FILE, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for fd in (self._fd, self._index_fd, self._replaced_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._index_fd = self._replaced_fd = -1

    def watch(self, stream: ByteStream) -> ByteStream:
        """The stream to read from instead of this one."""
        self._stream = stream
        return self

    def read(self, size: int) -> bytes:
        """The next bytes of the watched stream. What came before and is no content is recorded as it is."""
        assert self._stream is not None
        data = self._stream.read(size)
        self._record_rest()
        self._start = self._end
        self._end += len(data)
        self._chunk = data
        return data

    def _record_rest(self) -> None:
        if self._mark < self._end:
            self._add(self._chunk[self._mark - self._start :], 0, b"", ())
            self._mark = self._end

    def content(self, start: int, length: int, path: bytes, segments: Segments | None = None) -> None:
        """Tell that the stream has, from `start` on, so many bytes that go into the file at this real path."""
        literal = self._chunk[self._mark - self._start : start - self._start]
        self._mark = start + length
        self._count += 1
        self._add(literal, length, path, segments or ())

    def _add(self, literal: bytes, length: int, path: bytes, segments: Any) -> None:
        right = literal.lstrip(b"\0")
        core = right.rstrip(b"\0")
        zeros = len(literal) - len(right), len(right) - len(core)
        self._pieces += (
            _FRAME.pack(zeros[0], len(core), zeros[1], length, len(path), len(segments)),
            core,
            path,
        )
        if segments:
            self._pieces.append(b"".join([_SEGMENT.pack(*segment) for segment in segments]))
        self._held += len(core) + _FRAME.size + len(path) + 16 * len(segments)
        if self._held >= _BATCH:
            self._flush()

    def _flush(self, last: bytes = b"") -> None:
        self._pieces.append(last)
        data = self._deflate.compress(b"".join(self._pieces))
        if last:
            data += self._deflate.flush()
        self._pieces, self._held = [], 0
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _finish(self) -> None:
        self._record_rest()
        self._flush(_FRAME.pack(0, 0, 0, 0, 0, 0))

    def keep(self, fd: int, name: bytes, path: bytes, found: os.stat_result) -> bool:
        """Move away the entry `name` of the directory `fd`, known in the layer as `path`, that is to be removed.

        False, and it is still there, where it holds no content.
        """
        if not S_ISDIR(found.st_mode) and not (S_ISREG(found.st_mode) and found.st_size):
            return False
        if self._replaced_fd < 0:
            place = f"{self._directory}/{REPLACED}"
            os.mkdir(place, 0o700)
            self._replaced_fd = os.open(place, _DIRECTORY)
            self._index_fd = os.open("index", _NEW_FILE, 0o600, dir_fd=self._replaced_fd)
        os.rename(name, b"%d" % self._moved, src_dir_fd=fd, dst_dir_fd=self._replaced_fd)
        self._moved += 1
        os.write(self._index_fd, b"%d %b\0" % (self._count, path))
        return True


def has_record(directory: str) -> bool:
    """Whether a layer's directory has a record of its tar."""
    return os.path.exists(f"{directory}/{HEADERS}")


def read_record(directory: str) -> Iterator[Content]:
    """The pieces of the layer's tar in order, paths below the layer's directory. Raises Damaged, OSError."""
    moved = _read_index(f"{directory}/{REPLACED}/index")
    number = 0
    with open(f"{directory}/{HEADERS}", "rb", buffering=0) as file:
        for literal, length, path, segments in _frames(_Inflated(file, f"{directory}/{HEADERS}")):
            if length:
                place = _place(path, number, moved) if moved else b"fs/" + path
                yield Content(literal, length, place, segments)
            else:
                yield Content(literal, 0, b"", [])
            number += bool(path)


def _frames(source: _Inflated) -> Iterator[tuple[bytes, int, bytes, Segments]]:
    if source.take(len(MAGIC)) != MAGIC:
        raise source.damaged("it is of another version")
    while True:
        frame = _FRAME.unpack(source.take(_FRAME.size))
        before, core_length, after, length, path_length, count = frame
        if not any(frame):
            source.end()
            return
        if before + core_length + after + path_length + _SEGMENT.size * count > _MOST:
            raise source.damaged("a frame is too large")
        literal = bytes(before) + source.take(core_length) + bytes(after)
        path = source.take(path_length)
        segments = list(_SEGMENT.iter_unpack(source.take(_SEGMENT.size * count)))
        if b"\0" in path or b"/../" in b"/%b/" % path or path[:1] == b"/":
            raise source.damaged("a path leads out of the layer")
        yield literal, length, path, segments


class _Inflated:
    """The uncompressed bytes of a file, taken in given amounts."""

    def __init__(self, file: Any, name: str) -> None:
        from zlib import decompressobj

        self._file = file
        self._name = name
        self._inflate = decompressobj()
        self._buffer = b""
        self._position = 0

    def damaged(self, why: str) -> Damaged:
        """The error for what is wrong with the file."""
        return Damaged(f"read {self._name}: {why}", hint="pull or load an image that contains this layer")

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        end = self._position + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        piece = self._buffer[self._position : end]
        self._position = end
        return piece

    def _fill(self, count: int) -> None:
        pieces = [self._buffer[self._position :]]
        have = len(pieces[0])
        while have < count:
            data = self._more()
            if not data:
                raise self.damaged("it is cut off")
            pieces.append(data)
            have += len(data)
        self._buffer, self._position = b"".join(pieces), 0

    def _more(self) -> bytes:
        from zlib import error as ZlibError

        while not self._inflate.eof:
            compressed = self._inflate.unconsumed_tail or self._file.read(_BATCH)
            if not compressed:
                return b""
            try:
                data = self._inflate.decompress(compressed, 4 * _BATCH)
            except ZlibError as error:
                raise self.damaged(str(error)) from error
            if data:
                return data
        return b""

    def end(self) -> None:
        """Check that nothing follows and that the check sum is right."""
        follows = self._position < len(self._buffer) or self._more()
        if follows or not self._inflate.eof or self._inflate.unused_data or self._file.read(1):
            raise self.damaged("it does not end where it should")


def _read_index(path: str) -> dict[bytes, list[tuple[int, int]]]:
    """For every path that was moved: (count of contents by then, number below `replaced`), in order."""
    moved: dict[bytes, list[tuple[int, int]]] = {}
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\0")
    except FileNotFoundError:
        return moved
    for number, line in enumerate(lines[:-1]):
        count, _, name = line.partition(b" ")
        if not count.isdigit():
            raise Damaged(f"read {path}: line {number} is malformed")
        moved.setdefault(name, []).append((int(count), number))
    return moved


def _place(path: bytes, number: int, moved: dict[bytes, list[tuple[int, int]]]) -> bytes:
    """Where the content with this number is, which was written to this path below `fs`."""
    best: tuple[int, int, bytes] | None = None
    above = path
    while above:
        known = moved.get(above, [])
        first = bisect_left(known, (number + 1, 0))  # one name may have been replaced a million times
        if first < len(known) and (best is None or known[first] < best[:2]):
            best = (*known[first], path[len(above) :])
        above = above.rpartition(b"/")[0]
    return b"fs/" + path if best is None else b"%s/%d%b" % (REPLACED.encode(), best[1], best[2])
