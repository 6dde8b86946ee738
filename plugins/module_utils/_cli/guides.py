# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`completion complete manual`: what goes along with the command, and what a shell asks it at each key."""

from __future__ import annotations

import os

from .._base.errors import HullError
from .command import Command
from .completion import CAPABILITIES, CONTAINERS, IMAGES, NETWORKS, SIGNALS, VOLUMES, candidates
from .printing import put
from .shells import SHELLS, completion_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.database import Database
    from .command import Invocation
    from .commands import Topic
    from .flags import Parsed


def _completion(invocation: Invocation) -> int:
    put(completion_script(invocation.arguments[0]))
    return 0


def _manual(_invocation: Invocation) -> int:
    from .manual import manual_page

    put(manual_page())
    return 0


def _complete(invocation: Invocation) -> int:
    put(candidates(invocation.arguments, _names).text())
    return 0


def _names(kind: str, globals_: Parsed) -> list[Topic]:
    """What exists of a kind; nothing where it can't be read: who completes a word wants no errors on the screen."""
    if kind == SIGNALS:
        from signal import Signals

        return [(signal.name, "") for signal in Signals]
    if kind == CAPABILITIES:
        from .._kernel.capabilities import ALL_CAPABILITIES

        return [(name.partition("_")[2], "") for name in ("CAP_ALL", *ALL_CAPABILITIES)]
    if os.geteuid() != 0:
        return []
    from .._engine.engine import open_engine

    try:
        with open_engine(globals_.text("root"), globals_.text("run"), globals_.text("config")) as engine:
            database = engine.database()
            return _names_in(database, kind) if database else []
    except (HullError, OSError):
        return []


def _names_in(database: Database, kind: str) -> list[Topic]:
    from .._engine.images import familiar

    if kind == CONTAINERS:
        return [(record.name, record.image_name) for record in database.containers()]
    if kind == IMAGES:
        return [(familiar(tag.reference), "") for tag in database.tags()]
    if kind == VOLUMES:
        return [(record.name, "") for record in database.volumes()]
    return [(record.name, "") for record in database.networks() if kind == NETWORKS]


COMMANDS = (
    Command(
        "completion",
        "|".join(SHELLS),
        "Print the script that makes a shell complete hull's command lines",
        _completion,
        minimum=1,
        maximum=1,
    ),
    Command(
        "complete",
        "[--] [WORD...]",
        "Print what may stand in place of the last word: what the scripts of completion ask",
        _complete,
        stop_at_argument=True,
    ),
    Command("manual", "", "Print the manual page, for man", _manual, maximum=0),
)
