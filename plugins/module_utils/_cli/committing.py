# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`commit diff export history squash` and `image diff`."""

from __future__ import annotations

from .._base.clock import format_time, now_ns
from .._base.units import format_size
from .._engine import containers, images
from .ages import ago
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import STDOUT, is_terminal, put, put_error, put_line, put_untrusted, visible, write_all
from .tables import Column, render_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engine.image_history import Step
    from .._image.changeset import Change
    from .command import Invocation

_CHUNK = 1024 * 1024
_SHORT_ID = 12
_COMMAND_WIDTH = 45
_HISTORY = (
    Column("IMAGE", "ID"),
    Column("CREATED", "CreatedSince"),
    Column("CREATED BY", "CreatedBy"),
    Column("SIZE", "Size"),
    Column("COMMENT", "Comment"),
)


def _commit(invocation: Invocation) -> int:
    from .._engine.committing import CommitRequest, commit

    name, *target = invocation.arguments
    request = CommitRequest(
        name=target[0] if target else "",
        author=invocation.text("author") or "",
        message=invocation.text("message") or "",
        changes=tuple(invocation.items("change")),
        pause=invocation.values.get("pause") is not False,
    )
    with invocation.engine() as engine:
        done = commit(engine, containers.find(engine, name), request)
    for warning in done.warnings:
        put_error(f"hull: warning: {warning}")
    put_line(done.image.id)
    return 0


def _diff(invocation: Invocation) -> int:
    from .._engine.committing import diff

    (name,) = invocation.arguments
    with invocation.engine() as engine:
        changes = diff(engine, containers.find(engine, name))
    _show_changes(changes, invocation.text("format"))
    return 0


def _image_diff(invocation: Invocation) -> int:
    from .._engine.image_trees import compare_images

    before, after = invocation.arguments
    with invocation.engine() as engine:
        changes = compare_images(engine, images.find(engine, before), images.find(engine, after))
    if not invocation.is_on("times"):
        changes = [change for change in changes if change.what != ("time",)]
    _show_changes(changes, invocation.text("format"))
    return 0


def _show_changes(changes: list[Change], layout: str | None) -> None:
    """One line each: `C /etc/passwd`, and in what respect where that is known."""
    rows = [
        {
            "Kind": change.kind,
            "Path": "/" + change.path.decode("utf-8", "backslashreplace"),
            "What": ", ".join(change.what),
        }
        for change in changes
    ]
    if layout:
        put_untrusted(
            render_rows((Column("KIND", "Kind"), Column("PATH", "Path"), Column("WHAT", "What")), rows, layout)
        )
        return
    lines = (f"{row['Kind']} {visible(row['Path'])}" + (f"  ({row['What']})" if row["What"] else "") for row in rows)
    put("".join(f"{line}\n" for line in lines))


def _export(invocation: Invocation) -> int:
    (name,) = invocation.arguments
    path = invocation.text("output")
    if not path and is_terminal(STDOUT):
        raise UsageError("standard output is a terminal, not a place for an archive", hint="use -o FILE, or a pipe")
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        if path and path != "-":
            from .._engine.export_file import write_export

            write_export(engine, record, path)
            return 0
        from .._engine.committing import Export

        with Export(engine, record) as stream:
            while piece := stream.read(_CHUNK):
                write_all(STDOUT, piece)
    return 0


def _history(invocation: Invocation) -> int:
    from .._engine.image_history import history

    (name,) = invocation.arguments
    full = invocation.is_on("no-trunc")
    with invocation.engine() as engine:
        steps = history(engine, images.find(engine, name))
    rows = [_history_row(step, full=full, human=invocation.values.get("human") is not False) for step in steps]
    if invocation.is_on("quiet"):
        put("".join(f"{row['ID']}\n" for row in rows))
    else:
        put_untrusted(render_rows(_HISTORY, rows, invocation.text("format")))
    return 0


def _history_row(step: Step, *, full: bool, human: bool) -> dict[str, Any]:
    created_by = step.created_by if full else _cut(" ".join(step.created_by.split()))
    created = format_time(step.created_ns)
    image_id = step.image_id if full else step.image_id.partition(":")[2][:_SHORT_ID]
    return {
        "Comment": step.comment,
        "CreatedAt": created,
        "CreatedBy": created_by,
        "CreatedSince": ago(step.created_ns, now_ns()) if human else created,
        "ID": image_id or "<missing>",
        "Layer": step.diff_id,
        "Size": format_size(step.size_bytes) if human else str(step.size_bytes),
    }


def _cut(words: str) -> str:
    return words if len(words) <= _COMMAND_WIDTH else words[: _COMMAND_WIDTH - 1] + "…"


def _squash(invocation: Invocation) -> int:
    from .._engine.image_trees import squash

    source, *target = invocation.arguments
    with invocation.engine() as engine:
        record = squash(
            engine,
            images.find(engine, source),
            target[0] if target else "",
            above=invocation.text("from") or "",
            message=invocation.text("message") or "",
        )
    put_line(record.id)
    return 0


_FORMAT = text("format", "json, a template, or 'table' and a template")

COMMANDS = (
    Command(
        "commit",
        "[OPTIONS] CONTAINER [NAME[:TAG]]",
        "Make an image of a container and what it has changed",
        _commit,
        (
            text("author", "who made it", short="a"),
            many("change", "set a part of the configuration (CMD, ENV, WORKDIR ...)", short="c", option="changes"),
            text("message", "comment of the image", short="m"),
            switch("pause", "stop the container's processes meanwhile; on unless --pause=false", short="p"),
        ),
        minimum=1,
        maximum=2,
    ),
    Command(
        "diff",
        "[OPTIONS] CONTAINER",
        "Show what a container has added (A), changed (C) and deleted (D)",
        _diff,
        (_FORMAT,),
        minimum=1,
        maximum=1,
    ),
    Command(
        "export",
        "[OPTIONS] CONTAINER",
        "Write a container's files as a tar, without what is mounted in it",
        _export,
        (text("output", "file to write, instead of standard output", "path", short="o"),),
        minimum=1,
        maximum=1,
    ),
    Command(
        "history",
        "[OPTIONS] IMAGE",
        "Show how an image was made",
        _history,
        (
            _FORMAT,
            switch("human", "times and sizes for people; on unless --human=false", short="H"),
            switch("no-trunc", "don't cut commands and ids"),
            switch("quiet", "ids only", short="q"),
        ),
        minimum=1,
        maximum=1,
    ),
    Command(
        "squash",
        "[OPTIONS] IMAGE [NAME[:TAG]]",
        "Make one layer of an image's layers",
        _squash,
        (
            text("from", "only the newest N layers, or those above a layer (its diff ID)", "N|layer", option="from"),
            text("message", "comment of the image", short="m"),
        ),
        minimum=1,
        maximum=2,
    ),
    Command(
        "image diff",
        "[OPTIONS] IMAGE IMAGE",
        "Show in what files two images differ, and how",
        _image_diff,
        (_FORMAT, switch("times", "also files that differ in nothing but their time")),
        minimum=2,
        maximum=2,
    ),
)
