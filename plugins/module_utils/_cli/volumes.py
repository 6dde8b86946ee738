# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`volume create ls inspect rm`."""

from __future__ import annotations

from .._engine import volumes
from .._engine.volume_options import check_driver, volume_source
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import put, put_line, put_untrusted
from .tables import Column, render_rows
from .targets import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .command import Invocation

_COLUMNS = (Column("DRIVER", "Driver"), Column("VOLUME NAME", "Name"))


def _create(invocation: Invocation) -> int:
    given = invocation.text("name") or ""
    name = invocation.arguments[0] if invocation.arguments else given
    labels = dict(entry.partition("=")[::2] for entry in invocation.items("label"))
    options = dict(entry.partition("=")[::2] for entry in invocation.items("opt"))
    check_driver(invocation.text("driver"), option="--driver")
    volume_source(options, option="--opt")
    with invocation.engine() as engine:
        put_line(volumes.create(engine, name, labels=labels, options=options).name)
    return 0


def _row(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "Driver": facts["Driver"],
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(facts["Labels"].items())),
        "Mountpoint": facts["Mountpoint"],
        "Name": facts["Name"],
        "Scope": facts["Scope"],
    }


def _list(invocation: Invocation) -> int:
    labels: dict[str, str] = {}
    name_part, dangling = "", None
    for entry in invocation.items("filter"):
        key, equals, value = entry.partition("=")
        if key == "label" and equals:
            labels.update([value.partition("=")[::2]])
        elif key == "name" and equals:
            name_part = value
        elif key == "dangling" and value in ("true", "1", "false", "0"):
            dangling = value in ("true", "1")
        else:
            raise UsageError(f"--filter: {entry!r} is not known", hint="use name=, label=, dangling=true|false")
    with invocation.engine() as engine:
        found = volumes.list_volumes(engine, labels=labels, dangling=dangling is True)
        if dangling is False:
            unused = {record.name for record in volumes.list_volumes(engine, dangling=True)}
            found = [record for record in found if record.name not in unused]
        records = [record for record in found if name_part in record.name]
        rows = [_row(volumes.inspect(engine, record)) for record in records]
    if invocation.is_on("quiet"):
        put("".join(f"{row['Name']}\n" for row in rows))
    else:
        put_untrusted(render_rows(_COLUMNS, rows, invocation.text("format")))
    return 0


def _inspect(invocation: Invocation) -> int:
    from .inspection import show_documents

    with invocation.engine() as engine:
        return show_documents(
            invocation.arguments,
            lambda name: volumes.inspect(engine, volumes.find(engine, name)),
            invocation.text("format"),
        )


def _remove(invocation: Invocation) -> int:
    with invocation.engine() as engine:

        def one(name: str) -> str:
            volumes.remove(engine, name, force=invocation.is_on("force"))
            return name

        return for_each(invocation.arguments, one)


_FORMAT = text("format", "json, a template, or 'table' and a template")

COMMANDS = (
    Command(
        "volume create",
        "[OPTIONS] [VOLUME]",
        "Make a volume",
        _create,
        (
            many("label", "attach a label (NAME=value)"),
            many("opt", "option of the driver: type=, device=, o=", short="o"),
            text("driver", "driver: local", short="d"),
            text("name", "name of the volume"),
        ),
        maximum=1,
    ),
    Command(
        "volume ls",
        "[OPTIONS]",
        "List volumes",
        _list,
        (
            switch("quiet", "names only", short="q"),
            many("filter", "name=, label=, dangling=", "filter", short="f"),
            _FORMAT,
        ),
        maximum=0,
    ),
    Command(
        "volume inspect",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Show all about volumes, as JSON",
        _inspect,
        (text("format", "template of what to print", short="f"),),
        minimum=1,
    ),
    Command(
        "volume rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove volumes and their content",
        _remove,
        (switch("force", "don't mind missing ones", short="f"),),
        minimum=1,
    ),
)
