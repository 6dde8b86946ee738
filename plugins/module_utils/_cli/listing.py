# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`ps port top`: what containers there are, how they are reached, what runs in them."""

from __future__ import annotations

from .._base.clock import now_ns
from .._base.errors import Conflict, NotFound
from .._engine import containers
from .ages import ago, date, span
from .command import Command
from .flags import UsageError, many, switch, text
from .printing import put, put_untrusted
from .tables import Column, align, render_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._engine.engine import Engine
    from .._runtime.launch_plan import LaunchPlan, PortPlan
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord
    from .command import Invocation

_COLUMNS = (
    Column("CONTAINER ID", "ID"),
    Column("IMAGE", "Image"),
    Column("COMMAND", "Command"),
    Column("CREATED", "RunningFor"),
    Column("STATUS", "Status"),
    Column("PORTS", "Ports"),
    Column("NAMES", "Names"),
)
_ENGINE_FILTERS = ("name", "id", "status", "label", "ancestor")
_MORE_FILTERS = ("exited", "health", "volume", "network")
_COMMAND_WIDTH = 20


def status_text(now: RunState, moment_ns: int) -> str:
    """The STATUS column: `Up 5 minutes (healthy)`, `Exited (0) 3 minutes ago`, `Created`."""
    if now.status in ("running", "paused"):
        health = f" ({_HEALTH.get(now.health.status, now.health.status)})" if now.health else ""
        note = " (Paused)" if now.status == "paused" else health
        return f"Up {span(moment_ns - now.started_ns)}{note}"
    if now.status == "restarting":
        return f"Restarting ({now.exit_code or 0}) {ago(now.finished_ns, moment_ns)}"
    if now.status == "exited":
        return f"Exited ({now.exit_code or 0}) {ago(now.finished_ns, moment_ns)}"
    return now.status.capitalize()


_HEALTH = {"starting": "health: starting"}


def command_text(args: Sequence[str], *, full: bool) -> str:
    """The COMMAND column: the words in quotes, cut to 20 characters unless `full`."""
    words = " ".join(args)
    if not full and len(words) > _COMMAND_WIDTH:
        words = words[: _COMMAND_WIDTH - 1] + "…"
    return f'"{words}"'


def ports_text(ports: Sequence[PortPlan]) -> str:
    """The PORTS column: `0.0.0.0:8080->80/tcp`, runs of ports joined as `8000-8002->80-82/tcp`."""
    runs: list[list[PortPlan]] = []
    for port in sorted(ports, key=lambda port: (port.host_address, port.protocol, port.container_port, port.host_port)):
        last = runs[-1][-1] if runs else None
        follows = last is not None and (
            (last.host_address, last.protocol, last.host_port + 1, last.container_port + 1)
            == (port.host_address, port.protocol, port.host_port, port.container_port)
        )
        if follows:
            runs[-1].append(port)
        else:
            runs.append([port])
    return ", ".join(_run_text(run) for run in runs)


def _run_text(run: list[PortPlan]) -> str:
    first, last = run[0], run[-1]
    outside, inside = str(first.host_port), str(first.container_port)
    if first != last:
        outside, inside = f"{outside}-{last.host_port}", f"{inside}-{last.container_port}"
    address = f"[{first.host_address}]" if ":" in first.host_address else first.host_address
    return f"{address}:{outside}->{inside}/{first.protocol}"


def _live_ports(plan: LaunchPlan, now: RunState) -> Sequence[PortPlan]:
    return plan.network.ports if plan.network is not None and now.status in ("running", "paused") else ()


def container_row(record: ContainerRecord, now: RunState, moment_ns: int, *, full: bool) -> dict[str, Any]:
    """A container as a row of `ps`, with the fields of Docker's."""
    from .._engine.declared import declared_spec, effective_mounts, plan_of

    spec, plan, mounts = declared_spec(record), plan_of(record), effective_mounts(record)
    sources = [mount.source for mount in mounts if mount.source]
    return {
        "Command": command_text(plan.process.args, full=full),
        "CreatedAt": date(record.created_ns),
        "ID": record.id if full else record.id[:12],
        "Image": record.image_name,
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(spec.labels.items())),
        "LocalVolumes": str(sum(mount.kind == "volume" for mount in mounts)),
        "Mounts": ",".join(sources),
        "Names": record.name,
        "Networks": spec.network_mode,
        "Ports": ports_text(_live_ports(plan, now)),
        "RunningFor": ago(record.created_ns, moment_ns),
        "State": now.status,
        "Status": status_text(now, moment_ns),
    }


