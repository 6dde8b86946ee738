# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Tar archives written so that equal entries give equal bytes, whoever writes them and when.

ustar where it fits, one pax header before an entry where it does not: long names, large ids and sizes, times with
nanoseconds or before 1970, extended attributes (`SCHILY.xattr.`). No user names, no clock, no padding to records.
Names are bytes; one that has to go into a pax header and is not UTF-8 stands there raw, and `hdrcharset=BINARY` says
so. Which entries there are and in which order is the caller's.

Source: as in tar_headers.py.
"""

from __future__ import annotations

from struct import Struct
from zlib import adler32

from .tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FILE, Entry
from .tar_headers import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

END = bytes(2 * BLOCK)

# name, mode, uid, gid, size, mtime, check sum, type, link name, magic and version, device numbers, prefix
_HEADER = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_BLANK_SUM = b"        "
_MAGIC = b"ustar\x0000"
_NAME, _PREFIX = 100, 155
_LARGEST_ID = 0o7777777
_LARGEST_NUMBER = 0o77777777777  # of bytes and of seconds
_SECOND = 1_000_000_000
_NOTHING = bytes(8)
_SUM_AT = 148
_PAX_NAME = b"././@PaxHeader"  # who knows pax does not look at it
_PADDING = bytes(BLOCK)
_NAMES = (b"path", b"linkpath")


def make_entry(name: bytes, kind: bytes = FILE, **fields: Any) -> Entry:
    """An entry; what is not given is root's, empty, from 1970 and has mode 0644, a directory 0755."""
    entry = Entry()
    entry.name, entry.kind = name, kind
    entry.mode = 0o755 if kind == DIRECTORY else 0o644
    entry.uid = entry.gid = entry.size = entry.stored = entry.mtime_ns = 0
    entry.link, entry.device, entry.xattrs, entry.segments = b"", (0, 0), None, None
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def sparse_header_of(entry: Entry, pieces: list[tuple[int, int]]) -> bytes:
    """The blocks before the data of a file with holes: its data are the pieces, (offset, length) in order, joined.

    `entry.size` is the file's whole size. GNU tar's form 1.0, which Go's and BSD's readers know too; an empty piece at
    the end tells it the size where the file ends with a hole.
    """
    if not pieces or sum(pieces[-1]) < entry.size:
        pieces = [*pieces, (entry.size, 0)]
    numbers = (len(pieces), *(number for piece in pieces for number in piece))
    table = b"".join(b"%d\n" % number for number in numbers)
    table += bytes(-len(table) % BLOCK)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.realsize", b"%d" % entry.size),
    ]
    real_size, entry.size = entry.size, len(table) + sum(length for _, length in pieces)
    try:
        return header_of(entry, records) + table
    finally:
        entry.size = real_size


def header_of(entry: Entry, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The blocks that stand before an entry's data. A directory's name may come with or without its final slash.

    `more` are further pax records.
    """
    name = entry.name
    if entry.kind == DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    records = list(more)
    prefix = b""
    if len(name) > _NAME:
        prefix, short = _split(name)
        if not prefix:
            records.append((b"path", name))
        name = short
    if len(entry.link) > _NAME:
        records.append((b"linkpath", entry.link))
    seconds, rest = divmod(entry.mtime_ns, _SECOND)
    if not 0 <= seconds <= _LARGEST_NUMBER:
        records.append((b"mtime", _time(entry.mtime_ns)))
        seconds = min(max(seconds, 0), _LARGEST_NUMBER)
    elif rest:
        records.append((b"mtime", b"%d.%09d" % (seconds, rest)))
    if entry.uid > _LARGEST_ID:
        records.append((b"uid", b"%d" % entry.uid))
    if entry.gid > _LARGEST_ID:
        records.append((b"gid", b"%d" % entry.gid))
    if entry.size > _LARGEST_NUMBER:
        records.append((b"size", b"%d" % entry.size))
    if entry.xattrs:
        records += [(b"SCHILY.xattr." + key, value) for key, value in sorted(entry.xattrs.items())]
    header = _block(entry, name, prefix, seconds)
    return _pax(records) + header if records else header


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A long name as ustar's prefix and rest, or an empty prefix and the name cut off."""
    cut = name.find(b"/", max(len(name) - _NAME - 1, 1), len(name) - 1)
    if 0 < cut <= _PREFIX:
        return name[:cut], name[cut + 1 :]
    return b"", name[:_NAME]


def _time(time_ns: int) -> bytes:
    seconds, rest = divmod(abs(time_ns), _SECOND)
    text = b"%d.%09d" % (seconds, rest) if rest else b"%d" % seconds
    return b"-" + text if time_ns < 0 else text


def _block(entry: Entry, name: bytes, prefix: bytes, seconds: int) -> bytes:
    is_device = entry.kind in (CHARACTER, BLOCK_DEVICE)
    block = _HEADER.pack(
        name,
        b"%07o" % entry.mode,
        b"%07o" % (entry.uid if entry.uid <= _LARGEST_ID else 0),
        b"%07o" % (entry.gid if entry.gid <= _LARGEST_ID else 0),
        b"%011o" % (entry.size if entry.size <= _LARGEST_NUMBER else 0),
        b"%011o" % seconds,
        _BLANK_SUM,
        entry.kind,
        entry.link[:_NAME],
        _MAGIC,
        b"%07o" % entry.device[0] if is_device else _NOTHING,
        b"%07o" % entry.device[1] if is_device else _NOTHING,
        prefix,
    )
    # Adler-32's lower half is the sum plus one, modulo 65521, which 512 ASCII characters don't reach.
    total = (adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
    return b"%b%06o\0 %b" % (block[:_SUM_AT], total, block[_SUM_AT + 8 :])


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    """An extended header with these records, its data and padding."""
    for key, value in records:
        if key in _NAMES and not _is_utf8(value):
            records = [(b"hdrcharset", b"BINARY"), *records]
            break
    data = b"".join([_record(key, value) for key, value in records])
    size = len(data)
    if size > BLOCK:
        return _pax_block(size) + data + bytes(-size % BLOCK)
    block = _pax_blocks.get(size)
    if block is None:
        block = _pax_blocks[size] = _pax_block(size)
    return block + data + _PADDING[size:]


def _pax_block(size: int) -> bytes:
    return _block(make_entry(_PAX_NAME, b"x", size=size), _PAX_NAME, b"", 0)


_pax_blocks: dict[int, bytes] = {}  # by the size of the data, at most one block; most entries' are as long


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    """One pax record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    if len(b"%d" % length) > len(b"%d" % rest):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


class TarWriter:
    """An archive written piece by piece to `write`, which takes all of what it is given."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._padding = 0

    def add(self, entry: Entry) -> None:
        """Begin an entry; a file's data, exactly `entry.size` bytes, follows by `write_data`."""
        self._pad()
        self._write(header_of(entry))
        self._padding = -entry.size % BLOCK if entry.kind == FILE else 0

    def write_data(self, data: bytes) -> None:
        """More of the current file's data."""
        self._write(data)

    def add_file(self, name: bytes, data: bytes, **fields: Any) -> None:
        """A whole file from memory."""
        self.add(make_entry(name, size=len(data), **fields))
        self.write_data(data)

    def finish(self) -> None:
        """Write the end of the archive."""
        self._pad()
        self._write(END)

    def _pad(self) -> None:
        if self._padding:
            self._write(bytes(self._padding))
            self._padding = 0
