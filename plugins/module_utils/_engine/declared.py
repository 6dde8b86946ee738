# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container's record says: the declared spec, the effective mounts, the launch plan. Reads and writes it."""

from __future__ import annotations

from .._base.codec import parse, render
from .._base.spec import spec_from_record, to_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec, MountSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._store.records import ContainerRecord


def effective_mounts(record: ContainerRecord) -> tuple[MountSpec, ...]:
    """The mounts that a container has, volumes by name."""
    return _mounts(_launch(record))


def plan_of(record: ContainerRecord) -> LaunchPlan:
    """The launch plan that a container's record keeps."""
    return _plan(_launch(record))


def read_launch(record: ContainerRecord) -> tuple[LaunchPlan, tuple[MountSpec, ...]]:
    """Both of these, read once."""
    document = _launch(record)
    return _plan(document), _mounts(document)


def _launch(record: ContainerRecord) -> dict[str, Any]:
    document: dict[str, Any] = parse(record.launch, source=f"the record of container {record.name}")
    return document


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
    return spec_from_record(parse(record.spec, source=f"the record of container {record.name}"))


def etc_directory(plan: LaunchPlan) -> str:
    """Where the container's hosts, hostname and resolv.conf lie. On disk, as its writable layer: root in the container
    may make them as large as it likes, and must not fill the host's /run."""
    return f"{plan.root_directory}/etc"
