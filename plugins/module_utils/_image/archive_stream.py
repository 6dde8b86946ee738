# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An image archive that can be read only once: a pipe, a socket, anything compressed. No copy of it is made.

`docker save`, podman and skopeo put layers before the documents that say whose they are. So what looks like a layer is
unpacked into the store as it comes, under the diff ID that its content has, and what looks like a document is kept in
memory, small ones and few; when the stream has ended the documents say which layers were wanted. The others, and all of
them where anything is wrong, are removed again by the caller (`brought`, `kept`). Memory stays bounded whatever comes.

Progress is told as `progress(event, subject, done, total)`, the subject being the digest or digits in the file's name:
`exists`, `load` (bytes of the archived layer so far), `done`.
"""

from __future__ import annotations

import io
import os
from stat import S_ISDIR, S_ISREG

from .._base.digests import HEX_LENGTHS, is_digest
from .._base.errors import Damaged, HullError, NotFound, SyscallError, Unsupported
from .._base.values import Value
from .._store.layers import needs_repair
from .archive_files import ArchiveFiles, DirectoryFiles, Names, TarFiles, check_size
from .archive_layers import HashingStream, bring_or_repair, check_diff_id, is_here, located
from .archived_image import ArchivedLayer
from .compression import DecompressingReader, sniff
from .manifest import MAX_DOCUMENT
from .tar import FILE, TarReader, is_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from .archive_files import Destination
    from .compression import ByteStream
    from .unpack import Unpacked

_ANY = "sha256:"  # an algorithm where no digest is known before
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ has a name from Python 3.10 on
_HEAD = 512
_MOST_DOCUMENT_BYTES = 64 * 1024 * 1024
_MOST_PADDING = 16 * 1024 * 1024
_PIECE = 1024 * 1024


class _Arrived(Value):
    """What a file in the stream turned out to be: a document, a layer in the store, or neither."""

    size: int
    document: bytes | None = None
    digest: str = ""  # of the file, where it is a layer
    diff_id: str = ""
    failure: HullError | None = None  # why it is no layer, though it looked like one


class StreamedFiles(ArchiveFiles):
    """The files of a tar that comes as a stream, which `is_own` closes with this."""

    def __init__(self, stream: IO[bytes], what: str, *, is_own: bool = False) -> None:
        super().__init__(what)
        self._stream = stream
        self._is_own = is_own
        self._names = Names()
        self._files: dict[bytes, _Arrived] = {}
        self._document_bytes = 0

    def close(self) -> None:
        if self._is_own:
            self._stream.close()

    def receive(self, destination: Destination) -> None:
        """Read the stream to its end. Raises Damaged for what is no archive, SyscallError for a full disk."""
        from .layer_store import bring_layer  # noqa: F401  (before the first byte: the sender waits meanwhile)

        self._read(lambda stream, name: self._take_layer(destination, stream, name))

    def look(self) -> None:
        self._read(lambda stream, _name: _Arrived(stream.size))

    def _read(self, take_layer: Callable[[_EntryStream, bytes], _Arrived]) -> None:
        _widen(self._stream)
        with DecompressingReader(self._stream) as content:
            reader = TarReader(content, what=self.what)
            for entry in reader:
                name = self._names.add(self.what, entry)
                self._forget(name)
                if entry.kind == FILE and entry.segments is None:
                    stream = _EntryStream(reader, entry.stored)
                    is_layer = _is_layer(stream.peek(_HEAD))
                    self._files[name] = take_layer(stream, name) if is_layer else self._take_document(stream)
            self._drain(content)

    def _forget(self, name: bytes) -> None:
        """Let go of an earlier file of this name: the last one counts."""
        known = self._files.pop(name, None)
        self._document_bytes -= len(known.document or b"") if known else 0

    def _drain(self, content: ByteStream) -> None:
        """Read what follows the end of the tar, so that the sender can finish and check sums are looked at."""
        padding = 0
        while data := content.read(_PIECE):
            padding += len(data)
            if padding > _MOST_PADDING:
                raise Damaged(f"load {self.what}: over {_MOST_PADDING} bytes follow the end of the archive")

    def _take_document(self, stream: _EntryStream) -> _Arrived:
        if stream.size > MAX_DOCUMENT:
            return _Arrived(stream.size)
        self._document_bytes += stream.size
        if self._document_bytes > _MOST_DOCUMENT_BYTES:
            raise Damaged(f"load {self.what}: more than {_MOST_DOCUMENT_BYTES} bytes of documents")
        return _Arrived(stream.size, stream.read_all())

    def _take_layer(self, destination: Destination, stream: _EntryStream, name: bytes) -> _Arrived:
        """Unpack what looks like a layer, or only hash it where its name says that the store has it."""
        named = _digest_in(name)
        subject = named or name.decode("utf-8", "replace")
        is_plain = sniff(stream.peek(_HEAD)) == "plain"
        known = self._known(destination, named, is_plain)
        is_hashed_anyway = is_plain and not known and not named.startswith("sha512:")  # for the diff ID
        hashing = HashingStream(
            stream,
            "" if is_hashed_anyway else named or _ANY,
            lambda: destination.progress("load", subject, stream.position, stream.size),
        )
        try:
            if known:
                hashing.read_to_end()
                diff_id = known
                if hashing.digest != named:
                    raise Damaged(f"load {self.what}: the content of {subject} has another digest")
            else:
                blob = named if destination.keep_blobs and not is_plain and name.startswith(b"blobs/") else ""
                diff_id = self._unpack(destination, hashing, blob, diff_id=named if is_plain else "")
        except (Damaged, Unsupported) as error:
            if stream.is_cut:
                raise
            return _Arrived(stream.size, failure=error)
        destination.progress("exists" if known else "done", subject, stream.size, stream.size)
        return _Arrived(stream.size, None, hashing.digest or diff_id, diff_id)

    def _known(self, destination: Destination, named: str, is_plain: bool) -> str:
        """The diff ID of the layer in the store that a file of this name would be; empty where there is none."""
        record = None if is_plain or not named else destination.database.blob(named)
        diff_id = named if is_plain else record.diff_id if record else ""
        if not diff_id:
            return ""
        return diff_id if is_here(destination, ArchivedLayer(diff_id, "", named)) else ""

    def _unpack(self, destination: Destination, stream: HashingStream, blob: str, *, diff_id: str = "") -> str:
        """Bring the layer into the store under the diff ID that it has, which is the answer.

        `diff_id` is the one that its name promises, by which a damaged layer in the store is found.
        """

        def check(unpacked: Unpacked) -> None:
            if blob and stream.digest != blob:
                raise Damaged(f"load {self.what}: the content of blob {blob} has another digest")
            self.brought.add(unpacked.diff_id)
            self.kept.add(blob)

        return bring_or_repair(destination, diff_id, stream, blob, check).diff_id

    # what came, when the stream has ended

    def _find(self, name: str) -> _Arrived:
        found = self._names.find(name, self._files)
        if found is None:
            raise self.missing(name)
        return found

    def has(self, name: str) -> bool:
        return self._names.find(name, self._files) is not None

    def read(self, name: str, limit: int) -> bytes:
        found = self._find(name)
        check_size(self, name, found.size, limit)
        if found.document is None:
            raise Damaged(f"load {self.what}: {name} is not a document")
        return found.document

    def bring(self, destination: Destination, layers: Sequence[ArchivedLayer]) -> None:
        for layer in layers:
            found = self._find(layer.name)
            if layer.size not in (-1, found.size):
                raise Damaged(
                    f"load {self.what}: layer {layer.name} has {found.size} bytes, its manifest says {layer.size}"
                )
            if found.document is not None:  # a layer too short or too odd to look like one
                found = self._unpack_document(destination, found.document, layer)
            if isinstance(found.failure, Damaged):
                raise located(found.failure, self.what, layer.name) from found.failure
            if found.failure is not None:
                raise found.failure
            if layer.digest not in ("", found.digest):
                raise Damaged(f"load {self.what}: the content of layer {layer.name} has the digest {found.digest}")
            check_diff_id(self.what, layer, found.diff_id)
            self.checked.add((layer.diff_id, layer.digest))
            if needs_repair(destination.paths, layer.diff_id):
                raise Damaged(
                    f"load {self.what}: layer {layer.diff_id} in the store is damaged and was not mended",
                    hint="load the archive from a file: what is in it is known in time there",
                )
            if not is_here(destination, layer):
                raise HullError(
                    f"load {self.what}: layer {layer.diff_id} was removed while the archive was read",
                    hint="another process removes images; load it again",
                )

    def _unpack_document(self, destination: Destination, data: bytes, layer: ArchivedLayer) -> _Arrived:
        stream = HashingStream(io.BytesIO(data), layer.digest or _ANY, lambda: None)
        try:
            diff_id = self._unpack(destination, stream, "", diff_id=layer.diff_id)
        except Damaged as error:
            return _Arrived(len(data), failure=error)
        return _Arrived(len(data), None, stream.digest, diff_id)


class _EntryStream:
    """The data of the current entry of a tar as a stream of its own."""

    def __init__(self, reader: TarReader, size: int) -> None:
        self.size = size
        self.position = 0
        self.is_cut = False  # whether the archive itself ended in it
        self._reader = reader
        self._head = b""

    def peek(self, count: int) -> bytes:
        """The first bytes, before anything was read of them."""
        while len(self._head) < min(count, self.size):
            self._head += self._more()
        return self._head[:count]

    def _more(self) -> bytes:
        try:
            return bytes(self._reader.read_some())
        except Exception:
            self.is_cut = True
            raise

    def read(self, size: int) -> bytes:
        """As a file's read."""
        data = self._head or self._more()
        data, self._head = data[:size], data[size:]
        self.position += len(data)
        return data

    def read_all(self) -> bytes:
        """All of it, for something small."""
        pieces = []
        while piece := self.read(_PIECE):
            pieces.append(piece)
        return b"".join(pieces)


