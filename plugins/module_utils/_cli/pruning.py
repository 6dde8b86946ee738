# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`container prune` and `image prune`: what nobody uses goes, after a question; `system df`: what all of it takes."""

from __future__ import annotations

from .._base.units import format_size
from .._engine import pruning
from .command import Command
from .filters import filter_pairs
from .flags import many, switch, text
from .printing import put, put_line, put_untrusted, visible
from .tables import Column, render_rows
from .targets import confirm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .command import Invocation


def _containers(invocation: Invocation) -> int:
    filters = filter_pairs(invocation)
    if not invocation.is_on("force") and not confirm("This removes all stopped containers."):
        return 0
    with invocation.engine() as engine:
        pruned = pruning.prune_containers(engine, filters)
    _tell("Containers", list(pruned.removed), pruned.space_bytes)
    return 0


def _images(invocation: Invocation) -> int:
    filters, which = filter_pairs(invocation), "without a name"
    if invocation.is_on("all"):
        filters, which = [*filters, ("dangling", "false")], "from which no container was made"
    if not invocation.is_on("force") and not confirm(f"This removes all images {which}."):
        return 0
    with invocation.engine() as engine:
        pruned = pruning.prune_images(engine, filters)
    untagged = [f"untagged: {visible(name)}" for name in pruned.untagged]
    _tell("Images", [*untagged, *(f"deleted: {image_id}" for image_id in pruned.removed)], pruned.space_bytes)
    return 0


def _tell(what: str, lines: list[str], space_bytes: int) -> None:
    if lines:
        put(f"Deleted {what}:\n" + "".join(f"{line}\n" for line in lines) + "\n")
    put_line(f"Total reclaimed space: {format_size(space_bytes)}")


def _usage(invocation: Invocation) -> int:
    with invocation.engine() as engine:
        rows = [_row(found) for found in pruning.usage(engine)]
    put_untrusted(render_rows(_COLUMNS, rows, invocation.text("format")))
    return 0


def _row(found: pruning.Usage) -> dict[str, Any]:
    share = f" ({found.reclaimable_bytes * 100 // found.size_bytes}%)" if found.size_bytes else ""
    return {
        "Type": {"images": "Images", "containers": "Containers", "volumes": "Local Volumes"}[found.kind],
        "TotalCount": str(found.total),
        "Active": str(found.active),
        "Size": format_size(found.size_bytes),
        "Reclaimable": format_size(found.reclaimable_bytes) + share,
    }


_COLUMNS = (
    Column("TYPE", "Type"),
    Column("TOTAL", "TotalCount"),
    Column("ACTIVE", "Active"),
    Column("SIZE", "Size"),
    Column("RECLAIMABLE", "Reclaimable"),
)
_FORCE = switch("force", "don't ask", short="f")

COMMANDS = (
    Command(
        "container prune",
        "[OPTIONS]",
        "Remove all stopped containers",
        _containers,
        (many("filter", "until=, label=, label!=", "filter"), _FORCE),
        maximum=0,
    ),
    Command(
        "image prune",
        "[OPTIONS]",
        "Remove images that have no name",
        _images,
        (
            switch("all", "images with names too, if no container was made from them", short="a"),
            many("filter", "until=, label=, label!=", "filter"),
            _FORCE,
        ),
        maximum=0,
    ),
    Command(
        "system df",
        "[OPTIONS]",
        "Show the disk space that images, containers and volumes take",
        _usage,
        (text("format", "json, a template, or 'table' and a template"),),
        maximum=0,
    ),
)
