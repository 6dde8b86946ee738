# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`run create start attach`: a container made, started and connected to the user."""

from __future__ import annotations

import os

from .._base.errors import Conflict, HullError, Invalid
from .._base.names import new_name
from .._engine import containers
from .attachment import (
    DETACH_KEYS,
    SIG_PROXY,
    detach_keys,
    proxy_to,
    relay,
    require_terminal,
    taken_signals,
    terminal_size,
    with_proxy,
)
from .command import Command
from .container_flags import CREATE_FLAGS, container_options
from .flags import UsageError, switch
from .printing import put_error, put_line
from .relay import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engine.engine import Engine
    from .._runtime.client import Started
    from .._store.records import ContainerRecord
    from .command import Invocation

_NAME_ATTEMPTS = 50


def _free_name(engine: Engine) -> str:
    """A readable name that no container has; with digits where the readable ones run out."""
    database = engine.database()
    for _ in range(_NAME_ATTEMPTS):
        name = new_name()
        if database is None or database.container_by_name(name) is None:
            return name
    return f"{new_name()}_{os.urandom(4).hex()}"


class _IdFile:
    """The file of `--cidfile`, made before the container so that nothing is made if it can't be."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._fd = -1
        if path is not None:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError as error:
                raise Conflict(f"--cidfile: {path} exists", hint="remove it or name another one") from error
            except OSError as error:
                raise Invalid(f"{path} can't be made: {error.strerror}", option="--cidfile") from error

    def write(self, container_id: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, container_id.encode())
            os.close(self._fd)

    def discard(self) -> None:
        if self._path is not None:
            os.close(self._fd)
            os.unlink(self._path)


def _create_container(invocation: Invocation, engine: Engine) -> ContainerRecord:
    """Make the container that the flags describe, its image pulled first where the policy says so."""
    from .._engine.options import container_spec
    from .progress import ProgressOutput

    pull = invocation.text("pull") or "missing"
    if pull not in ("missing", "always", "never"):
        raise Invalid(f"{pull!r} is not known", option="--pull", hint="use missing, always or never")
    name = invocation.text("name") or _free_name(engine)
    spec = container_spec(_with_whole_ids(engine, container_options(invocation.parsed, name=name)))
    id_file = _IdFile(invocation.text("cidfile"))
    try:
        with ProgressOutput(quiet=invocation.is_on("quiet"), on_error=True) as progress:
            container_id = containers.create(
                engine, spec, pull=pull, platform=invocation.text("platform") or "", progress=progress
            )
    except BaseException:
        id_file.discard()
        raise
    id_file.write(container_id)
    return containers.find(engine, container_id)


def _with_whole_ids(engine: Engine, options: dict[str, Any]) -> dict[str, Any]:
    """The options with the ids of other containers where their beginnings were typed: those may fit others later."""

    def whole(entry: str) -> str:
        name, colon, mode = entry.partition(":")
        record = containers.lookup(engine, name)
        return entry if record is None or record.name == name else f"{record.id}{colon}{mode}"

    shared: dict[str, Any] = {
        option: f"container:{whole(mode[len('container:') :])}"
        for option, mode in options.items()
        if option in ("network_mode", "pid_mode", "ipc_mode") and mode.startswith("container:")
    }
    if options.get("volumes_from"):
        shared["volumes_from"] = [whole(entry) for entry in options["volumes_from"]]
    return {**options, **shared}


def _create(invocation: Invocation) -> int:
    with invocation.engine() as engine:
        put_line(_create_container(invocation, engine).id)
    return 0


def _run(invocation: Invocation) -> int:
    detached = invocation.is_on("detach")
    stdin, tty = invocation.is_on("interactive") and not detached, invocation.is_on("tty")
    keys = detach_keys(invocation)
    require_terminal(stdin, tty)
    with invocation.engine() as engine:
        record = _create_container(invocation, engine)
        try:
            if detached:
                _tell_warnings(containers.start(engine, record))
                put_line(record.id)
                return 0
            streams = Streams(stdin=stdin, tty=tty, keys=keys)
            return _start_attached(invocation, engine, record, streams)
        except HullError:
            if containers.state(engine, record).status == "created":  # it never began: nothing half-made remains
                containers.remove(engine, record, volumes=True)
            raise


def _tell_warnings(started: Started | None) -> None:
    """What could not be done as it was asked for, without being a reason not to start."""
    for warning in started.warnings if started else ():
        put_error(f"hull: warning: {warning}")


def _remove_if_asked(engine: Engine, record: ContainerRecord) -> None:
    """A container of `--rm` that has ended goes away before the command returns."""
    if _auto_remove(record):
        from .._runtime.finisher import finish

        finish(engine.paths, engine.records, record.id)


def _start_attached(invocation: Invocation, engine: Engine, record: ContainerRecord, streams: Streams) -> int:
    """Start a container and stay connected. The exit code of its process."""
    size = terminal_size(streams.stdin, streams.tty)
    with taken_signals() as signals:
        started = containers.start(engine, record, attach=True, rows=size.rows, columns=size.columns)
        _tell_warnings(started)
        session = started.session if started else containers.attach(engine, record)
        assert session is not None
        with session:
            streams = with_proxy(streams, invocation, proxy_to(engine, record))
            code = relay(session, signals, streams)
            _remove_if_asked(engine, record)  # before the session closes: its monitor would do so then
    return code


def _auto_remove(record: ContainerRecord) -> bool:
    from .._engine.declared import plan_of

    return plan_of(record).auto_remove


def _start(invocation: Invocation) -> int:
    attached = invocation.is_on("attach") or invocation.is_on("interactive")
    if not attached:
        from .targets import for_each

        with invocation.engine() as engine:

            def one(name: str) -> str:
                _tell_warnings(containers.start(engine, containers.find(engine, name)))
                return name

            return for_each(invocation.arguments, one)
    if len(invocation.arguments) != 1:
        raise UsageError("only one container can be attached to")
    with invocation.engine() as engine:
        record = containers.find(engine, invocation.arguments[0])
        streams = _streams_of(invocation, record, stdin=invocation.is_on("interactive"))
        return _start_attached(invocation, engine, record, streams)


def _streams_of(invocation: Invocation, record: ContainerRecord, *, stdin: bool) -> Streams:
    """The streams that fit what a container was made with."""
    from .._engine.declared import declared_spec

    spec = declared_spec(record)
    streams = Streams(stdin=stdin and spec.interactive, tty=spec.tty, keys=detach_keys(invocation))
    require_terminal(streams.stdin, streams.tty)
    return streams


def _attach(invocation: Invocation) -> int:
    with invocation.engine() as engine:
        record = containers.find(engine, invocation.arguments[0])
        streams = _streams_of(invocation, record, stdin=not invocation.is_on("no-stdin"))
        with taken_signals() as signals, containers.attach(engine, record) as session:
            streams = with_proxy(streams, invocation, proxy_to(engine, record))
            return relay(session, signals, streams)


COMMANDS = (
    Command(
        "run",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container of an image and start it",
        _run,
        (
            *CREATE_FLAGS,
            switch("detach", "leave it in the background and print its id", short="d"),
            switch("quiet", "no progress of a pull", short="q"),
            DETACH_KEYS,
            SIG_PROXY,
        ),
        minimum=1,
        stop_at_argument=True,
        error_code=125,
    ),
    Command(
        "create",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container of an image, without starting it",
        _create,
        (*CREATE_FLAGS, switch("quiet", "no progress of a pull", short="q")),
        minimum=1,
        stop_at_argument=True,
    ),
    Command(
        "start",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Start containers that have ended or never began",
        _start,
        (
            switch("attach", "show its output and end with it", short="a"),
            switch("interactive", "pass standard input on, too", short="i"),
            DETACH_KEYS,
            SIG_PROXY,
        ),
        minimum=1,
    ),
    Command(
        "attach",
        "[OPTIONS] CONTAINER",
        "Connect to a running container's input and output",
        _attach,
        (switch("no-stdin", "don't pass standard input on"), DETACH_KEYS, SIG_PROXY),
        minimum=1,
        maximum=1,
    ),
)
