# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A reader of tar streams: forward only, names as bytes, every limit and check of what an enemy may have written.

Reads ustar, pax (local and global headers), GNU long names, GNU sparse files (old, 0.0, 0.1, 1.0) and old tars without
magic. It interprets headers; what a name may be and what is done with an entry is the caller's. Python's tarfile is not
used: it is ten times slower here, and wants to seek or to keep all members.

Source: as in tar_headers.py.
"""

from __future__ import annotations

from struct import Struct
from zlib import adler32

from .._base.errors import Damaged
from .tar_headers import (
    BLOCK,
    MAX_SEGMENTS,
    OldSparse,
    check_segments,
    parse_decimal,
    parse_number,
    parse_pax,
    parse_pax_time,
    segments_from_numbers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .compression import ByteStream
    from .tar_headers import Segments

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS = frozenset((FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_OLD_FILE, _CONTIGUOUS, _OLD_SPARSE = b"\0", b"7", b"S"
_PAX, _SOLARIS_PAX, _GLOBAL_PAX, _LONG_NAME, _LONG_LINK = b"x", b"X", b"g", b"L", b"K"
_META = frozenset((_PAX, _SOLARIS_PAX, _GLOBAL_PAX, _LONG_NAME, _LONG_LINK))

# name, mode, uid, gid, size, mtime, checksum, type, link name, magic and version, device numbers, prefix
_HEADER = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_ZEROS = bytes(BLOCK)
_POSIX = b"ustar\x0000"
_CHUNK = 256 * 1024
_HEADERS_ONLY = 4096
_MOST_NUMBERS = 4096
_UNPLACED = "read tar: "  # how errors begin that do not say yet in which archive and entry
_NUL = "read tar: the name has a NUL byte in it"
_MAX_META = 1024 * 1024
_MOST_DEFAULTS = 256  # records of global headers that are kept, since each entry looks at all of them
_MAX_NUMBER_ID = 0xFFFFFFFE  # 2^32 - 1 means "do not change" to chown(2)
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_PREFIXES = (_XATTR, _SPARSE)
_KEYS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))  # of records, besides these


def shown(name: bytes) -> str:
    """A name from an archive as it may stand in a message: printable, and not endless."""
    text = name.decode("utf-8", "backslashreplace")
    clean = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:200])
    return clean + ("..." if len(text) > 200 else "")


class Entry:
    """One entry of an archive. `kind` is one of the constants above; `size` is the file's, not what is stored of it."""

    __slots__ = (
        "device",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "name",
        "segments",
        "size",
        "stored",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    stored: int  # bytes of data in the archive
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes] | None
    segments: Segments | None  # of a sparse file: where the stored bytes belong


