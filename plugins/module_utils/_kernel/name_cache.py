# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The kernel's memory of which names lead to which files, also through overlays that lie above a changed directory."""

from __future__ import annotations

import os

_DROP = "/proc/sys/vm/drop_caches"
_NAMES_AND_INODES = b"2"


def forget_names() -> None:
    """Let the kernel forget the names and inodes that nobody holds: an overlay looks them up below again.

    Overlayfs does not expect its lower directories to change, and remembers what it found there, absent names too.
    File contents stay cached. Costs the host a few look-ups; best effort, since not every host lets us.

    Source: Linux Documentation/admin-guide/sysctl/vm.rst, "drop_caches".
    """
    try:
        fd = os.open(_DROP, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, _NAMES_AND_INODES)
    except OSError:
        pass
    finally:
        os.close(fd)
