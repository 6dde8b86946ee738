# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`container|image|volume|system prune`: what nobody uses goes, after a question; `system df`: what all of it takes."""

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
    return _prune(invocation, "all stopped containers", {"containers": filter_pairs(invocation)})


def _images(invocation: Invocation) -> int:
    return _prune(invocation, _which_images(invocation), {"images": _image_filters(invocation)})


def _volumes(invocation: Invocation) -> int:
    """Anonymous volumes only, as in Docker, unless `--all`."""
    filters, which = filter_pairs(invocation), "anonymous volumes"
    if invocation.is_on("all"):
        filters, which = [*filters, ("all", "true")], "volumes"
    return _prune(invocation, f"all {which} that no container uses, with their content", {"volumes": filters})


def _everything(invocation: Invocation) -> int:
    what = f"all stopped containers, {_which_images(invocation)}"
    wanted = {"containers": filter_pairs(invocation), "images": _image_filters(invocation)}
    if invocation.is_on("volumes"):
        what += ", all anonymous volumes that no container uses"
        wanted["volumes"] = filter_pairs(invocation)
    return _prune(invocation, what, wanted)


def _which_images(invocation: Invocation) -> str:
    return f"all images {'from which no container was made' if invocation.is_on('all') else 'without a name'}"


def _image_filters(invocation: Invocation) -> list[tuple[str, str]]:
    return [*filter_pairs(invocation), *([("dangling", "false")] if invocation.is_on("all") else [])]


def _prune(invocation: Invocation, what: str, wanted: dict[str, list[tuple[str, str]]]) -> int:
    """Ask, remove, and tell what went and the space that it took. `wanted` has the filters by kind."""
    if not invocation.is_on("force") and not confirm(f"This removes {what}."):
        return 0
    with invocation.engine() as engine:
        pruned = pruning.prune_all(engine, wanted)
    for kind, found in pruned.items():
        lines = [f"untagged: {visible(name)}" for name in found.untagged]
        lines += [f"deleted: {name}" if kind == "images" else visible(name) for name in found.removed]
        if lines:
            put(f"Deleted {kind.capitalize()}:\n" + "".join(f"{line}\n" for line in lines) + "\n")
    put_line(f"Total reclaimed space: {format_size(sum(found.space_bytes for found in pruned.values()))}")
    return 0


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
_ALL_IMAGES = switch("all", "images with names too, if no container was made from them", short="a")
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
            _ALL_IMAGES,
            many("filter", "until=, label=, label!=, dangling=", "filter"),
            _FORCE,
        ),
        maximum=0,
    ),
    Command(
        "volume prune",
        "[OPTIONS]",
        "Remove anonymous volumes that no container uses",
        _volumes,
        (switch("all", "named ones too", short="a"), many("filter", "label=, label!=, all=", "filter"), _FORCE),
        maximum=0,
    ),
    Command(
        "system prune",
        "[OPTIONS]",
        "Remove stopped containers, images that have no name, and volumes",
        _everything,
        (
            _ALL_IMAGES,
            switch("volumes", "anonymous volumes too, if no container uses them"),
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
