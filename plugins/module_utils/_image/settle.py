# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The stack of directories that shows an image's layers as its author meant them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths


def settle(paths: Paths, diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The directories below the root that overlayfs stacks for these layers, lowest first."""
    return tuple(f"layers/{diff_id.partition(':')[2]}" for diff_id in diff_ids)
