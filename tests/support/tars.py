# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Tars with any entries in any order, honest or not, and a description of a tree to compare two of them."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from typing import Any

MTIME = 1_700_000_000


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file; `type`, `mode`, `uid`, `linkname`, `pax_headers` ... as tarfile.TarInfo has them."""
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = MTIME, 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    info.size = len(content)
    return info, content


def directory(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, **{"mode": 0o777, **fields})


def hard_link(name: str, target: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target, **fields)


def device(name: str, kind: bytes, major: int, minor: int, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=kind, devmajor=major, devminor=minor, **fields)


def xattrs(**values: str) -> dict[str, str]:
    """Pax headers for extended attributes; `__` in a name stands for the dot."""
    return {"SCHILY.xattr." + name.replace("__", "."): value for name, value in values.items()}


def make_tar(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these entries in this order, names exactly as given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, errors="surrogateescape") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _xattrs(path: bytes) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def describe(path: str | bytes, *, times: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """Every file below a directory by its relative path: type, mode, owner, time, content, links, attributes."""
    top = os.fsencode(path)
    result: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, bytes] = {}
    for place, directories, files in sorted(os.walk(top)):
        for name in sorted([*directories, *files]) + ([b"."] if place == top else []):
            full = os.path.join(place, name)
            found = os.lstat(full)
            content: Any = None
            if stat.S_ISREG(found.st_mode):
                with open(full, "rb") as file:
                    content = (found.st_size, hashlib.sha256(file.read()).hexdigest())
            elif stat.S_ISLNK(found.st_mode):
                content = os.readlink(full)
            elif not stat.S_ISDIR(found.st_mode):
                content = found.st_rdev
            relative = os.path.relpath(full, top)
            same_as = None if stat.S_ISDIR(found.st_mode) else inodes.setdefault(found.st_ino, relative)
            when = found.st_mtime_ns if times else None
            result[relative] = (
                *(stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, when, content),
                *(same_as, _xattrs(full)),
            )
    return result
