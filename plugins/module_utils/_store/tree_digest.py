# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One digest of a directory tree's metadata: whatever changes in it but the bytes inside of files changes the digest.

It covers names, types, modes, owners, sizes, times with nanoseconds, device numbers, targets of links, extended
attributes and which names are hard links of one file. It does not depend on inode numbers, on the tree's place, on
directories' sizes or on the order in which the file system lists names, so a copy that keeps all attributes has the
same digest. Contents are not read: the digest of a layer's tar covers them, see `_image/layer_tar.py`.

The digest is sha256 over one record per directory, depth first, directories in order of their names:
`path NUL`, then one line per entry in order of its names, then `NUL`; the first line of all is the root's.
"""

from __future__ import annotations

import os
from stat import S_IFDIR, S_IFLNK, S_IFMT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def tree_digest(directory: str) -> str:
    """The digest, as `sha256:...`, of the directory and all below it. Links are never followed. Raises OSError."""
    from hashlib import sha256

    digest = sha256()
    for path, lines in walk(directory):
        digest.update(b"%b\0%b\0" % (path, b"".join(lines)))
    return "sha256:" + digest.hexdigest()


def walk(directory: str) -> Iterator[tuple[bytes, list[bytes]]]:
    """Every directory's path relative to the top, and a line for each of its entries: the name, NUL, all the rest.

    The top's own line comes first, under the path `.`, its name empty.
    """
    top = os.fsencode(directory)
    links: dict[int, bytes] = {}
    yield b".", [_line(b"", os.lstat(top), top, top, links)]
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        lines, inner = _list(top, path, links)
        yield path, lines
        below = path + b"/" if path else b""
        waiting += [below + name for name in reversed(inner)]


def _list(top: bytes, path: bytes, links: dict[int, bytes]) -> tuple[list[bytes], list[bytes]]:
    """The lines of one directory's entries, and which of them are directories."""
    place = top + b"/" + path if path else top
    fd = os.open(place, _DIRECTORY)
    try:
        with os.scandir(fd) as found:
            entries = sorted([(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in found])
    finally:
        os.close(fd)
    lines, inner = [], []
    for name, status in entries:
        full = place + b"/" + name
        lines.append(_line(name, status, full, path + b"/" + name, links))
        if S_IFMT(status.st_mode) == S_IFDIR:
            inner.append(name)
    return lines, inner


def _line(name: bytes, status: Any, place: bytes, path: bytes, links: dict[int, bytes]) -> bytes:
    mode = status.st_mode
    kind = S_IFMT(mode)
    line = b"%b\0%o %d %d %d %d %d" % (
        *(name, mode, status.st_uid, status.st_gid, 0 if kind == S_IFDIR else status.st_size),
        *(status.st_mtime_ns, status.st_rdev),
    )
    if kind == S_IFLNK:
        line += b" -> %b\0" % os.readlink(place)
    elif status.st_nlink > 1 and kind != S_IFDIR:
        first = links.setdefault(status.st_ino, path)
        if first is not path:
            line += b" = %b\0" % first
    attributes = os.listxattr(place, follow_symlinks=False)
    if attributes:
        line += b"".join(
            b" %b: %b\0" % (os.fsencode(key), os.getxattr(place, key, follow_symlinks=False).hex().encode())
            for key in sorted(attributes)
        )
    return line + b"\n"
