# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an operation is going to do, as data: the middle of observe, plan, apply.

A plan is made without I/O. Check mode shows it, diff mode renders it, apply does it.
"""

from __future__ import annotations

from .values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Action(Value):
    """One step: what is done (`create`, `start`, `pull`, `update` ...) to which object, and why."""

    verb: str
    subject: str
    reason: str = ""


class Outcome(Value):
    """What an operation on one noun found, did, or in check mode would do.

    `before` and `after` are plain dicts keyed by option, for the diff; `facts` is Docker's inspect shape of the
    object after the operation (in check mode: as it is now), or None where there is none.
    """

    changed: bool
    actions: tuple[Action, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    facts: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    status: int | None = None
    output: str | None = None
