# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`--filter NAME=VALUE`, given any number of times."""

from __future__ import annotations

from .flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .command import Invocation


def filter_pairs(invocation: Invocation) -> list[tuple[str, str]]:
    """The names and values of all filters. Raises UsageError for one without a value."""
    pairs = []
    for entry in invocation.items("filter"):
        name, equals, value = entry.partition("=")
        if not equals:
            raise UsageError(f"--filter: {entry!r} has no value", hint="write NAME=VALUE")
        pairs.append((name, value))
    return pairs
