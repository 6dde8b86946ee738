# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The time that a new image bears: SOURCE_DATE_EPOCH, so that the same input gives the same digest, else now.

Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification".
"""

from __future__ import annotations

import os

from .._base.clock import now_ns
from .._base.errors import Invalid

_VARIABLE = "SOURCE_DATE_EPOCH"
_MOST_DIGITS = 11


def source_date_ns() -> int | None:
    """SOURCE_DATE_EPOCH in nanoseconds, None where it is not set. Raises Invalid."""
    epoch = os.environ.get(_VARIABLE)
    if not epoch:
        return None
    if not epoch.isdecimal() or len(epoch) > _MOST_DIGITS:
        raise Invalid(f"{epoch[:40]!r} is not a number of seconds", option=_VARIABLE)
    return int(epoch) * 10**9


def created_ns() -> int:
    """When an image that is made now was made. Raises Invalid."""
    source = source_date_ns()
    return now_ns() if source is None else source