def _filters(invocation: Invocation) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The filters that the engine knows, and those that are applied to rows."""
    known: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for entry in invocation.items("filter"):
        key, equals, value = entry.partition("=")
        if not equals or key not in (*_ENGINE_FILTERS, *_MORE_FILTERS):
            names = ", ".join((*_ENGINE_FILTERS, *_MORE_FILTERS))
            raise UsageError(f"--filter: {entry!r} is not known", hint=f"use name=value with {names}")
        (known if key in _ENGINE_FILTERS else others).setdefault(key, []).append(value)
    return known, others


def _passes(row: dict[str, Any], now: RunState, filters: dict[str, list[str]]) -> bool:
    facts = {
        "exited": [str(now.exit_code)] if now.status == "exited" else [],
        "health": [now.health.status if now.health else "none"],
        "volume": row["Mounts"].split(","),
        "network": [row["Networks"]],
    }
    return all(any(value in facts[name] for value in values) for name, values in filters.items())


def _count(invocation: Invocation) -> int:
    """How many of the newest containers to show, 0 for all."""
    if invocation.is_on("latest"):
        return 1
    value = invocation.text("last") or "0"
    if not value.lstrip("-").isdigit():
        raise UsageError(f"--last: {value!r} is not a number")
    return max(int(value), 0)


def _ps(invocation: Invocation) -> int:
    count, full = _count(invocation), invocation.is_on("no-trunc")
    filters, others = _filters(invocation)
    every = invocation.is_on("all") or count > 0 or "exited" in others
    moment = now_ns()
    with invocation.engine() as engine:
        found = containers.list_containers(engine, all=every, filters=_resolved(engine, filters))
        if invocation.is_on("quiet") and not others:  # no row has to be made for an id
            ids = [record.id if full else record.id[:12] for record, _ in found]
            put("".join(f"{container_id}\n" for container_id in (ids[:count] if count else ids)))
            return 0
        pairs = [(container_row(record, now, moment, full=full), now) for record, now in found]
    rows = [row for row, now in pairs if _passes(row, now, others)]
    rows = rows[:count] if count else rows
    if invocation.is_on("quiet"):
        put("".join(f"{row['ID']}\n" for row in rows))
    else:
        put_untrusted(render_rows(_COLUMNS, rows, invocation.text("format")))
    return 0


def _resolved(engine: Engine, filters: dict[str, list[str]]) -> dict[str, list[str]]:
    """The filters, with the images of `ancestor` by their ids too, so that any name of an image is understood."""
    if "ancestor" not in filters:
        return filters
    from .._engine import images

    found = [images.lookup(engine, name) for name in filters["ancestor"]]
    return {**filters, "ancestor": filters["ancestor"] + [record.id for record in found if record]}


def _port(invocation: Invocation) -> int:
    from .._engine.declared import plan_of

    name, *wanted = invocation.arguments
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        ports = _live_ports(plan_of(record), containers.state(engine, record))
    lines = [(f"{port.container_port}/{port.protocol}", f"{port.host_address}:{port.host_port}") for port in ports]
    if wanted:
        key = wanted[0] if "/" in wanted[0] else wanted[0] + "/tcp"
        hits = [outside for inside, outside in lines if inside == key]
        if not hits:
            raise NotFound(f"container {name}: port {key} is not published")
        put("".join(f"{hit}\n" for hit in hits))
    else:
        put("".join(f"{inside} -> {outside}\n" for inside, outside in lines))
    return 0


def _top(invocation: Invocation) -> int:
    """The processes of the container's cgroup, as the host sees them, from /proc."""
    from .._engine.declared import plan_of
    from .._kernel.cgroups import Cgroup, detect
    from .process_table import HEADINGS, process_row

    (name,) = invocation.arguments
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        if containers.state(engine, record).status not in ("running", "paused"):
            raise Conflict(f"container {name}: it is not running", hint="start it first")
        pids = Cgroup(detect(), plan_of(record).cgroup).pids()
    rows = [row for row in (process_row(pid) for pid in sorted(pids)) if row is not None]
    put(align([HEADINGS, *rows]))
    return 0


COMMANDS = (
    Command(
        "ps",
        "[OPTIONS]",
        "List containers, running ones unless told otherwise",
        _ps,
        (
            switch("all", "stopped ones too", short="a"),
            many("filter", "name=, id=, status=, label=, ancestor=, exited=, health=, volume=", "filter", short="f"),
            text("format", "json, a template, or 'table' and a template"),
            text("last", "the newest n containers, running or not", "int", short="n"),
            switch("latest", "the newest container, running or not", short="l"),
            switch("no-trunc", "don't cut ids and commands"),
            switch("quiet", "ids only", short="q"),
        ),
        maximum=0,
    ),
    Command("port", "CONTAINER [PORT[/PROTOCOL]]", "Show published ports", _port, minimum=1, maximum=2),
    Command("top", "CONTAINER", "Show the processes of a container", _top, minimum=1, maximum=1),
)
