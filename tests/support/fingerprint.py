# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an engine has on disk and in the kernel, as text: the same before and after a task that changes nothing.

    python tests/support/fingerprint.py DIRECTORY...

Prints every file below the directories with its type, mode, owner, size and the digest of its content, and this network
namespace's links, nftables and the control groups with our name. SQLite's shared memory file is left out: it comes and
goes with readers.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
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
        with open(path, "rb") as file:
            text += f" {status.st_size} {hashlib.sha256(file.read()).hexdigest()}"
    elif kind == stat.S_IFLNK:
        text += f" -> {os.readlink(path)}"
    return text


def fingerprint(directories: list[str]) -> str:
    """The whole text."""
    lines = [line for directory in directories for line in files(directory)]
    for look in (leftovers.links, leftovers.nftables, leftovers.cgroups, leftovers.mounts):
        lines += [f"{look.__name__}: {line}" for line in sorted(set(look()))]
    return "\n".join(lines)


if __name__ == "__main__":
    print(fingerprint(sys.argv[1:]))
