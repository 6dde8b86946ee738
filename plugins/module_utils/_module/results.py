# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the engine found or did, in the words of a task's result. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.plan import Action, Outcome


def actions_result(actions: tuple[Action, ...]) -> list[dict[str, str]]:
    """`[{"created": "web", "reason": "not here"}, ...]`: the verb is the key, as docker_container has it."""
    return [
        {action.verb: action.subject, "reason": action.reason} if action.reason else {action.verb: action.subject}
        for action in actions
    ]


def outcome_result(outcome: Outcome, noun: str) -> dict[str, Any]:
    """The result of a module that makes something present or absent. `noun` is the key of its facts.

    The facts are left out where there are none. The diff is there whenever something changes.
    """
    result: dict[str, Any] = {"changed": outcome.changed, "actions": actions_result(outcome.actions)}
    if outcome.facts is not None:
        result[noun] = outcome.facts
    if outcome.changed:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    if outcome.warnings:
        result["warnings"] = list(outcome.warnings)
    return result
