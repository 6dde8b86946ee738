# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`logs`: what a container wrote, and what it goes on writing."""

from __future__ import annotations

from .._base.clock import format_time, now_ns
from .._base.errors import Unsupported
from .._base.units import parse_moment
from .._engine import containers
from .._engine.declared import declared_spec
from .command import Command
from .flags import UsageError, switch, text
from .printing import STDERR, STDOUT, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._runtime.logs import LogLine
    from .command import Invocation


def _tail(invocation: Invocation) -> int:
    value = invocation.text("tail") or "all"
    if value == "all" or (value.startswith("-") and value[1:].isdigit()):
        return -1
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f"--tail: {value!r} is not a number of lines", hint="write a number or all")
    return int(value)


def _moment(invocation: Invocation, flag: str) -> int:
    value = invocation.text(flag)
    return parse_moment(value, now_ns(), option=f"--{flag}") if value else 0


def _logs(invocation: Invocation) -> int:
    from .._runtime.logs import read_log

    tail, since_ns, until_ns = _tail(invocation), _moment(invocation, "since"), _moment(invocation, "until")
    stamped = invocation.is_on("timestamps")
    with invocation.engine() as engine:
        record = containers.find(engine, invocation.arguments[0])
        if declared_spec(record).log_driver == "none":
            raise Unsupported(f"logs of container {record.name}: its log_driver is none, nothing is kept")

        def may_come_more() -> bool:
            running = containers.state(engine, record).is_up
            return running and not (until_ns and now_ns() > until_ns)

        lines = read_log(
            engine.paths.container(record.id),
            since_ns=since_ns,
            until_ns=until_ns,
            tail=tail,
            follow=may_come_more if invocation.is_on("follow") else None,
        )
        _show(lines, stamped=stamped)
    return 0


def _show(lines: Iterator[LogLine], *, stamped: bool) -> None:
    """Write the records of a log, to the stream that each came from. A long line is many records, and has one stamp."""
    unfinished = {"stdout": False, "stderr": False}
    for line in lines:
        stamp = f"{format_time(line.time_ns)} ".encode() if stamped and not unfinished.get(line.stream) else b""
        unfinished[line.stream] = not line.data.endswith(b"\n")
        write_all(STDERR if line.stream == "stderr" else STDOUT, stamp + line.data)


COMMANDS = (
    Command(
        "logs",
        "[OPTIONS] CONTAINER",
        "Show what a container has written",
        _logs,
        (
            switch("follow", "go on while the container runs", short="f"),
            text("since", "only what came after a time (10m, 2026-11-23T20:24:33Z)"),
            text("until", "only what came before a time"),
            text("tail", "only the last lines", short="n"),
            switch("timestamps", "begin each line with its time", short="t"),
        ),
        minimum=1,
        maximum=1,
    ),
)
