# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container's record says: the declared spec, the effective mounts, the launch plan. Reads and writes it."""

from __future__ import annotations

from .._base.codec import parse, render
from .._base.errors import Damaged
from .._base.spec import spec_from_record, to_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .._base.spec import ContainerSpec, MountSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._store.records import ContainerRecord

    _T = TypeVar("_T")


def effective_mounts(record: ContainerRecord) -> tuple[MountSpec, ...]:
    """The mounts that a container has, volumes by name. Raises Damaged, as all here that read a record do."""
    return _read(record, record.launch, _mounts)


def plan_of(record: ContainerRecord) -> LaunchPlan:
    """The launch plan that a container's record keeps."""
    return _read(record, record.launch, _plan)


def read_launch(record: ContainerRecord) -> tuple[LaunchPlan, tuple[MountSpec, ...]]:
    """Both of these, read once."""
    return _read(record, record.launch, lambda document: (_plan(document), _mounts(document)))


def _read(record: ContainerRecord, text: str, read: Callable[[dict[str, Any]], _T]) -> _T:
    source = f"the record of container {record.name}"
    document = parse(text, source=source)
    try:
        return read(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(
            f"read {source}: {error!r}", hint="hull doctor --fix forgets it and sets its files aside"
        ) from error


def _plan(document: dict[str, Any]) -> LaunchPlan:
    from .._runtime.launch_plan import plan_from_record

    return plan_from_record(document["plan"])


def _mounts(document: dict[str, Any]) -> tuple[MountSpec, ...]:
    return spec_from_record({"name": "", "image": "", "mounts": document["mounts"]}).mounts


def launch_record(plan: LaunchPlan, mounts: tuple[MountSpec, ...]) -> str:
    """The text of `ContainerRecord.launch`."""
    return render({"plan": to_record(plan), "mounts": to_record(mounts)})


def declared_spec(record: ContainerRecord) -> ContainerSpec:
    """What the container was asked to be."""
    return _read(record, record.spec, spec_from_record)


def etc_directory(plan: LaunchPlan) -> str:
    """Where the container's hosts, hostname and resolv.conf lie. On disk, as its writable layer: root in the container
    may make them as large as it likes, and must not fill the host's /run."""
    return f"{plan.root_directory}/etc"
