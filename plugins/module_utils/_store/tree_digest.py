# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One digest of a directory tree's metadata: whatever changes in it but the bytes inside of files changes the digest.

It covers names, types, modes, owners, sizes, times with nanoseconds, device numbers, targets of links, extended
attributes and which names are hard links of one file. It does not depend on inode numbers, on the tree's place, on
directories' sizes or on the order in which the file system lists names, so a copy that keeps all attributes has the
same digest. Contents are not read: the digest of a layer's tar covers them, see `_image/layer_tar.py`.

The digest is sha256 over one record per directory, depth first, directories in order of their names:
`path NUL`, then one line per entry in order of its names, then `NUL`; the first line of all is the root's. Names that
are not UTF-8 are ordered as Python orders what `os.fsdecode` makes of them.
"""

from __future__ import annotations

import os
from stat import S_IFDIR, S_IFLNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPE = 0o170000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def tree_digest(directory: str) -> str:
    """The digest, as `sha256:...`, of the directory and all below it. Links are never followed. Raises OSError."""
    from hashlib import sha256

    digest = sha256()
    top = _line(("", os.lstat(directory)), directory, "", {})
    digest.update(f".\0{top}\0".encode("utf-8", "surrogateescape"))
    links: dict[int, str] = {}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        below = path + "/" if path else ""
        text, inner = _record(f"{directory}/{path}", below, links)
        digest.update(f"{path}\0{text}\0".encode("utf-8", "surrogateescape"))
        inner.reverse()
        waiting += [below + name for name in inner]
    return "sha256:" + digest.hexdigest()


def _record(place: str, path: str, links: dict[int, str]) -> tuple[str, list[str]]:
    """The lines of one directory's entries, and which of them are directories."""
    fd = os.open(place, _DIRECTORY)
    try:
        with os.scandir(fd) as found:
            entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    finally:
        os.close(fd)
    entries.sort()
    inner = [name for name, status in entries if status.st_mode & _TYPE == S_IFDIR]
    return "".join([_line(entry, f"{place}/{entry[0]}", path, links) for entry in entries]), inner


def _line(entry: tuple[str, Any], place: str, path: str, links: dict[int, str]) -> str:
    """One entry: name, NUL, mode, owner, size, time, device number, and what only some have."""
    name, status = entry
    mode, inode, _device, link_count, uid, gid, size = status[:7]
    kind = mode & _TYPE
    more = ""
    if kind == S_IFDIR:
        size = 0
    elif kind == S_IFLNK:
        more = f" -> {os.readlink(place)}\0"
    if link_count > 1 and kind != S_IFDIR:
        first = links.setdefault(inode, path + name)
        if first != path + name:
            more += f" = {first}\0"
    attributes = os.listxattr(place, follow_symlinks=False)
    if attributes:
        values = [(key, os.getxattr(place, key, follow_symlinks=False).hex()) for key in sorted(attributes)]
        more += "".join([f" {key}: {value}\0" for key, value in values])
    return f"{name}\0{mode:o} {uid} {gid} {size} {status.st_mtime_ns} {status.st_rdev}{more}\n"
