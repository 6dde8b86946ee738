# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The tar of a root file system in what people call a template, as the layer that it becomes.

`docker export`, debootstrap and OpenVZ templates hold the root itself, with or without `./` before the names: they are
taken bit for bit. An LXC or Incus image holds `metadata.yaml`, `templates/` and the root below `rootfs/`: of that the
root is taken, its entries written anew without the prefix. Which it is, the first name in the archive says.
"""

from __future__ import annotations

from .._base.errors import Damaged, Unsupported
from .._base.values import Value
from .archive_files import joined
from .compression import DecompressingReader, Prefixed
from .packing import PieceStream
from .tar import FILE, HARD_LINK, TarReader, shown
from .tar_writer import TarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .compression import ByteStream
    from .tar import Entry

_ROOT = b"rootfs"
_BESIDE = (b"metadata.yaml", b"templates", b"backup.yaml", b"config", b"fstab", _ROOT)
_LEADING = (b"metadata.yaml", _ROOT)
_OTHERS = {
    b"hsqs": ("a squashfs image", "unsquashfs unpacks it; pack that with tar -C squashfs-root -c ."),
    b"PK\x03\x04": ("a zip archive", "unzip it and pack that with tar -C DIRECTORY -c ."),
    b"QFI\xfb": ("a disk image", "import the tarball of a root file system instead"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "recompress it with zstd or gzip"),
}
_MOST_HEAD = 4 * 1024 * 1024  # bytes of the stream before the first name; no template has as many
_MOST_ROOTS = 8  # entries for the root itself before another name
_PIECE = 256 * 1024


class Survey(Value):
    """What a tar would become as a layer, found without unpacking it."""

    diff_id: str
    stream_bytes: int
    entries: int
    newest_ns: int


class Template:
    """A template's bytes as those of its layer: as they come, maybe compressed, or the tar of what is below `rootfs/`.

    To be used with `with`; the stream stays open.
    """

    def __init__(self, stream: ByteStream, what: str) -> None:
        self._stream = stream
        self._what = what
        self._content: DecompressingReader | None = None
        self._source: ByteStream | None = None

    def __enter__(self) -> Template:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._content is not None:
            self._content.close()

    def read(self, size: int) -> bytes:
        """As a file's read."""
        if self._source is None:
            self._source = self._open()
        return self._source.read(size)

    def _open(self) -> ByteStream:
        kept = _Kept(self._stream)
        with DecompressingReader(kept) as content:
            leading = _leading_name(TarReader(content, what=self._what))
        if leading not in _LEADING:
            _check_kind(kept.head, self._what)
            return kept.again()
        self._content = DecompressingReader(kept.again())
        return PieceStream(_rewritten(TarReader(self._content, what=self._what), self._what))


def _leading_name(reader: TarReader) -> bytes:
    """The first component of the first name but the root's; nothing where this is no tar, which is found out later."""
    try:
        for entry, _ in zip(reader, range(_MOST_ROOTS)):
            name = joined(b"", entry.name)
            if name:
                return name.partition(b"/")[0]
    except Damaged:
        pass
    return b""


def _check_kind(head: bytes, what: str) -> None:
    for magic, (name, cure) in _OTHERS.items():
        if head.startswith(magic):
            raise Unsupported(f"import {what}: {name}", hint=cure)


class _Kept:
    """A stream of which the beginning is read twice."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.head = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.head += data
        if len(self.head) > _MOST_HEAD:
            raise Damaged(f"the first name comes after more than {_MOST_HEAD} bytes")
        return data

    def again(self) -> ByteStream:
        return Prefixed(self.head, self._stream)


def _rewritten(reader: TarReader, what: str) -> Iterator[bytes]:
    """The tar of what lies below `rootfs/`."""
    out: list[bytes] = []
    writer = TarWriter(out.append)
    found = False
    for entry in reader:
        name = joined(b"", entry.name)
        if name != _ROOT and not name.startswith(_ROOT + b"/"):
            if name and name.partition(b"/")[0] not in _BESIDE:
                raise Damaged(
                    f"import {what}: it holds rootfs and, beside it, {shown(name)}",
                    hint="a tarball has the root file system itself or, as LXC images, below rootfs/",
                )
            continue
        found = True
        entry.name = name[len(_ROOT) + 1 :] or b"./"
        if entry.kind == HARD_LINK:
            entry.link = _inside(entry, what)
        entry.size = entry.size if entry.kind == FILE else 0
        writer.add(entry)
        for piece in _data(reader, entry):
            writer.write_data(piece)
            yield b"".join(out)
            out.clear()
    reader.drain()
    if not found:
        raise Damaged(
            f"import {what}: the metadata of an LXC image, without its root file system",
            hint="import the file beside it, rootfs.tar.xz",
        )
    writer.finish()
    yield b"".join(out)


def _inside(entry: Entry, what: str) -> bytes:
    target = joined(b"", entry.link)
    if not target.startswith(_ROOT + b"/"):
        raise Damaged(f"import {what}: {shown(entry.name)} is a hard link to {shown(target)}, outside of rootfs")
    return target[len(_ROOT) + 1 :]


def _data(reader: TarReader, entry: Entry) -> Iterator[bytes]:
    """The content of a file, holes as zeros."""
    if entry.kind != FILE:
        return
    piece, end = b"", 0
    for offset, length in entry.segments if entry.segments is not None else ((0, entry.size),):
        yield from _zeros(offset - end)
        end = offset + length
        while length:
            piece = piece or bytes(reader.read_some())
            yield piece[:length]
            taken = min(length, len(piece))
            piece, length = piece[taken:], length - taken
    yield from _zeros(entry.size - end)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _PIECE))
        count -= _PIECE


def survey(stream: ByteStream, what: str) -> Survey:
    """Read a tar, compressed or not, to its end and tell what `unpack` would. Raises Damaged as it does."""
    from hashlib import sha256

    digest = sha256()
    entries = newest_ns = 0
    with DecompressingReader(stream) as content:
        reader = TarReader(content, what=what, digest=digest)
        for entry in reader:
            entries += 1
            newest_ns = max(newest_ns, entry.mtime_ns)
        reader.drain()
    return Survey("sha256:" + digest.hexdigest(), reader.size_bytes, entries, newest_ns)
