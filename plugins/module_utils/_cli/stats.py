# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`stats`: what containers use, once or again and again."""

from __future__ import annotations

import time

from .._base.units import format_size
from .._engine import containers
from .._engine.statistics import Sample, Sampler, cpu_percent
from .command import Command
from .flags import switch, text
from .printing import STDOUT, is_terminal, put, put_untrusted
from .tables import Column, render_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engine.engine import Engine
    from .._store.records import ContainerRecord
    from .command import Invocation

_INTERVAL_S = 1.0
_CLEAR = "\x1b[H\x1b[J"
_COLUMNS = (
    Column("CONTAINER ID", "ID"),
    Column("NAME", "Name"),
    Column("CPU %", "CPUPerc"),
    Column("MEM USAGE / LIMIT", "MemUsage"),
    Column("MEM %", "MemPerc"),
    Column("NET I/O", "NetIO"),
    Column("BLOCK I/O", "BlockIO"),
    Column("PIDS", "PIDs"),
)


def binary_size(size_bytes: int) -> str:
    """A size in powers of 1024 with four significant digits, as Docker shows memory: `23.54GiB`."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g}{unit}"


def stats_row(record: ContainerRecord, before: Sample, after: Sample, *, full: bool) -> dict[str, Any]:
    """A container as a row, with the fields of Docker's."""
    shown_id = record.id if full else record.id[:12]
    memory = after.memory_bytes * 100 / after.memory_limit_bytes if after.memory_limit_bytes else 0.0
    return {
        "BlockIO": f"{format_size(after.read_bytes)} / {format_size(after.written_bytes)}",
        "CPUPerc": f"{cpu_percent(before, after):.2f}%",
        "Container": shown_id,
        "ID": shown_id,
        "MemPerc": f"{memory:.2f}%",
        "MemUsage": f"{binary_size(after.memory_bytes)} / {binary_size(after.memory_limit_bytes)}",
        "Name": record.name,
        "NetIO": f"{format_size(after.received_bytes)} / {format_size(after.sent_bytes)}",
        "PIDs": str(after.pids),
    }


def _chosen(invocation: Invocation, engine: Engine) -> list[ContainerRecord]:
    if invocation.arguments:
        return [containers.find(engine, name) for name in invocation.arguments]
    return [record for record, _ in containers.list_containers(engine, all=invocation.is_on("all"))]


def _stats(invocation: Invocation) -> int:
    layout, full = invocation.text("format"), invocation.is_on("no-trunc")
    streaming = not invocation.is_on("no-stream")
    clears = streaming and is_terminal(STDOUT) and (not layout or layout.startswith("table"))
    with invocation.engine() as engine:
        sampler = Sampler(engine)
        chosen = _chosen(invocation, engine)
        before = {record.id: sampler.sample(record) for record in chosen}
        while True:
            time.sleep(_INTERVAL_S)
            after = {record.id: sampler.sample(record) for record in chosen}
            rows = [stats_row(record, before[record.id], after[record.id], full=full) for record in chosen]
            put(_CLEAR if clears else "")
            put_untrusted(render_rows(_COLUMNS, rows, layout))
            if not streaming:
                return 0
            if not invocation.arguments:
                chosen = _chosen(invocation, engine)
            before = {record.id: after.get(record.id) or sampler.sample(record) for record in chosen}


COMMANDS = (
    Command(
        "stats",
        "[OPTIONS] [CONTAINER...]",
        "Show what containers use of CPU, memory, network and disks, until interrupted",
        _stats,
        (
            switch("all", "stopped ones too", short="a"),
            text("format", "json, a template, or 'table' and a template"),
            switch("no-stream", "show it once"),
            switch("no-trunc", "don't cut ids"),
        ),
    ),
)
