# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Named volumes: directories under the state directory that outlive the containers that use them."""

from __future__ import annotations

import os

from .._base.clock import format_time, now_ns
from .._base.errors import Invalid, NotFound
from .._base.names import check_name, new_id
from .._base.plan import Action, Outcome
from .._store.records import VolumeRecord

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
    engine: Engine, name: str = "", *, labels: dict[str, str] | None = None, anonymous: bool = False
) -> VolumeRecord:
    """Make a volume, with a random name where none is given; one that exists is returned as it is. Atomic."""
    chosen = check_name(name) if name else new_id()
    record = VolumeRecord(chosen, now_ns(), labels=labels or {}, anonymous=anonymous or not name)
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


def ensure(
    engine: Engine,
    name: str,
    *,
    state: str = "present",
    labels: dict[str, str] | None = None,
    recreate: str = "never",
    check: bool = False,
) -> Outcome:
    """What the volume module does: make `name` present or absent. With `check` nothing is changed.

    Other labels than those given change nothing by themselves, as with docker_volume; `recreate` says otherwise, and
    then the content is lost.
    """
    if recreate not in _RECREATE:
        raise Invalid(f"{recreate!r} is not known", option="recreate", hint=f"use {', '.join(_RECREATE)}")
    check_name(name)
    database = engine.database()
    record = database.volume(name) if database else None
    actions = _plan(name, record, state, labels, recreate)
    if not check:
        for action in actions:
            if action.verb == "removed_volume":
                remove(engine, name)
            else:
                record = create(engine, name, labels=labels)
    after = {"exists": state == "present"}
    before: dict[str, Any] = {"exists": bool(record) if check or not actions else actions[0].verb == "removed_volume"}
    if actions and labels is not None:
        after["labels"] = labels  # type: ignore[assignment]
    present = state == "present" and record is not None
    return Outcome(
        bool(actions), tuple(actions), before, after, inspect(engine, record) if present and record else None
    )


def _plan(
    name: str, record: VolumeRecord | None, state: str, labels: dict[str, str] | None, recreate: str
) -> list[Action]:
    if state == "absent":
        return [Action("removed_volume", name)] if record else []
    if record is None:
        return [Action("created_volume", name)]
    differs = labels is not None and any(record.labels.get(key) != value for key, value in labels.items())
    if recreate == "always" or (recreate == "options-changed" and differs):
        return [Action("removed_volume", name, recreate), Action("created_volume", name)]
    return []
