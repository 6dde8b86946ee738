# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What killed processes left behind: half-made directories in `tmp/` and half-deleted ones in `trash/`.

Both functions may run at any time in any number of processes. What can't be removed now (it is mounted, say) stays for
the next time; nothing here makes the operation fail that came along with it.
"""

from __future__ import annotations

import os

from .._base.errors import HullError
from .files import remove_tree
from .removal import bury
from .temporary import PREFIX, lock_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _try_remove(path: str) -> bool:
    try:
        remove_tree(path)
    except (OSError, HullError):
        return False
    return True


def empty_trash(paths: Paths) -> int:
    """Delete what removals began to delete. The number of directories deleted."""
    return sum(_try_remove(f"{paths.trash}/{name}") for name in _names(paths.trash))


def sweep_temporary(paths: Paths) -> int:
    """Delete the owned directories in `tmp/` whose owner is dead; other files there are not touched. Their number."""
    return sum(_sweep(paths, name) for name in _names(paths.temporary) if name.startswith(PREFIX))


def _sweep(paths: Paths, name: str) -> bool:
    path = f"{paths.temporary}/{name}"
    try:
        fd = lock_directory(path, wait=False)
    except OSError:
        return False  # owned, gone meanwhile, or not a directory
    try:
        grave = bury(paths, path)
        return bool(grave) and _try_remove(grave)
    finally:
        os.close(fd)
