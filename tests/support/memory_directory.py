# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A directory in memory: each layer is synced, which takes long where others write to the same disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = "/dev/shm"


@contextmanager
def memory_directory() -> Iterator[Path]:
    """One that goes with all in it; on a disk where files in memory have no attributes of users (before Linux 6.6)."""
    with tempfile.TemporaryDirectory(dir=PLACE if _keeps_attributes() else None) as path:
        yield Path(path)


def _keeps_attributes() -> bool:
    with tempfile.NamedTemporaryFile(dir=PLACE) as file:
        try:
            os.setxattr(file.name, "user.hull", b"")
        except OSError:
            return False
    return True
