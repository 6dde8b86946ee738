# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`stop restart kill rm pause unpause wait rename`: verbs of containers that need no terminal."""

from __future__ import annotations

from .._base.errors import HullError, NotFound
from .._engine import containers
from .command import Command
from .flags import UsageError, switch, text
from .printing import put_error
from .targets import at_once, for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._engine.engine import Engine
    from .._store.records import ContainerRecord
    from .command import Invocation


def _patience(invocation: Invocation) -> int | None:
    """The seconds of `--time`; None where it was not given. Raises UsageError."""
    value = invocation.text("time")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--time: {value!r} is not a number of seconds") from None


def for_containers(invocation: Invocation, act: Callable[[Engine, ContainerRecord], None]) -> int:
    """Do `act` for every container that is named, and print the names as they were typed."""
    with invocation.engine() as engine:

        def one(name: str) -> str:
            act(engine, containers.find(engine, name))
            return name

        return for_each(invocation.arguments, one)


def _all_at_once(invocation: Invocation, act: Callable[[Engine, ContainerRecord], None]) -> int:
    """As `for_containers`, for verbs that wait for containers: ten that take ten seconds to stop take ten seconds."""

    def one(name: str) -> str:
        with invocation.engine() as engine:
            act(engine, containers.find(engine, name))
        return name

    return at_once(invocation.arguments, one)


def _signal(invocation: Invocation) -> int:
    from .._engine.options import signal_number

    name = invocation.text("signal")
    return 0 if name is None else signal_number(name, option="--signal")


def _stop(invocation: Invocation) -> int:
    timeout_s, signal = _patience(invocation), _signal(invocation)

    def act(engine: Engine, record: ContainerRecord) -> None:
        containers.stop(engine, record, timeout_s=timeout_s, signal=signal)

    return _all_at_once(invocation, act)


def _restart(invocation: Invocation) -> int:
    timeout_s, signal = _patience(invocation), _signal(invocation)

    def act(engine: Engine, record: ContainerRecord) -> None:
        containers.restart(engine, record, timeout_s=timeout_s, signal=signal)

    return _all_at_once(invocation, act)


def _kill(invocation: Invocation) -> int:
    signal = _signal(invocation) or 9
    return for_containers(invocation, lambda engine, record: containers.kill(engine, record, signal))


def _pause(invocation: Invocation, frozen: bool) -> int:
    def act(engine: Engine, record: ContainerRecord) -> None:
        if not containers.pause(engine, record, frozen):
            raise HullError(f"container {record.name}: it is {'already' if frozen else 'not'} paused")

    return for_containers(invocation, act)


def _remove(invocation: Invocation) -> int:
    force, volumes = invocation.is_on("force"), invocation.is_on("volumes")
    with invocation.engine() as engine:

        def one(name: str) -> str | None:
            try:
                containers.remove(engine, containers.find(engine, name), force=force, volumes=volumes)
            except NotFound as error:
                if not force:
                    raise
                put_error(f"hull: {error}")
                return None
            return name

        return for_each(invocation.arguments, one)


def _wait(invocation: Invocation) -> int:
    with invocation.engine() as engine:

        def one(name: str) -> str:
            return str(containers.wait(engine, containers.find(engine, name)))

        return for_each(invocation.arguments, one)


def _rename(invocation: Invocation) -> int:
    old, new = invocation.arguments
    with invocation.engine() as engine:
        containers.rename(engine, containers.find(engine, old), new)
    return 0


MANY = "CONTAINER [CONTAINER...]"
_SIGNAL = text("signal", "signal to send instead of the container's own", short="s", option="signal")
_TIME = text("time", "seconds from the first signal to SIGKILL, -1 for never", "int", short="t", alias="timeout")

COMMANDS = (
    Command(
        "stop",
        f"[OPTIONS] {MANY}",
        "Ask containers to end, kill them after a while",
        _stop,
        (_TIME, _SIGNAL),
        minimum=1,
    ),
    Command(
        "restart",
        f"[OPTIONS] {MANY}",
        "Stop containers and start them again",
        _restart,
        (_TIME, _SIGNAL),
        minimum=1,
    ),
    Command(
        "kill",
        f"[OPTIONS] {MANY}",
        "Send a signal to containers, SIGKILL unless told otherwise",
        _kill,
        (text("signal", "name or number of the signal", short="s"),),
        minimum=1,
    ),
    Command(
        "rm",
        f"[OPTIONS] {MANY}",
        "Remove containers",
        _remove,
        (
            switch("force", "also running ones, and don't mind missing ones", short="f"),
            switch("volumes", "with their anonymous volumes", short="v"),
        ),
        minimum=1,
    ),
    Command("pause", MANY, "Freeze all processes of containers", lambda call: _pause(call, True), minimum=1),
    Command("unpause", MANY, "Let frozen containers go on", lambda call: _pause(call, False), minimum=1),
    Command("wait", MANY, "Wait until containers have ended, print their exit codes", _wait, minimum=1),
    Command("rename", "CONTAINER NEW_NAME", "Give a container another name", _rename, minimum=2, maximum=2),
)
