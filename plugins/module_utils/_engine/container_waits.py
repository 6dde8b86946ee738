# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a task waits for: the health check of a container, or the end of its command with all that it writes."""

from __future__ import annotations

from .._base.errors import Conflict, NotFound, Timeout
from .._base.values import Value
from .._runtime.state import UNKNOWN_EXIT, RunState
from . import containers
from .container_facts import inspect_container
from .declared import declared_spec, plan_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._runtime.session import Session
    from .._runtime.state import HealthState
    from .._store.records import ContainerRecord
    from .engine import Engine

_OUTPUT_LIMIT = 16 * 1024 * 1024
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Ended(Value):
    """A command that has ended: its exit status, what it wrote, and the container's facts with that as `Output`."""

    status: int
    output: str
    facts: dict[str, Any]
    warnings: tuple[str, ...] = ()


def run_to_the_end(engine: Engine, record: ContainerRecord, session: Session) -> Ended:
    """Read all that the container's command writes until it ends; a container of `auto_remove` is removed then."""
    pieces: list[bytes] = []
    size = lost = 0
    status = None
    with session:
        for frame in iter(session.read, None):
            if frame.kind in ("stdout", "stderr"):
                room = max(_OUTPUT_LIMIT - size, 0)
                pieces.append(frame.data[:room])
                size += len(frame.data)
            elif frame.kind == "lost":
                lost += int(frame.data)
            elif frame.kind == "exit":
                status = int(frame.data)
        if status is None:
            status = _wait(engine, record)
        facts = _facts(engine, record, status)
        if declared_spec(record).auto_remove:
            from .._runtime.finisher import finish

            finish(engine.paths, engine.records, record.id)  # before its monitor does so, without being waited for
    output = b"".join(pieces).decode("utf-8", "replace")
    facts["Output"] = output
    return Ended(status, output, facts, _warnings(record.name, max(size - _OUTPUT_LIMIT, 0), lost))


def _wait(engine: Engine, record: ContainerRecord) -> int:
    """The exit status where its streams ended without it: the monitor was killed."""
    try:
        return containers.wait(engine, record)
    except NotFound:
        return UNKNOWN_EXIT


def _facts(engine: Engine, record: ContainerRecord, status: int) -> dict[str, Any]:
    now = containers.lookup(engine, record.id)
    if now is None:
        return inspect_container(engine, record, RunState("exited", exit_code=status))
    return containers.inspect(engine, now)


def _warnings(name: str, cut: int, lost: int) -> tuple[str, ...]:
    warnings = []
    if cut:
        warnings.append(f"container {name}: the last {cut} bytes of its output are not in the result, see its log")
    if lost:
        warnings.append(f"container {name}: {lost} bytes of its output came too fast and are not in the result")
    return tuple(warnings)


def wait_healthy(engine: Engine, record: ContainerRecord, timeout_s: float) -> None:
    """Wait until the health check passes; until the container runs where there is none. 0 or less waits without end.

    Raises Conflict with the last probe's output as soon as the container is unhealthy or has stopped, or Timeout.
    """
    import time

    deadline = time.monotonic() + timeout_s if timeout_s > 0 else float("inf")
    pause_s = _FIRST_PAUSE_S
    has_check = plan_of(record).health is not None
    last = "no output yet"
    while True:
        now = containers.state(engine, record)
        last = _last_output(now.health) or last
        if not now.is_up:
            raise Conflict(
                f"wait for container {record.name}: it stopped with status {now.exit_code}; last probe: {last}"
                if has_check
                else f"wait for container {record.name}: it stopped with status {now.exit_code}"
            )
        if now.status != "restarting" and (not has_check or (now.health and now.health.status == "healthy")):
            return
        if now.health is not None and now.health.status == "unhealthy":
            raise Conflict(f"container {record.name} is unhealthy: {last}")
        if time.monotonic() > deadline:
            raise Timeout(
                f'Timeout of {timeout_s:g} seconds exceeded while waiting for container "{record.name}"; last: {last}'
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, _LONGEST_PAUSE_S)


def _last_output(health: HealthState | None) -> str:
    return str(health.log[-1].get("Output", "")).strip() if health is not None and health.log else ""
