# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Reading whether a cgroup is frozen: apart from `cgroups.py`, because whoever looks at a container looks at this."""

from __future__ import annotations


def says_frozen(text: str) -> bool:
    """Whether version 1's freezer.state or version 2's cgroup.events say that all processes are stopped."""
    return text.strip() == "FROZEN" or "frozen 1" in text.splitlines()


def is_frozen_by(path: str) -> bool:
    """Whether the file at this path says so; not if it is gone, or the path is empty."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return says_frozen(file.read(4096))
    except OSError:
        return False
