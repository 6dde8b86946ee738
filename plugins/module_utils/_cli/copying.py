# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`cp`: files copied into a container and out of it."""

from __future__ import annotations

import os

from .._base.units import format_size
from .._engine import containers
from .command import Command
from .flags import UsageError, switch
from .printing import STDERR, STDIN, STDOUT, is_terminal, put_error, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._engine.copy_values import CopyReport
    from .command import Invocation

_CHUNK = 1024 * 1024


def split_place(text: str) -> tuple[str, str]:
    """A container and a path in it, or an empty name and a path on the host.

    `./a:b` and `/a:b` are files of the host whose names have a colon.
    """
    name, colon, path = text.partition(":")
    return ("", text) if not colon or not name or name[0] in "./" else (name, path)


def _copy(invocation: Invocation) -> int:
    (source_name, source), (target_name, target) = map(split_place, invocation.arguments)
    if source_name and target_name:
        raise UsageError("both are in a container", hint="copy to the host first, or: hull cp a:/x - | hull cp - b:/y")
    if not source_name and not target_name:
        raise UsageError("neither is in a container", hint="write CONTAINER:PATH for what is in one")
    return (
        _out(invocation, source_name, source, target) if source_name else _in(invocation, source, target_name, target)
    )


def _out(invocation: Invocation, name: str, source: str, target: str) -> int:
    from .._engine.copying import copy_out, pack_out

    follow = invocation.is_on("follow-link")
    if target == "-" and is_terminal(STDOUT):
        raise UsageError("standard output is a terminal, not a place for an archive", hint="use a pipe or a file")
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        if target == "-":
            pack_out(engine, record, source, lambda data: write_all(STDOUT, data), follow=follow)
            return 0
        report = copy_out(engine, record, source, target, follow=follow, archive=invocation.is_on("archive"))
    return _tell(invocation, report, target)


def _in(invocation: Invocation, source: str, name: str, target: str) -> int:
    from .._engine.copying import copy_in, unpack_in

    archive = invocation.is_on("archive")
    if source == "-" and is_terminal(STDIN):
        raise UsageError("standard input is a terminal, not an archive", hint="use a pipe or a file")
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        if source == "-":
            report = unpack_in(engine, record, _standard_input(), target, archive=archive)
        else:
            report = copy_in(engine, record, source, target, follow=invocation.is_on("follow-link"), archive=archive)
    return _tell(invocation, report, f"{name}:{target}")


def _standard_input() -> Iterator[bytes]:
    while data := os.read(STDIN, _CHUNK):
        yield data


def _tell(invocation: Invocation, report: CopyReport, target: str) -> int:
    for warning in report.warnings:
        put_error(f"hull: warning: {warning}")
    if is_terminal(STDERR) and not invocation.is_on("quiet"):
        put_error(f"Successfully copied {format_size(report.size_bytes)} to {target}")
    return 0


COMMANDS = (
    Command(
        "cp",
        "[OPTIONS] CONTAINER:PATH PATH|- | [OPTIONS] PATH|- CONTAINER:PATH",
        "Copy files into a container or out of it, running or not",
        _copy,
        (
            switch("archive", "keep owners; else root's in the container, the caller's on the host", short="a"),
            switch("follow-link", "follow a link that is to be copied", short="L"),
            switch("quiet", "don't tell what was copied", short="q"),
        ),
        minimum=2,
        maximum=2,
    ),
)
