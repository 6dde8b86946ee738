# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One entry of a copy beside what is there: what kind it is, whose, with which content."""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG

from .._image.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .._image.tar import Entry, TarReader

_CHUNK = 1024 * 1024
_LARGEST_SHOWN = 104448  # of a file whose content a diff shows, as ansible.builtin.copy has it
BINARY = "(binary)"
_NAMES = {
    FILE: "file",
    DIRECTORY: "directory",
    SYMLINK: "link",
    FIFO: "FIFO",
    CHARACTER: "character device",
    BLOCK_DEVICE: "block device",
    HARD_LINK: "hard link",
}


def wanted_facts(entry: Entry, content: bytes | None = None) -> dict[str, Any]:
    """What an entry is to become."""
    facts: dict[str, Any] = {"type": _NAMES[entry.kind], "owner": f"{entry.uid}:{entry.gid}"}
    if entry.kind in (SYMLINK, HARD_LINK):
        return {**facts, "link": shown(entry.link)}
    facts["mode"] = f"{entry.mode:04o}"
    return {**facts, "size": entry.size, **content_facts(content)} if entry.kind == FILE else facts


def _content(entry: Entry, reader: TarReader) -> Iterator[bytes]:
    """A file's bytes as an entry has them, holes as zeros."""
    piece: bytes | memoryview = b""
    position = 0
    for offset, length in ((0, entry.size),) if entry.segments is None else entry.segments:
        yield from _zeros(offset - position)
        position = offset + length
        while length:
            piece = piece or reader.read_some()
            part = bytes(piece[:length])
            length, piece = length - len(part), piece[len(part) :]
            yield part
    yield from _zeros(entry.size - position)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


def compare_content(entry: Entry, reader: TarReader, old: int) -> tuple[bool, bytes | None, bytes | None]:
    """Whether an open file (-1: none) has an entry's content, and both contents where they are short enough."""
    size = os.fstat(old).st_size if old >= 0 else -1
    old_text = os.pread(old, size, 0) if 0 <= size <= _LARGEST_SHOWN else None
    if entry.size <= _LARGEST_SHOWN:
        new_text = b"".join(_content(entry, reader))
        return new_text == old_text, new_text, old_text
    if size != entry.size:
        return False, None, old_text
    position = 0
    for piece in _content(entry, reader):
        if os.pread(old, len(piece), position) != piece:
            return False, None, None
        position += len(piece)
    return True, None, None


def content_facts(content: bytes | None) -> dict[str, Any]:
    """A file's content as it may stand in a diff; nothing of what is too long."""
    if content is None:
        return {}
    try:
        if b"\0" not in content:
            return {"content": content.decode()}
    except UnicodeDecodeError:
        pass
    return {"content": BINARY}


def is_like(entry: Entry, status: os.stat_result | None, directory: int, name: str) -> bool:
    """Whether what is there is of the entry's kind, owner, mode, and target or device."""
    if status is None or _kind(status.st_mode) != entry.kind:
        return False
    if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        return False
    if entry.kind == SYMLINK:
        return os.fsencode(os.readlink(name, dir_fd=directory)) == entry.link
    if entry.kind in (CHARACTER, BLOCK_DEVICE) and status.st_rdev != os.makedev(*entry.device):
        return False
    return S_IMODE(status.st_mode) == entry.mode


def _kind(mode: int) -> bytes:
    tests = ((S_ISREG, FILE), (S_ISDIR, DIRECTORY), (S_ISLNK, SYMLINK), (S_ISFIFO, FIFO), (S_ISCHR, CHARACTER))
    return next((kind for test, kind in tests if test(mode)), BLOCK_DEVICE if S_ISBLK(mode) else b"")


def facts_of(status: os.stat_result | None) -> dict[str, Any]:
    """What is there now."""
    if status is None:
        return {"type": "absent"}
    kind = _kind(status.st_mode)
    facts = {"type": _NAMES.get(kind, "socket"), "owner": f"{status.st_uid}:{status.st_gid}"}
    if kind == SYMLINK:
        return facts
    facts["mode"] = f"{S_IMODE(status.st_mode):04o}"
    return {**facts, "size": status.st_size} if kind == FILE else facts
