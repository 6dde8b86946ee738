# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where this kernel lets a test idmap directories: on a tmpfs (Linux 6.3) or on the disk's file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Unsupported
from ansible_collections.hull.engine.plugins.module_utils._kernel import mounts, namespaces


def tmpfs_can_be_idmapped(place: Path) -> bool:
    """Whether a tmpfs can; False where only the file system of `place` can. Skips the test where neither can."""
    if _can_be_idmapped(mounts.new_filesystem("tmpfs")):
        return True
    if not _can_be_idmapped(mounts.clone_tree(str(place), recursive=False)):
        pytest.skip(f"this kernel can idmap neither a tmpfs nor the file system of {place}")
    return False


def _can_be_idmapped(mount_fd: int) -> bool:
    user_fd = namespaces.make_user_namespace([(0, 100000, 65536)], [(0, 100000, 65536)])
    try:
        mounts.idmap(mount_fd, user_fd)
    except Unsupported:
        return False
    finally:
        os.close(mount_fd)
        os.close(user_fd)
    return True