def _widen(stream: IO[bytes]) -> None:
    """Let a pipe hold more, so that its ends wait for each other less often; other streams are left alone."""
    from fcntl import fcntl

    try:
        fcntl(stream.fileno(), _F_SETPIPE_SZ, _PIECE)
    except (OSError, AttributeError, ValueError):
        pass


def _is_layer(head: bytes) -> bool:
    """Whether a file begins as a tar does, compressed or not; one without entries is zeros."""
    return sniff(head) != "plain" or (len(head) == _HEAD and (head == bytes(_HEAD) or is_header(head)))


def _digest_in(name: bytes) -> str:
    """The digest that a file's name has in it: `blobs/sha256/<hex>`, `<hex>.tar`, `<hex>/layer.tar`; or empty."""
    for part in name.decode("ascii", "replace").split("/"):
        digits = part.partition(".")[0]
        for algorithm, length in HEX_LENGTHS.items():
            if len(digits) == length and is_digest(f"{algorithm}:{digits}"):
                return f"{algorithm}:{digits}"
    return ""


def open_archive(source: str | IO[bytes]) -> ArchiveFiles:
    """The files of an archive at a path or in a stream, which may be a pipe and stays open; or of a directory.

    Raises NotFound for a missing file, Damaged for what is no archive.
    """
    if not isinstance(source, str):
        fd = _descriptor(source)
        return _open(fd, "the archive") if fd >= 0 else StreamedFiles(source, "the archive")
    try:
        if S_ISDIR(os.stat(source).st_mode):
            return DirectoryFiles(source)
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"load {source}: there is no such file", hint="check the path; it is one of this host"
        ) from error
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 0
        raise SyscallError(f"load {source}: {getattr(error, 'strerror', None) or error}", errno=number) from error
    return _open(fd, source)


def _descriptor(stream: IO[bytes]) -> int:
    """A descriptor of the stream's own where it is a regular file that nothing was read of; else -1."""
    try:
        fd = stream.fileno()
        if S_ISREG(os.fstat(fd).st_mode) and stream.tell() == 0:
            return os.dup(fd)
    except (OSError, AttributeError, ValueError):
        pass
    return -1


def _open(fd: int, what: str) -> ArchiveFiles:
    """A tar's files in any order where it is a plain file; else as they come. Owns the descriptor."""
    if S_ISREG(os.fstat(fd).st_mode) and sniff(os.pread(fd, 6, 0)) == "plain":
        return TarFiles(fd, what)
    return StreamedFiles(os.fdopen(fd, "rb", buffering=0), what, is_own=True)
