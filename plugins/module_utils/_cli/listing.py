# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`ps port top`: what containers there are, how they are reached, what runs in them."""

from __future__ import annotations

from .._base.clock import now_ns
from .._base.codec import parse
from .._base.errors import Conflict, NotFound
from .._base.units import format_size
from .._engine import containers
from .ages import ago, date, span
from .command import Command
from .filters import filter_pairs
from .flags import UsageError, many, switch, text
from .printing import put, put_untrusted
from .tables import Column, align, render_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._engine.engine import Engine
    from .._runtime.launch_plan import PortPlan
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
    return f"{_address(first)}:{outside}->{inside}/{first.protocol}"


def _address(port: PortPlan) -> str:
    return f"[{port.host_address}]" if ":" in port.host_address else port.host_address


def _live_ports(plan: dict[str, Any], now: RunState) -> list[PortPlan]:
    """The published ports that the plan of a running container's record has."""
    if not plan["network"] or now.status not in ("running", "paused"):
        return []
    from .._runtime.launch_plan import PortPlan, from_record

    return [from_record(PortPlan, port) for port in plan["network"]["ports"]]


class ContainerRow:
    """A container as a row of `ps`, with the fields of Docker's. What a field needs is read when it is asked for: of
    the record's documents the table needs one, ids none."""

    def __init__(self, record: ContainerRecord, now: RunState, moment_ns: int, *, full: bool) -> None:
        self._record, self._now, self._moment_ns, self._full = record, now, moment_ns, full
        self._launch: dict[str, Any] | None = None

    def _document(self) -> dict[str, Any]:
        if self._launch is None:
            self._launch = parse(self._record.launch, source=f"the record of container {self._record.name}")
        return self._launch

    def table_fields(self) -> dict[str, str]:
        """The fields of the columns."""
        record, plan = self._record, self._document()["plan"]
        return {
            "Command": command_text(plan["process"]["args"], full=self._full),
            "ID": record.id if self._full else record.id[:12],
            "Image": record.image_name,
            "Names": record.name,
            "Ports": ports_text(_live_ports(plan, self._now)),
            "RunningFor": ago(record.created_ns, self._moment_ns),
            "Status": status_text(self._now, self._moment_ns),
        }

    def all_fields(self) -> dict[str, Any]:
        """Every field but the size."""
        from .._engine.declared import declared_spec

        spec, mounts = declared_spec(self._record), self._document()["mounts"]
        return {
            **self.table_fields(),
            "CreatedAt": date(self._record.created_ns),
            "Labels": ",".join(f"{name}={value}" for name, value in sorted(spec.labels.items())),
            "LocalVolumes": str(sum(mount["kind"] == "volume" for mount in mounts)),
            "Mounts": ",".join(mount["source"] for mount in mounts if mount["source"]),
            "Networks": spec.network_mode,
            "State": self._now.status,
        }


def _filters(invocation: Invocation) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for name, value in filter_pairs(invocation):
        given.setdefault(name, []).append(value)
    return given


def _count(invocation: Invocation) -> int:
    """How many of the newest containers to show, 0 for all."""
    if invocation.is_on("latest"):
        return 1
    value = invocation.text("last") or "0"
    if not value.lstrip("-").isdigit():
        raise UsageError(f"--last: {value!r} is not a number")
    return max(int(value), 0)


def _ps(invocation: Invocation) -> int:
    count, full, layout = _count(invocation), invocation.is_on("no-trunc"), invocation.text("format")
    sized = invocation.is_on("size") or ".Size" in (layout or "")
    moment = now_ns()
    with invocation.engine() as engine:
        every = invocation.is_on("all") or count > 0
        found = containers.list_containers(engine, all=every, filters=_filters(invocation))
        found = found[:count] if count else found
        if invocation.is_on("quiet"):
            put("".join(f"{record.id if full else record.id[:12]}\n" for record, _ in found))
            return 0
        rows = []
        for record, now in found:
            row = ContainerRow(record, now, moment, full=full)
            fields = row.table_fields() if layout in (None, "", "table") else row.all_fields()
            rows.append({**fields, "Size": _size_text(engine, record) if sized else "0B"})
    columns = (*_COLUMNS, Column("SIZE", "Size")) if sized else _COLUMNS
    put_untrusted(render_rows(columns, rows, layout))
    return 0


def _size_text(engine: Engine, record: ContainerRecord) -> str:
    from .._engine.container_sizes import sizes_of

    sizes = sizes_of(engine, record)
    return f"{format_size(sizes.own_bytes)} (virtual {format_size(sizes.root_bytes)})"


def _port(invocation: Invocation) -> int:
    name, *wanted = invocation.arguments
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        plan = parse(record.launch, source=f"the record of container {name}")["plan"]
        ports = _live_ports(plan, containers.state(engine, record))
    lines = [(f"{port.container_port}/{port.protocol}", f"{_address(port)}:{port.host_port}") for port in ports]
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
    from .._kernel.cgroups import Cgroup, detect
    from .._runtime.state import read_state
    from .process_table import parse_columns, process_rows

    name, *words = invocation.arguments
    columns = parse_columns(words)
    with invocation.engine() as engine:
        record = containers.find(engine, name)
        running = containers.state(engine, record).status in ("running", "paused")
        found = read_state(engine.paths.container_run(record.id)) if running else None
    if found is None:
        raise Conflict(f"container {name}: it is not running", hint="start it first")
    put(align(process_rows(Cgroup(detect(), str(found["cgroup"])).pids(), columns)))
    return 0


COMMANDS = (
    Command(
        "ps",
        "[OPTIONS]",
        "List containers, running ones unless told otherwise",
        _ps,
        (
            switch("all", "stopped ones too", short="a"),
            many("filter", "name=, status=, label= and more: see cli.md", "filter", short="f", option="filter"),
            text("format", "json, a template, or 'table' and a template"),
            text("last", "the newest n containers, running or not", "int", short="n"),
            switch("latest", "the newest container, running or not", short="l"),
            switch("no-trunc", "don't cut ids and commands"),
            switch("quiet", "ids only", short="q"),
            switch("size", "what each has written, and with its image", short="s"),
        ),
        maximum=0,
    ),
    Command("port", "CONTAINER [PORT[/PROTOCOL]]", "Show published ports", _port, minimum=1, maximum=2),
    Command(
        "top",
        "CONTAINER [PS OPTIONS]",
        "Show the processes of a container: as ps -ef, or with aux, or -o pid,user,args",
        _top,
        minimum=1,
        stop_at_argument=True,
    ),
)
