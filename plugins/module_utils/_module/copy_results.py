# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a copy did, in the words of a task's result. Pure.

A file of its own: Ansible ships with a module whatever is imported, also for a type's name only, and what copies needs
most of the engine.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engine.copy_tasks import Copied


def copied_result(copied: Copied) -> dict[str, Any]:
    """The result of a copy into a container or out of it, as far as both have the same."""
    result: dict[str, Any] = {"changed": copied.changed}
    if copied.changed:
        result["diff"] = list(copied.diffs)
    if copied.warnings:
        result["warnings"] = list(copied.warnings)
    return result
