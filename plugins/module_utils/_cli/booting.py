# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`boot`: what the host's start and shutdown mean for its containers; for a unit of the init system."""

from __future__ import annotations

from .command import Command
from .flags import switch
from .printing import put_error, put_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .command import Invocation


def _boot(invocation: Invocation) -> int:
    from .._engine.boot import boot, shut_down

    failed = False
    with invocation.engine() as engine:
        for step in shut_down(engine) if invocation.is_on("down") else boot(engine):
            if step.done == "failed":
                failed = True
                put_error(f"{step.name}: {step.error}" + (f" ({step.hint})" if step.hint else ""))
                continue
            try:
                put_line(f"{step.done} {step.name}")
            except OSError:  # that nobody reads it any more, or a full disk, keeps no container down, or up
                failed = True
    return 1 if failed else 0


COMMANDS = (
    Command(
        "boot",
        "[OPTIONS]",
        "Start the containers whose restart policy says so, as after a boot of the host",
        _boot,
        (switch("down", "stop all containers instead, as the host goes down; boot starts them again"),),
        maximum=0,
    ),
)
