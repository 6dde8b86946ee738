# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a host's start and shutdown mean for its containers: those whose restart policy says so run again.

Both can be done at any time and again: a container that runs already is left alone. Whatever is wrong with one keeps
none of the others: also what is a bug, or a record that somebody has written into, is caught and told here.
"""

from __future__ import annotations

from .._base.errors import HullError
from .._base.values import Value
from .._runtime.restart import wants_boot
from . import containers
from .declared import declared_spec, plan_of
from .live_plan import DEFAULT_STOP_TIMEOUT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._store.records import ContainerRecord
    from .engine import Engine


class Step(Value):
    """What was done with a container: `started`, `stopped`, or `failed` with the error."""

    name: str
    done: str
    error: str = ""
    hint: str = ""


def boot(engine: Engine) -> Iterator[Step]:
    """Start what its policy wants to run after a boot, in the order of creation, a container that another one joins
    before that one."""
    for record in _in_order(engine):
        try:
            now = containers.state(engine, record)
            plan = plan_of(record)
            if now.is_up or not wants_boot(plan.restart, now):
                continue
            if containers.start(engine, record) is not None:
                yield Step(record.name, "started")
        except Exception as error:
            yield _failed(record, error)


def _failed(record: ContainerRecord, error: Exception) -> Step:
    if isinstance(error, HullError):
        return Step(record.name, "failed", error.message, error.hint)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Step(record.name, "failed", f"{where}{(error.strerror or str(error)).lower()}")
    return Step(
        record.name, "failed", f"{type(error).__name__}: {error}", "hull doctor looks whether its record is damaged"
    )


def shut_down(engine: Engine) -> Iterator[Step]:
    """Stop all containers as the host goes down: each by its own signal and in its own time, all at the same time, but
    those first that join others. Their restart policies do not count it as a stop by the user."""
    from .._runtime import client

    records = _in_order(engine)
    joining = [record for record in records if _providers(record)]
    for wave in (joining, [record for record in records if record not in joining]):
        told = []
        for record in reversed(wave):
            try:
                ending = client.tell_host_ends(engine.paths, record.id)
                if ending is not None:
                    told.append((record, ending))
            except Exception as error:
                yield _failed(record, error)
        for record, ending in told:
            try:
                ending.wait(_stop_timeout_s(record))
                yield Step(record.name, "stopped")
            except Exception as error:
                yield _failed(record, error)


def _stop_timeout_s(record: ContainerRecord) -> int:
    try:
        return plan_of(record).stop_timeout_s
    except HullError:  # its monitor has read the plan at the start, and stops it all the same
        return DEFAULT_STOP_TIMEOUT_S


def _in_order(engine: Engine) -> list[ContainerRecord]:
    database = engine.database()
    records = sorted(database.containers(), key=_age) if database is not None else []
    known = {key: record for record in records for key in (record.name, record.id)}
    ordered: dict[str, ContainerRecord] = {}

    def place(record: ContainerRecord, above: tuple[str, ...]) -> None:
        if record.id in ordered or record.id in above:
            return
        for name in _providers(record):
            provider = known.get(name)
            if provider is not None:
                place(provider, (*above, record.id))
        ordered[record.id] = record

    for record in records:
        place(record, ())
    return list(ordered.values())


def _age(record: ContainerRecord) -> int:
    return record.created_ns if isinstance(record.created_ns, int) else 0


def _providers(record: ContainerRecord) -> list[str]:
    """The names or ids of the containers whose namespaces this one joins."""
    try:
        spec = declared_spec(record)
        modes = (spec.network_mode, spec.pid_mode, spec.ipc_mode)
        return [mode.partition(":")[2] for mode in modes if mode.startswith("container:")]
    except Exception:  # a damaged record is told where the container is started
        return []