class TarReader:
    """The entries of one tar stream, by iteration. While an entry is current its data is read with `read_some`.

    `what` names the archive in messages. `max_bytes` is a limit of the stream's length, `digest` an object of hashlib
    that gets every byte of it (call `drain` to reach the end). The stream stays the caller's to close. With `skip`,
    which moves the stream forward, data is passed over unread; it excludes a digest.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        what: str,
        max_bytes: int = 0,
        digest: Any = None,
        skip: Callable[[int], None] | None = None,
    ) -> None:
        self.size_bytes = 0  # of the stream, as far as it was read
        self._stream = stream
        self._what = what
        self._max_bytes = max_bytes
        self._update = digest.update if digest is not None else None
        self._skip_stream = skip
        self._chunk = _CHUNK if skip is None else _HEADERS_ONLY
        self._buffer = b""
        self._position = 0
        self._left = 0  # of the current entry's data
        self._padding = 0  # after it
        self._name = b""
        self._defaults: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        while True:
            entry = self.next_entry()
            if entry is None:
                return
            yield entry

    def next_entry(self) -> Entry | None:
        """The next entry, None at the end. What was not read of the current one's data is skipped. Raises Damaged."""
        if self._left or self._padding:
            self._skip(self._left)
            self._skip(self._padding, may_end=True)  # some writers leave the last padding out
            self._left = self._padding = 0
        header = self._header()
        if header is None:
            return None
        fields = _HEADER.unpack(header)
        before = self._name
        try:
            if fields[7] in _META:
                return self._after_meta(fields)
            return self._entry(fields, header)
        except Damaged as error:
            if not error.message.startswith(_UNPLACED):
                raise
            name = self._name if self._name is not before else fields[0].partition(b"\0")[0]
            text = error.message[len(_UNPLACED) :]
            raise Damaged(f"read {self._what}: entry {shown(name)}: {text}") from error

    # the stream

    def _fill(self, wanted: int) -> bool:
        """Have at least so many bytes in the buffer; False where the stream ends before."""
        pieces = [self._buffer[self._position :]] if self._position < len(self._buffer) else []
        have = len(self._buffer) - self._position
        while have < wanted:
            data = self._stream.read(self._chunk)
            if not data:
                break
            self._account(data)
            pieces.append(data)
            have += len(data)
        self._buffer = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._position = 0
        return have >= wanted

    def _account(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self._update is not None:
            self._update(data)
        if self._max_bytes and self.size_bytes > self._max_bytes:
            raise Damaged(f"read {self._what}: larger than the limit of {self._max_bytes} bytes")

    def _take(self, count: int) -> bytes:
        if len(self._buffer) - self._position < count and not self._fill(count):
            raise self._truncated()
        start = self._position
        self._position = start + count
        return self._buffer[start : start + count]

    def _truncated(self) -> Damaged:
        where = f"in entry {shown(self._name)}" if self._name else "in a header"
        return Damaged(f"read {self._what}: the archive is cut off {where}")

    def _skip(self, count: int, *, may_end: bool = False) -> None:
        while count > 0:
            have = len(self._buffer) - self._position
            if have >= count:
                self._position += count
                return
            count -= have
            self._position = len(self._buffer)
            if self._skip_stream is not None:
                self._skip_stream(count)
                self.size_bytes += count
                return
            if not self._fill(1):
                if may_end:
                    return
                raise self._truncated()

    def read_some(self) -> bytes | memoryview:
        """The next bytes of the current entry's data, as many as are at hand; none at their end.

        Valid until the next call of anything here. Raises Damaged where the archive is cut off.
        """
        left = self._left
        if not left:
            return b""
        start = self._position
        have = len(self._buffer) - start
        if not have:
            if not self._fill(1):
                raise self._truncated()
            start, have = 0, len(self._buffer)
        count = left if left < have else have
        self._position = start + count
        self._left = left - count
        return memoryview(self._buffer)[start : start + count]

    @property
    def position(self) -> int:
        """How far into the stream the reader is: between `next_entry` and reading, where the entry's data begins."""
        return self.size_bytes - (len(self._buffer) - self._position)

    def read_all(self, limit: int) -> bytes:
        """The whole data of the current entry. Raises Damaged where it is larger than `limit`."""
        if self._left > limit:
            raise Damaged(f"read {self._what}: {shown(self._name)} has {self._left} bytes, the limit is {limit}")
        pieces = []
        while self._left:
            pieces.append(bytes(self.read_some()))
        return b"".join(pieces)

    def drain(self) -> None:
        """Read what follows the archive's end, so that the digest has seen all of the stream."""
        self._buffer, self._position = b"", 0
        self._left = self._padding = 0
        while True:
            data = self._stream.read(self._chunk)
            if not data:
                return
            self._account(data)

    # headers

    def _header(self) -> bytes | None:
        """The next header block, its check sum verified; None at a block of zeros or at the stream's end."""
        start = self._position
        header = self._buffer[start : start + BLOCK]
        if len(header) == BLOCK:
            self._position = start + BLOCK
        else:
            if not self._fill(1):
                return None
            self._name = b""
            header = self._take(BLOCK)
        if header == _ZEROS:
            return None
        if not is_header(header):
            last = f"the header after {shown(self._name)}" if self._name else "the first header"
            raise Damaged(f"read {self._what}: {last} is not one of a tar archive (wrong check sum)")
        return header

    def _number(self, field: bytes, what: str) -> int:
        """`parse_number` with a memory: most entries of an archive have the same few owners, modes and times."""
        value = self._numbers.get(field)
        if value is None:
            if len(self._numbers) >= _MOST_NUMBERS:
                self._numbers.clear()
            value = self._numbers[field] = parse_number(field, what)
        return value

    def _after_meta(self, fields: tuple[Any, ...]) -> Entry | None:
        """The entry that one or more extended headers are about."""
        records: list[tuple[bytes, bytes]] = []
        name = link = b""
        while fields[7] in _META:
            kind, data = fields[7], self._meta_data(fields)
            if kind == _LONG_NAME:
                name = data.partition(b"\0")[0]
            elif kind == _LONG_LINK:
                link = data.partition(b"\0")[0]
            elif kind == _GLOBAL_PAX:
                self._take_defaults(parse_pax(data))
            else:
                records = parse_pax(data)
            found = self._header()
            if found is None:
                if kind == _GLOBAL_PAX and not (records or name or link):
                    return None
                raise Damaged(f"read {self._what}: the archive ends after an extended header")
            header, fields = found, _HEADER.unpack(found)
        return self._entry(fields, header, name, link, records)

    def _take_defaults(self, records: list[tuple[bytes, bytes]]) -> None:
        """Keep what a global header says of all entries after it, if it means something here."""
        self._defaults.update((key, value) for key, value in records if key in _KEYS or key.startswith(_PREFIXES))
        size = sum(len(key) + len(value) for key, value in self._defaults.items())
        if len(self._defaults) > _MOST_DEFAULTS or size > _MAX_META:
            raise Damaged(
                f"read tar: global headers with more than {_MOST_DEFAULTS} records, or more than {_MAX_META} bytes"
            )

    def _meta_data(self, fields: tuple[Any, ...]) -> bytes:
        size = parse_number(fields[4], "size")
        if not 0 <= size <= _MAX_META:
            raise Damaged(f"read tar: an extended header of {size} bytes, the limit is {_MAX_META}")
        data = self._take(size)
        self._skip(-size % BLOCK)
        return data

    def _entry(
        self,
        fields: tuple[Any, ...],
        header: bytes,
        name: bytes = b"",
        link: bytes = b"",
        records: list[tuple[bytes, bytes]] | None = None,
    ) -> Entry:
        raw_name, mode, uid, gid, size, mtime, _sum, kind, raw_link, magic, major, minor, prefix = fields
        entry = Entry()
        entry.name = name or raw_name.partition(b"\0")[0]
        if not name and magic == _POSIX and prefix[0]:
            entry.name = prefix.partition(b"\0")[0] + b"/" + entry.name
        self._name = entry.name
        entry.link = link or raw_link.partition(b"\0")[0]
        entry.mode = self._number(mode, "mode") & 0o7777
        entry.uid = self._number(uid, "uid")
        entry.gid = self._number(gid, "gid")
        entry.size = entry.stored = parse_number(size, "size")
        entry.mtime_ns = self._number(mtime, "mtime") * 1_000_000_000
        entry.device = (0, 0)
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = (parse_number(major, "device number"), parse_number(minor, "device number"))
        entry.xattrs = entry.segments = None
        sparse = None
        if records or self._defaults:
            sparse = self._apply_pax(entry, records or [])
        entry.kind = self._kind(kind, entry)
        self._begin_data(entry, header if kind == _OLD_SPARSE else b"", sparse)
        return entry

    def _kind(self, kind: bytes, entry: Entry) -> bytes:
        if kind == FILE or kind in _KINDS:
            return kind
        if kind == _OLD_FILE:
            return DIRECTORY if entry.name.endswith(b"/") else FILE
        if kind in (_CONTIGUOUS, _OLD_SPARSE):
            return FILE
        raise Damaged(f"read tar: an entry of unknown type {kind!r}")

    def _apply_pax(self, entry: Entry, records: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Let pax records override the header's fields; those about sparse files come back."""
        sparse = []
        for key, value in [*self._defaults.items(), *records]:
            if key.startswith(_SPARSE):
                sparse.append((key[len(_SPARSE) :], value))
            elif key.startswith(_XATTR):
                entry.xattrs = entry.xattrs or {}
                entry.xattrs[key[len(_XATTR) :]] = value
            elif not value:
                continue
            elif key == b"path":
                entry.name = self._name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"size":
                entry.size = entry.stored = parse_decimal(value, "size")
            elif key == b"uid":
                entry.uid = parse_decimal(value, "uid")
            elif key == b"gid":
                entry.gid = parse_decimal(value, "gid")
            elif key == b"mtime":
                entry.mtime_ns = parse_pax_time(value)
        return sparse

    def _begin_data(self, entry: Entry, old_sparse: bytes, sparse: list[tuple[bytes, bytes]] | None) -> None:
        """Check the entry's fields and stand at the beginning of its data."""
        if not 0 <= entry.uid <= _MAX_NUMBER_ID or not 0 <= entry.gid <= _MAX_NUMBER_ID:
            raise Damaged(f"read tar: user {entry.uid} and group {entry.gid} are not both valid")
        if entry.size < 0:
            raise Damaged(f"read tar: the size is {entry.size}")
        if b"\0" in entry.name or b"\0" in entry.link:
            raise Damaged(_NUL)
        if entry.kind != FILE:
            entry.size = entry.stored = 0  # links may repeat their target's size; there is no data
        self._left, self._padding = entry.stored, -entry.stored % BLOCK
        if old_sparse:
            self._old_sparse(entry, old_sparse)
        elif sparse:
            self._pax_sparse(entry, sparse)

    def _old_sparse(self, entry: Entry, header: bytes) -> None:
        found = OldSparse(header)
        while found.is_extended:
            found.extend(self._take(BLOCK))
        entry.size = found.real_size
        entry.segments = check_segments(found.segments, entry.stored, entry.size)

    def _pax_sparse(self, entry: Entry, records: list[tuple[bytes, bytes]]) -> None:
        """The three pax forms: repeated records (0.0), one record (0.1), a map before the data (1.0)."""
        fields = dict(records)
        if b"name" in fields:
            entry.name = self._name = fields[b"name"]
            if b"\0" in entry.name:
                raise Damaged(_NUL)
        real_size = fields.get(b"realsize", fields.get(b"size"))
        if real_size is None:
            return
        entry.size = parse_decimal(real_size, "sparse size")
        if fields.get(b"major") == b"1":
            numbers = self._sparse_map_before_data()
            entry.stored = self._left
        elif b"map" in fields:
            text = fields[b"map"]
            numbers = [parse_decimal(item, "sparse map") for item in text.split(b",")] if text else []
        else:
            numbers = [parse_decimal(value, "sparse map") for key, value in records if key in (b"offset", b"numbytes")]
        entry.segments = check_segments(segments_from_numbers(numbers), entry.stored, entry.size)

    def _sparse_map_before_data(self) -> list[int]:
        """Decimal lines in whole blocks: a count, then offset and length of each piece."""
        lines: list[bytes] = []
        rest, wanted = b"", 1
        while len(lines) < wanted:
            if self._left < BLOCK:
                raise Damaged("read tar: a sparse file's map is longer than its data")
            self._left -= BLOCK
            *found, rest = (rest + self._take(BLOCK)).split(b"\n")
            lines += found
            if wanted == 1 and lines:
                wanted = 1 + 2 * parse_decimal(lines[0], "sparse map")
                if wanted > 2 * MAX_SEGMENTS:
                    raise Damaged(f"read tar: a sparse file has over {MAX_SEGMENTS} pieces")
            if len(rest) > 20 and len(lines) < wanted:
                raise Damaged("read tar: a sparse file's map is malformed")
        return [parse_decimal(line, "sparse map") for line in lines[1:wanted]]


def is_header(header: bytes) -> bool:
    """Whether a block is a header: it has the sum of its bytes in it, the field of the sum counted as blanks.

    The lower half of Adler-32 is the sum plus one, modulo 65521, twenty times as fast as `sum`. Old tars added signed
    characters up, which makes every byte above 127 less by 256.
    """
    field = header[148:156]
    try:
        stated = parse_number(field, "check sum")
    except Damaged:
        return False
    missing = stated + 1 + sum(field) - 256 - (adler32(header) & 0xFFFF)
    return missing % 65521 == 0 or (missing + 256 * sum(byte > 127 for byte in header)) % 65521 == 0
