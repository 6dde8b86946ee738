# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Trees of images and containers to be read: stacked by overlayfs, read-only, seen by this process alone.

No device node in them can be opened and no time of access is written. Where a container runs, its writable layer is
read beside the container's own view of it; who wants it to stand still freezes the container.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._runtime.launch_plan import LaunchPlan

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FLAGS = ("ro", "nodev", "nosuid", "noexec", "noatime")


class TreeView:
    """`with TreeView(directories) as fd:` an open directory, the root of these directories, topmost first."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories
        self._mount = self._fd = -1

    def __enter__(self) -> int:
        from .._kernel.mounts import set_attributes
        from .._kernel.overlay import overlay_mount

        self._mount = overlay_mount(self._directories, "", "", read_only=True)
        try:
            set_attributes(self._mount, _FLAGS)
            self._fd = os.open(".", _DIRECTORY, dir_fd=self._mount)
        except BaseException:
            os.close(self._mount)
            raise
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)
        os.close(self._mount)


def upper_directory(plan: LaunchPlan) -> str:
    """Where a container's writable layer lies."""
    return f"{plan.root_directory}/upper"


def container_view(plan: LaunchPlan) -> TreeView:
    """What a container sees, without what is mounted in it."""
    return TreeView((upper_directory(plan), *plan.layers))
