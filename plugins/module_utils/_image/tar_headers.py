# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The fields of tar headers: numbers, pax records and maps of sparse files. Bytes in, values out; nothing is read here.

Source: POSIX.1-2024 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format" and
"Storing Sparse Files".
"""

from __future__ import annotations

from .._base.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Segments = list[tuple[int, int]]  # (offset in the file, length), ascending

BLOCK = 512
MAX_SEGMENTS = 1 << 18

_OLD_HEADER_SEGMENTS = 4
_EXTENSION_SEGMENTS = 21
_SEGMENT = 24  # offset and length, 12 bytes each
_OLD_MAP = 386
_OLD_IS_EXTENDED = 482
_OLD_REAL_SIZE = slice(483, 495)
_EXTENSION_IS_EXTENDED = 504


def parse_number(field: bytes, what: str) -> int:
    """An octal number, or GNU's base-256 for what is too large or negative. An empty field is 0. Raises Damaged."""
    if field and field[0] & 0x80:
        if field[0] == 0xFF:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        if text.isdigit():  # int() would take a sign and underscores too
            return int(text, 8)
    except ValueError:
        pass
    raise Damaged(f"read tar: {what} is not a number: {text!r}")


def parse_decimal(text: bytes, what: str) -> int:
    """A decimal number of a pax record. Raises Damaged."""
    if not text.isdigit() or len(text) > 20:
        raise Damaged(f"read tar: {what} is not a number: {text[:40]!r}")
    return int(text)


def parse_pax_time(text: bytes) -> int:
    """Nanoseconds from seconds with a fraction, which may be negative. Raises Damaged."""
    whole, _, fraction = text.partition(b".")
    digits = whole[1:] if whole[:1] == b"-" else whole
    if not (digits + fraction).isdigit() or len(digits) > 20:
        raise Damaged(f"read tar: mtime is not a time: {text[:40]!r}")
    value = int(digits or b"0") * 10**9 + int((fraction + b"000000000")[:9])
    return -value if whole[:1] == b"-" else value


def parse_pax(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records of a pax header in order; keys may repeat (sparse maps of version 0.0). Raises Damaged."""
    records = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 12)
        length = data[position:space]
        if space < 0 or not length.isdigit():
            if not data[position:].strip(b"\0"):
                break  # padding that someone counted in
            raise Damaged("read tar: a pax header has a record without a length")
        stop = position + int(length)
        equals = data.find(b"=", space, stop)
        if equals < 0 or stop > end or data[stop - 1] != 0x0A:
            raise Damaged("read tar: a pax header has a malformed record")
        records.append((data[space + 1 : equals], data[equals + 1 : stop - 1]))
        position = stop
    return records


def check_segments(segments: Segments, stored: int, real_size: int) -> Segments:
    """A sparse file's map, if it is one: ascending, within the file, as long together as the stored data."""
    end = total = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise Damaged("read tar: a sparse file's map is not in order")
        end, total = offset + length, total + length
    if end > real_size or total != stored:
        raise Damaged("read tar: a sparse file's map does not fit its size")
    return segments


def segments_from_numbers(numbers: Sequence[int]) -> Segments:
    """Pairs of offset and length."""
    if len(numbers) % 2:
        raise Damaged("read tar: a sparse file's map lacks a length")
    return list(zip(numbers[::2], numbers[1::2]))


class OldSparse:
    """The map of an old GNU sparse file: it begins in the header and goes on in extension blocks."""

    def __init__(self, header: bytes) -> None:
        self.real_size = parse_number(header[_OLD_REAL_SIZE], "size")
        self.is_extended = header[_OLD_IS_EXTENDED] != 0
        self.segments: Segments = []
        self._take(header[_OLD_MAP:], _OLD_HEADER_SEGMENTS)

    def extend(self, block: bytes) -> None:
        """Add the segments of one extension block."""
        self._take(block, _EXTENSION_SEGMENTS)
        self.is_extended = block[_EXTENSION_IS_EXTENDED] != 0
        if len(self.segments) > MAX_SEGMENTS:
            raise Damaged(f"read tar: a sparse file has over {MAX_SEGMENTS} pieces")

    def _take(self, data: bytes, count: int) -> None:
        for start in range(0, count * _SEGMENT, _SEGMENT):
            offset, length = data[start : start + 12], data[start + 12 : start + 24]
            if not offset.strip(b"\0"):
                break
            self.segments.append((parse_number(offset, "offset"), parse_number(length, "length")))
