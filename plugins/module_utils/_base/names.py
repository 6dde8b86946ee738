# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Names and ids of containers, volumes and networks: which are allowed, how new ones are made."""

from __future__ import annotations

import os

from .errors import Invalid

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")
_HEX = frozenset("0123456789abcdef")
_MAX_NAME = 64  # an id, which anonymous volumes have as their name, is one too

_LEFT = (
    "amber ample bold brave brisk calm candid clear clever cosy deft eager early fair fleet fond gentle glad golden "
    "grand happy hardy honest jolly keen kind light lively loyal lucid lucky mellow merry mild neat nimble noble "
    "plain polite proud quick quiet rapid ready robust rosy sharp silent sleek smart snug solid steady still stout "
    "sturdy sunny swift tidy trim true vivid warm wise witty"
).split()
_RIGHT = (
    "anchor barge beacon boom bosun bow brig buoy cabin canoe capstan catamaran clipper cog compass coracle cutter "
    "deck dhow dinghy dock dory ferry fleet frigate galley gig halyard harbour helm hull jib junk kayak keel ketch "
    "ladder lagoon lantern launch lugger mast mooring oar outrigger paddle pier pilot pinnace port prow punt quay "
    "raft rigging rudder sail schooner sextant skiff sloop spar stern tender tide tiller trawler tug wharf yacht "
    "yawl"
).split()


def check_name(name: str, *, option: str = "name") -> str:
    """The name itself: a letter or digit, then letters, digits, `_`, `.` and `-`, at most 64. Raises Invalid."""
    if not (0 < len(name) <= _MAX_NAME and name[0] in _FIRST and _REST.issuperset(name)):
        raise Invalid(
            f"{name[:80]!r} is not a valid name",
            option=option,
            hint="use a letter or digit, then letters, digits, '_', '.' or '-', at most 64 in all",
        )
    return name


def is_id_prefix(text: str) -> bool:
    """Whether the text may be a container's or image's id or the beginning of one."""
    return 0 < len(text) <= 64 and _HEX.issuperset(text)


def new_id() -> str:
    """A fresh random id: 64 hex digits."""
    return os.urandom(32).hex()


def new_name() -> str:
    """A readable name for a container that was given none (`sturdy_ketch`); the caller checks that it is free."""
    first, second, *_ = os.urandom(2)
    return f"{_LEFT[first % len(_LEFT)]}_{_RIGHT[second % len(_RIGHT)]}"
