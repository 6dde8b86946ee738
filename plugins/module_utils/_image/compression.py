# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Compressed streams read as what they hold: gzip, bzip2, xz, zstd or plain, told by their first bytes.

What a media type or a file's name says about the compression is not believed. Memory stays bounded whatever the ratio
is. Reading is strict: a stream that is cut off, has a wrong check sum or junk after its end raises Damaged. Nothing is
compressed here.

Source: RFC 1952 (members one after another), the .xz file format 1.2 (stream padding), RFC 8878 (skippable frames).
"""

from __future__ import annotations

from .._base.errors import Damaged, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class ByteStream(Protocol):
        """What is read from: a file, a socket, or one of the classes here."""

        def read(self, size: int, /) -> bytes: ...

    class Decompressor(Protocol):
        """The form of bz2.BZ2Decompressor; the others are brought into it."""

        @property
        def eof(self) -> bool: ...

        @property
        def needs_input(self) -> bool: ...

        @property
        def unused_data(self) -> bytes: ...

        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_INPUT = 128 * 1024
_MEMORY_LIMIT = 256 * 1024 * 1024  # of an xz or zstd stream's window; `xz -9` needs 65 MiB
_GZIP = b"\x1f\x8b\x08"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f
_LONGEST_MAGIC = 6


def is_zstd(head: bytes) -> bool:
    """Whether the bytes begin a zstd frame, skippable ones included."""
    return head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50)


def sniff(head: bytes) -> str:
    """`gzip`, `bzip2`, `xz`, `zstd` or `plain`, from the first six bytes or more."""
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_BZIP2) and head[3:4].isdigit():
        return "bzip2"
    if head.startswith(_XZ):
        return "xz"
    return "zstd" if is_zstd(head) else "plain"


class DecompressingReader:
    """The uncompressed content of a stream. `kind` is what `sniff` found. The stream stays the caller's to close."""

    def __init__(self, stream: ByteStream) -> None:
        head = b""
        while len(head) < _LONGEST_MAGIC:
            more = stream.read(_INPUT)
            if not more:
                break
            head += more
        self.kind = sniff(head)
        self._source = _OPENERS[self.kind](Prefixed(head, stream))

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end, which is only told once everything was checked.

        Raises Damaged, and whatever the stream itself raises.
        """
        return self._source.read(size)

    def close(self) -> None:
        """Free what decompression holds, a helper process above all. Idempotent."""
        close = getattr(self._source, "close", None)
        if close:
            close()

    def __enter__(self) -> DecompressingReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Prefixed:
    """A stream with bytes before it that were read already."""

    def __init__(self, head: bytes, stream: ByteStream) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not self._head:
            return self._stream.read(size)
        taken, self._head = self._head[:size], self._head[size:]
        return taken


class _Members:
    """The members (streams, frames) of one format, one after another, as one stream."""

    def __init__(
        self,
        stream: Prefixed,
        kind: str,
        make: Callable[[], Decompressor],
        begins: Callable[[bytes], bool],
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._stream = stream
        self._kind = kind
        self._make = make
        self._begins = begins
        self._errors = errors
        self._decompressor: Decompressor | None = make()
        self._between = b""  # input after the end of a member

    def read(self, size: int) -> bytes:
        while self._decompressor is not None:
            data = b""
            if self._decompressor.needs_input:
                data, self._between = self._between or self._stream.read(_INPUT), b""
                if not data:
                    raise Damaged(f"decompress {self._kind}: the stream is cut off")
            try:
                result = self._decompressor.decompress(data, size)
            except self._errors as error:
                raise Damaged(f"decompress {self._kind}: {error}") from error
            if self._decompressor.eof:
                self._finish_member(self._decompressor.unused_data)
            if result:
                return result
        return b""

    def _finish_member(self, rest: bytes) -> None:
        """Go on with the next member, or find that there is none and nothing else either."""
        rest = self._without_padding(rest)
        while len(rest) < _LONGEST_MAGIC:
            more = self._stream.read(_INPUT)
            if not more:
                break
            rest += more
        if rest and not self._begins(rest):
            raise Damaged(f"decompress {self._kind}: something else follows the end of the stream")
        self._between = rest
        self._decompressor = self._make() if rest else None

    def _without_padding(self, rest: bytes) -> bytes:
        """xz allows zeros between and after streams, in fours; the other formats have nothing of that kind."""
        if self._kind != "xz":
            return rest
        zeros = 0
        while True:
            rest = rest or self._stream.read(_INPUT)
            stripped = rest.lstrip(b"\0")
            zeros += len(rest) - len(stripped)
            if stripped or not rest:
                break
            rest = b""
        if zeros % 4:
            raise Damaged("decompress xz: the padding is not a multiple of four bytes")
        return stripped


class _Inflater:
    """zlib's decompressor (or isal's, which has its form) in the form of bz2's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._tail = b""
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        inner = self._inner
        result: bytes = inner.decompress(self._tail or data, max_length)
        self._tail = inner.unconsumed_tail
        if inner.eof:
            self.eof, self.unused_data = True, inner.unused_data
        self.needs_input = not self._tail and len(result) < max_length  # else it may hold output back
        return result


def _open_gzip(stream: Prefixed) -> ByteStream:
    import zlib

    errors: tuple[type[Exception], ...] = (zlib.error,)
    decompressobj: Any = zlib.decompressobj
    try:
        from isal import isal_zlib  # type: ignore[import-not-found, unused-ignore]  # twice as fast, where installed
    except ImportError:
        pass
    else:
        decompressobj = isal_zlib.decompressobj
        errors = (zlib.error, isal_zlib.error)
    return _Members(stream, "gzip", lambda: _Inflater(decompressobj(31)), lambda head: head.startswith(_GZIP), errors)


def _open_bzip2(stream: Prefixed) -> ByteStream:
    try:
        from bz2 import BZ2Decompressor
    except ImportError as error:
        raise _missing("bzip2", "the module bz2") from error
    return _Members(
        stream, "bzip2", BZ2Decompressor, lambda head: head.startswith(_BZIP2), (OSError, ValueError, EOFError)
    )


def _open_xz(stream: Prefixed) -> ByteStream:
    try:
        from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
    except ImportError as error:
        raise _missing("xz", "the module lzma") from error
    return _Members(
        stream,
        "xz",
        lambda: LZMADecompressor(FORMAT_XZ, memlimit=_MEMORY_LIMIT),
        lambda head: head.startswith(_XZ),
        (LZMAError, EOFError),
    )


def _missing(kind: str, what: str) -> Unsupported:
    return Unsupported(
        f"decompress {kind}: this host's Python lacks {what}", hint=f"install it, or recompress without {kind}"
    )


def _open_zstd(stream: Prefixed) -> ByteStream:
    from .zstd import ZstdCommand, decompressor

    made = decompressor()
    return ZstdCommand(stream) if made is None else _Members(stream, "zstd", made[0], is_zstd, made[1])


_OPENERS: dict[str, Callable[[Prefixed], ByteStream]] = {
    "plain": lambda stream: stream,
    "gzip": _open_gzip,
    "bzip2": _open_bzip2,
    "xz": _open_xz,
    "zstd": _open_zstd,
}
