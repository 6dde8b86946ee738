# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`update`: what of a container can be changed without a restart."""

from __future__ import annotations

from .command import Command
from .container_flags import UPDATE_FLAGS, update_options
from .flags import UsageError
from .lifecycle import MANY, for_containers
from .printing import put_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._engine.engine import Engine
    from .._store.records import ContainerRecord
    from .command import Invocation


def _update(invocation: Invocation) -> int:
    from .._engine.updating import change

    options = update_options(invocation.parsed)
    if not options:
        raise UsageError("nothing is to be changed", hint="name at least one flag")

    def act(engine: Engine, record: ContainerRecord) -> None:
        for warning in change(engine, record, options):
            put_error(f"hull: warning: {record.name}: {warning}")

    return for_containers(invocation, act)


COMMANDS = (
    Command(
        "update",
        f"[OPTIONS] {MANY}",
        "Change limits and policies of containers, running ones at once",
        _update,
        UPDATE_FLAGS,
        minimum=1,
    ),
)
