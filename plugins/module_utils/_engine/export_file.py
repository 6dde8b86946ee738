# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's export in a file: whole or not at all, and untouched where it holds the same already."""

from __future__ import annotations

import os

from .._base.errors import Invalid, NotFound, SyscallError
from .committing import Export

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._store.records import ContainerRecord
    from .engine import Engine

COMPRESSIONS = ("none", "gzip")
_MODE = 0o600
_CHUNK = 1024 * 1024


def write_export(
    engine: Engine, record: ContainerRecord, path: str, *, compression: str = "none", force: bool = True
) -> bool:
    """Write the export beside the path and rename it. Whether that changed the file.

    Without `force` a file that has the same content is left alone. Raises Invalid for a directory, NotFound for a
    missing one around it, SyscallError as when the disk is full; then the file is as it was.
    """
    check_target(path)
    draft = f"{path}.{os.urandom(6).hex()}"
    try:
        with open(draft, "xb", buffering=0, opener=_opener) as file:
            _produce(engine, record, lambda piece: _write_all(file.fileno(), piece), compression)
            os.fsync(file.fileno())
        if not force and _is_same(draft, path):
            return False
        os.rename(draft, path)
        draft = ""
        return True
    except OSError as error:
        raise SyscallError(f"export to {path}: {(error.strerror or '').lower()}", errno=error.errno or 0) from error
    finally:
        if draft and os.path.exists(draft):
            os.unlink(draft)


def would_change(engine: Engine, record: ContainerRecord, path: str, *, compression: str = "none") -> bool:
    """Whether the file does not hold what an export would write now. Nothing is written."""
    try:
        comparison = _Comparison(path)
    except FileNotFoundError:
        return True
    with comparison:
        _produce(engine, record, comparison.compare, compression)
        return comparison.differs()


def check_target(path: str) -> None:
    """Raise Invalid for a directory, NotFound for a missing one around the path."""
    if os.path.isdir(path):
        raise Invalid(f"{path} is a directory", option="path", hint="name a file")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise NotFound(f"export to {path}: there is no directory {directory}", hint="make it first")


def _produce(engine: Engine, record: ContainerRecord, write: Callable[[bytes], object], compression: str) -> None:
    with Export(engine, record) as stream:
        if compression == "gzip":
            from .._image.gzip_writer import compress_gzip

            compress_gzip(stream, write)
            return
        while data := stream.read(_CHUNK):
            write(data)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, _MODE)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_same(one: str, other: str) -> bool:
    try:
        if os.path.getsize(one) != os.path.getsize(other):
            return False
    except OSError:
        return False
    with open(one, "rb", buffering=0) as file, _Comparison(other) as comparison:
        while data := file.read(_CHUNK):
            comparison.compare(data)
        return not comparison.differs()


class _Comparison:
    """Bytes, as they come, compared with a file."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")
        self._differs = False

    def __enter__(self) -> _Comparison:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def compare(self, data: bytes) -> None:
        """Take the next bytes."""
        self._differs = self._differs or self._file.read(len(data)) != data

    def differs(self) -> bool:
        """Whether anything was different, or the file has more."""
        return self._differs or self._file.read(1) != b""
