# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Points in time as the engine keeps them (nanoseconds since the epoch), as Docker writes them (RFC 3339) and as people
write them after `--since`."""

from __future__ import annotations

import time

from .errors import Invalid

NEVER = "0001-01-01T00:00:00Z"


def now_ns() -> int:
    """The wall clock, for records and logs; durations are measured with the monotonic clock."""
    return time.time_ns()


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds; 0 is Docker's zero time."""
    if not time_ns:
        return NEVER
    seconds, rest = divmod(time_ns, 10**9)
    parts = time.gmtime(seconds)
    return f"{parts[0]:04d}-{parts[1]:02d}-{parts[2]:02d}T{parts[3]:02d}:{parts[4]:02d}:{parts[5]:02d}.{rest:09d}Z"


def _offset_s(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    return sign * (int(text[1:3]) * 3600 + int(text[4:6]) * 60)


def parse_time(text: str, *, option: str) -> int:
    """Nanoseconds from RFC 3339 (`2026-01-02T03:04:05.5Z`, `...+01:00`, or only a date). Raises Invalid."""
    from calendar import timegm

    try:
        zone = "Z" if len(text) == 10 else text[-1] if text[-1] in "Zz" else text[-6:] if text[-6] in "+-" else "Z"
        body = text if len(text) == 10 else text[: -len(zone)] if text.endswith(zone) else text
        whole, _, fraction = body.partition(".")
        form = "%Y-%m-%d" if len(whole) == 10 else "%Y-%m-%dT%H:%M:%S"
        seconds = timegm(time.strptime(whole, form)) - (_offset_s(zone) if zone[0] in "+-" else 0)
        return seconds * 10**9 + int((fraction or "0").ljust(9, "0")[:9])
    except (ValueError, IndexError) as error:
        raise Invalid(f"{text!r} is not a time", option=option, hint="write it like 2026-01-02T03:04:05Z") from error
