# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`firewall`: which rules of other programs cut containers off, and a way through them; for people and for a unit."""

from __future__ import annotations

from .._base.errors import Invalid
from .command import Command
from .flags import switch
from .printing import put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._engine.engine import Engine
    from .command import Invocation


def _firewall(invocation: Invocation) -> int:
    from .._engine import firewall

    opens, closes = invocation.is_on("open"), invocation.is_on("close")
    if opens and closes:
        raise Invalid("--open and --close exclude each other", option="--close")
    with invocation.engine() as engine:
        if closes:
            for chain in firewall.close_ways():
                put_line(visible(f"closed {chain}"))
            return 0
        if opens:
            from .._engine.firewall_restore import restore

            if restore(engine):
                put_line("restored the engine's own rules and published ports")
            for chain in firewall.open_ways(engine):
                put_line(visible(f"opened {chain}"))
        return _tell(engine)


def _tell(engine: Engine) -> int:
    from .._engine.firewall import blocked

    found = blocked(engine)
    for one in found:
        put_line(visible(one.why))
        put_line(f"    cure: {one.cure}")
    if not found:
        put_line("no firewall is in the way of containers")
    return 1 if found else 0


COMMANDS = (
    Command(
        "firewall",
        "[OPTIONS]",
        "Show whose firewall is in the way of containers; exit 1 if one is",
        _firewall,
        (
            switch("open", "let containers through; write the engine's own rules too where they are gone"),
            switch("close", "remove the rules that --open has inserted"),
        ),
        maximum=0,
    ),
)
