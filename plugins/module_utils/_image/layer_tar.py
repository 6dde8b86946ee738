# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The uncompressed tar of a layer in the store, made again bit for bit: from its record and its files, or from a blob.

Streaming, with bounded memory. The diff ID is checked at the end, which also shows whether the files are still what
they were when the layer was unpacked.
"""

from __future__ import annotations

import os

from .._base.errors import Damaged, NotFound
from .._store.layers import describe, has_layer
from .tar_record import has_record, read_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from typing_extensions import Self

    from .._base.paths import Paths
    from .tar_record import Content

_CHUNK = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # not to hang should it be a FIFO now
_HINT = "pull or load an image that contains this layer: that repairs it"


def open_layer_tar(paths: Paths, diff_id: str, *, blobs: Sequence[str] = ()) -> LayerTar:
    """The tar of a layer, as a context manager to read from. `blobs` are digests of compressed forms that may be kept.

    Raises NotFound where the layer is not here, or can't be made again since an older version unpacked it. Reading
    raises Damaged where the result is not what the diff ID says, before it tells the end.
    """
    if has_layer(paths, diff_id) and has_record(paths.layer(diff_id)):
        return LayerTar(diff_id, describe(paths, diff_id).stream_bytes, LayerPieces(paths.layer(diff_id)))
    for digest in blobs:
        if os.path.exists(paths.blob(digest)):
            size_bytes = sum(len(piece) for piece in _BlobPieces(paths.blob(digest)))
            return LayerTar(diff_id, size_bytes, _BlobPieces(paths.blob(digest)))
    if has_layer(paths, diff_id):
        raise NotFound(
            f"layer {diff_id}: its tar can't be made again: it was unpacked by an older version, without a record",
            hint="remove the image and pull or load it again",
        )
    raise NotFound(f"layer {diff_id}: it is not in the store", hint="pull or load an image that contains it")


class PieceStream:
    """Pieces of bytes, none of them empty, as a stream. A context manager."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end."""
        if self._position >= len(self._piece):
            self._piece, self._position = next(self._pieces, b""), 0
            self._took(self._piece)
        start = self._position
        self._position = min(start + size, len(self._piece))
        if not start and self._position == len(self._piece):
            return self._piece
        return self._piece[start : self._position]

    def _took(self, piece: bytes) -> None:
        """Called with every piece, and with an empty one at the end."""

    def close(self) -> None:
        """Free what is open. Idempotent."""
        close = getattr(self._pieces, "close", None)
        if close:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class LayerTar(PieceStream):
    """A layer's tar; the end is told once its digest was found right. `size_bytes` is its whole length."""

    def __init__(self, diff_id: str, size_bytes: int, pieces: Iterable[bytes]) -> None:
        from hashlib import new

        super().__init__(pieces)
        algorithm, _, self._wanted = diff_id.partition(":")
        self._diff_id = diff_id
        self._digest = new(algorithm)
        self.size_bytes = size_bytes

    def _took(self, piece: bytes) -> None:
        self._digest.update(piece)
        if not piece and self._digest.hexdigest() != self._wanted:
            raise Damaged(f"layer {self._diff_id}: its files are not what they were when it was unpacked", hint=_HINT)


class LayerPieces:
    """The pieces of a layer's tar from its record and its files, of up to 256 KiB each, none of them empty.

    With `tolerant` bytes that can't be had are zeros, so that a damaged layer still gives an archive with all its
    entries; `missing` are the files for which that happened.
    """

    def __init__(self, directory: str, *, tolerant: bool = False) -> None:
        self._directory = directory
        self._tolerant = tolerant
        self.missing: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        files = _Files(self._directory)
        small: list[bytes] = []
        held = 0
        try:
            for content in read_record(self._directory):
                for piece in self._of(content, files):
                    small.append(piece)
                    held += len(piece)
                    if held >= _CHUNK:
                        yield b"".join(small)
                        small, held = [], 0
            if held:
                yield b"".join(small)
        finally:
            files.close()

    def _of(self, content: Content, files: _Files) -> Iterator[bytes]:
        if content.literal:
            yield content.literal
        if not content.length:
            return
        left = content.length
        try:
            fd = files.open(content.path)
            try:
                for piece in _read_ranges(fd, content.segments or ((0, content.length),)):
                    left -= len(piece)
                    yield piece
            finally:
                os.close(fd)
        except OSError as error:
            if not self._tolerant:
                name = os.fsdecode(content.path)
                raise Damaged(
                    f"read {self._directory}/{name}: {os.strerror(error.errno or 0).lower()}", hint=_HINT
                ) from error
        if left and not self._tolerant:
            raise Damaged(f"read {self._directory}/{os.fsdecode(content.path)}: it became shorter", hint=_HINT)
        if left:
            self.missing.append(content.path)
        while left:
            count = min(left, _CHUNK)
            yield bytes(count)
            left -= count


def _read_ranges(fd: int, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for offset, length in ranges:
        end = offset + length
        while offset < end:
            piece = os.pread(fd, min(_CHUNK, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece


class _Files:
    """Files below a directory, opened without following a link; the last file's directory stays open."""

    def __init__(self, directory: str) -> None:
        self._top_fd = os.open(directory, _DIRECTORY)
        self._path = b""
        self._fd = -1

    def open(self, path: bytes) -> int:
        """A descriptor of the regular file. Raises OSError, for a link or a file of another kind too."""
        parent, _, name = path.rpartition(b"/")
        if parent != self._path or self._fd < 0:
            self._enter(parent)
        fd = os.open(name, _FILE, dir_fd=self._fd)
        return fd

    def _enter(self, path: bytes) -> None:
        self._leave()
        fd = self._top_fd
        for part in path.split(b"/"):
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=fd)
            finally:
                if fd != self._top_fd:
                    os.close(fd)
            fd = inner
        self._path, self._fd = path, fd

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        self._leave()
        os.close(self._top_fd)


class _BlobPieces:
    """The uncompressed content of a blob."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        from .compression import DecompressingReader

        with open(self._path, "rb", buffering=0) as file, DecompressingReader(file) as stream:
            while True:
                piece: Any = stream.read(_CHUNK)
                if not piece:
                    return
                yield piece
