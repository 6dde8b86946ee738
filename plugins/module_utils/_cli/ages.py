# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Times for people: how long ago, how long up. Pure."""

from __future__ import annotations

import time

_SECOND = 10**9
_UNITS = ((1, "second", 60), (60, "minute", 60), (3600, "hour", 48), (86400, "day", 14), (604800, "week", 8))


def span(duration_ns: int) -> str:
    """A duration in one unit, rounded down, in the words of Docker's tables: `5 minutes`, `About an hour`."""
    seconds = max(duration_ns, 0) // _SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 3600 <= seconds < 7200:
        return "About an hour"
    for size, name, limit in _UNITS:
        count = seconds // size
        if count < limit:
            return f"{count} {name}s"
    months = seconds // (30 * 86400)
    return f"{months} months" if months < 24 else f"{seconds // (365 * 86400)} years"


def ago(moment_ns: int, now_ns: int) -> str:
    """`5 minutes ago`; `N/A` for a moment that is not known (0 or before the epoch)."""
    return f"{span(now_ns - moment_ns)} ago" if moment_ns > 0 else "N/A"


def date(moment_ns: int) -> str:
    """A moment as Docker's `CreatedAt` shows it, in local time: `2026-11-23 20:24:33 +0100 CET`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(moment_ns // _SECOND))
