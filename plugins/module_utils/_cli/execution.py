# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`exec`: one more process in a running container."""

from __future__ import annotations

from .._engine import containers
from .._engine import exec as execution
from .attachment import DETACH_KEYS, detach_keys, relay, require_terminal, taken_signals, terminal_size
from .command import Command
from .container_flags import environment
from .flags import many, switch, text
from .relay import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .command import Invocation


def _exec(invocation: Invocation) -> int:
    name, *argv = invocation.arguments
    detached = invocation.is_on("detach")
    stdin, tty = invocation.is_on("interactive") and not detached, invocation.is_on("tty")
    keys = detach_keys(invocation)
    require_terminal(stdin, tty)
    size = terminal_size(stdin, tty)
    with invocation.engine() as engine, taken_signals() as signals:
        record = containers.find(engine, name)
        process = execution.process_plan(
            record,
            tuple(argv),
            env=environment(invocation.parsed),
            user=invocation.text("user"),
            working_dir=invocation.text("workdir"),
            tty=tty,
            interactive=stdin,
            privileged=invocation.is_on("privileged"),
            rows=size.rows,
            columns=size.columns,
        )
        with execution.open_exec(engine, record, process, attach=not detached) as session:
            if detached:
                return 0
            return relay(session, signals, Streams(stdin=stdin, tty=tty, keys=keys))


COMMANDS = (
    Command(
        "exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Run a command in a running container",
        _exec,
        (
            switch("detach", "don't wait for it", short="d"),
            switch("interactive", "keep standard input open", short="i"),
            switch("tty", "give the command a terminal", short="t"),
            many("env", "set a variable (NAME=value)", short="e", option="env"),
            many("env-file", "read variables from a file, one a line"),
            text("user", "user of the command (name|uid[:group|gid])", short="u", option="user"),
            text("workdir", "directory in which the command starts", short="w", option="working_dir"),
            switch("privileged", "all capabilities, no filter of system calls"),
            DETACH_KEYS,
        ),
        minimum=2,
        stop_at_argument=True,
        error_code=125,
    ),
)
