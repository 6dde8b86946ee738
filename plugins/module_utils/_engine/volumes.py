# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Named volumes: directories under the state directory that outlive the containers that use them."""

from __future__ import annotations

import os

from .._base.clock import format_time, now_ns
from .._base.errors import Invalid, NotFound
from .._base.names import check_name, new_id
from .._base.plan import Action, Outcome
from .._base.values import Value
from .._store.records import VolumeRecord
from .volume_options import DRIVER, check_driver, volume_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .engine import Engine

_RECREATE = ("never", "always", "options-changed")


def inspect(engine: Engine, record: VolumeRecord) -> dict[str, Any]:
    """The volume in the shape of `docker volume inspect`."""
    return {
        "Name": record.name,
        "Driver": record.driver,
        "Mountpoint": engine.paths.volume(record.name),
        "Labels": record.labels,
        "Options": record.options,
        "Scope": "local",
        "CreatedAt": format_time(record.created_ns),
    }


def find(engine: Engine, name: str) -> VolumeRecord:
    """The volume with this name. Raises NotFound."""
    database = engine.database()
    record = database.volume(name) if database else None
    if record is None:
        raise NotFound(f"volume {name}: no such volume")
    return record


def list_volumes(engine: Engine, *, labels: dict[str, str] | None = None, dangling: bool = False) -> list[VolumeRecord]:
    """All volumes by name; those with all of these labels (an empty value: any), or those that no container uses."""
    database = engine.database()
    if database is None:
        return []
    wanted = labels or {}
    return [
        record
        for record in database.volumes()
        if all(name in record.labels and value in ("", record.labels[name]) for name, value in wanted.items())
        and not (dangling and database.volume_users(record.name))
    ]


def create(
    engine: Engine,
    name: str = "",
    *,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    anonymous: bool = False,
) -> VolumeRecord:
    """Make a volume, with a random name where none is given; one that exists is returned as it is. Atomic.

    `options` are the driver's: type, device and o. Raises Invalid, Unsupported for those that mean nothing.
    """
    volume_source(options or {}, option="driver_options")
    chosen = check_name(name) if name else new_id()
    record = VolumeRecord(chosen, now_ns(), labels=labels or {}, options=options or {}, anonymous=anonymous or not name)
    database = engine.records
    with database.transaction():
        existing = database.volume(chosen)
        if existing is None:
            os.makedirs(engine.paths.volume(chosen), mode=0o755, exist_ok=True)
            os.chmod(os.path.dirname(engine.paths.volume(chosen)), 0o700)
            database.put_volume(record)
    return existing or record


def remove(engine: Engine, name: str, *, force: bool = False) -> None:
    """Delete a volume and its content. Raises NotFound (unless `force`), and Conflict while a container uses it."""
    from .._store.removal import remove_volume

    database = engine.database()
    record = database.volume(name) if database else None
    if database is None or record is None:
        if force:
            return
        raise NotFound(f"volume {name}: no such volume")
    remove_volume(engine.paths, database, name)


class VolumeRequest(Value):
    """What a task says of a volume. Labels or options that are None are not compared."""

    name: str
    state: str = "present"
    labels: dict[str, str] | None = None
    driver: str = DRIVER
    options: dict[str, str] | None = None
    recreate: str = "never"


def ensure(engine: Engine, request: VolumeRequest, *, check: bool = False) -> Outcome:
    """What the volume module does: make the volume present or absent. With `check` nothing is changed.

    Other labels or options than those given change nothing by themselves, as with docker_volume; `recreate` says
    otherwise, and then the content is lost. Raises Invalid, Unsupported, and Conflict for a volume that is in use.
    """
    if request.recreate not in _RECREATE:
        raise Invalid(f"{request.recreate!r} is not known", option="recreate", hint=f"use {', '.join(_RECREATE)}")
    check_driver(request.driver, option="driver")
    volume_source(request.options or {}, option="driver_options")
    name = check_name(request.name)
    database = engine.database()
    found = database.volume(name) if database else None
    actions = _plan(request, found)
    record = found
    for action in actions if not check else ():
        if action.verb == "removed_volume":
            remove(engine, name)
            record = None
        else:
            record = create(engine, name, labels=request.labels, options=request.options)
    present = request.state == "present" and record is not None
    facts = inspect(engine, record) if present and record else None
    return Outcome(bool(actions), tuple(actions), _facts(found, request), _wanted(found, request, actions), facts)


def _plan(request: VolumeRequest, record: VolumeRecord | None) -> list[Action]:
    if request.state == "absent":
        return [Action("removed_volume", request.name)] if record else []
    if record is None:
        return [Action("created_volume", request.name)]
    differing = _differences(request, record)
    if request.recreate == "always" or (request.recreate == "options-changed" and differing):
        reason = "recreate" if request.recreate == "always" else ", ".join(differing)
        return [Action("removed_volume", request.name, reason), Action("created_volume", request.name)]
    return []


def _differences(request: VolumeRequest, record: VolumeRecord) -> list[str]:
    """The options of the task that the volume does not fulfil; it may have more labels."""
    differing = []
    labels = request.labels or {}
    if any(record.labels.get(key) != value for key, value in labels.items()):
        differing.append("labels")
    if request.options is not None and request.options != record.options:
        differing.append("driver_options")
    return differing


def _facts(record: VolumeRecord | None, request: VolumeRequest) -> dict[str, Any]:
    """What is, of what the task speaks of."""
    if record is None:
        return {"exists": False}
    facts: dict[str, Any] = {"exists": True}
    if request.state == "present" and request.labels is not None:
        facts["labels"] = record.labels
    if request.state == "present" and request.options is not None:
        facts["driver_options"] = record.options
    return facts


def _wanted(record: VolumeRecord | None, request: VolumeRequest, actions: list[Action]) -> dict[str, Any]:
    """What is after the task."""
    if request.state == "absent":
        return {"exists": False}
    if not actions:
        return _facts(record, request)
    facts: dict[str, Any] = {"exists": True}
    if request.labels is not None:
        facts["labels"] = request.labels
    if request.options is not None:
        facts["driver_options"] = request.options
    return facts
