# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an engine has on disk and in the kernel, as text: the same before and after a task that changes nothing.

    python tests/support/fingerprint.py ROOT DIRECTORY...

Prints every file below the directories with its type, mode, owner and the digest of its content, and the links,
nftables and control groups of the engine with this root. SQLite's auxiliary files are left out: they come and go with
readers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import sys
import zlib
from collections.abc import Iterator

try:
    from tests.support import leftovers
except ImportError:  # run as a script
    import leftovers  # type: ignore[no-redef]


def files(directory: str) -> Iterator[str]:
    """One line per name, in order."""
    for parent, directories, names in sorted(os.walk(directory)):
        directories.sort()
        for name in sorted([*directories, *names]):
            path = os.path.join(parent, name)
            if not name.endswith(("-shm", "-wal")):
                yield f"{path} {_describe(path)}"


def _describe(path: str) -> str:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    text = f"{kind:o} {stat.S_IMODE(status.st_mode):o} {status.st_uid}:{status.st_gid}"
    if kind == stat.S_IFREG:
        text += f" {hashlib.sha256(_content(path)).hexdigest()}"
    elif kind == stat.S_IFLNK:
        text += f" -> {os.readlink(path)}"
    return text


def _content(path: str) -> bytes:
    """The bytes of a file; of a database its records, since their place in the file says nothing."""
    if path.endswith(".db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return "\n".join(database.iterdump()).encode()
    with open(path, "rb") as file:
        return file.read()


def kernel(root: str) -> Iterator[str]:
    """What carries this engine's name, and the links that are plugged into its bridge."""
    name = f"hull-{zlib.crc32(os.fsencode(root)):08x}"
    for look in (leftovers.nftables, leftovers.cgroups, leftovers.mounts):
        yield from sorted({f"{look.__name__} {line}" for line in look() if name in line or root in line})
    for link in sorted(leftovers.links()):
        master = f"/sys/class/net/{link}/master"
        if link == name or (os.path.islink(master) and os.path.basename(os.readlink(master)) == name):
            yield f"link {link}"


def fingerprint(directories: list[str]) -> str:
    """The whole text."""
    return "\n".join([*kernel(directories[0]), *(line for directory in directories for line in files(directory))])


if __name__ == "__main__":
    print(fingerprint(sys.argv[1:]))
