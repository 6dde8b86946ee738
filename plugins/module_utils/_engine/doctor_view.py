# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a doctor looks at: the records beside what the kernel and the disk say of the same containers.

Who lives is not to be touched: a container that is up, one that somebody works on at the moment, and one that runs
without a record.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from .._base.cgroup_paths import is_in_slice
from .._base.engine_file import own_cgroup
from .._base.errors import Conflict, HullError
from .._base.names import is_id_prefix
from .._base.values import Value
from .._kernel.cgroup_host import detect
from .._kernel.cgroup_search import find_cgroups
from .._kernel.cgroups import Cgroup
from .._runtime import state
from .._store.locks import is_locked
from .containers import Held
from .declared import declared_spec, read_launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .._base.paths import Paths
    from .._kernel.cgroup_host import CgroupHost
    from .._runtime.launch_plan import LaunchPlan
    from .._runtime.state import RunState
    from .._store.database import Database
    from .._store.records import ContainerRecord
    from .engine import Engine

_ID_LENGTH = 64


class Patient(Value):
    """A recorded container. Where its record can't be read, `plan` is None and `damage` says why."""

    record: ContainerRecord
    plan: LaunchPlan | None
    damage: str
    now: RunState
    is_busy: bool  # somebody starts, stops or changes it at this moment
    processes: tuple[int, ...]  # in its cgroup, whatever its state is

    @property
    def is_living(self) -> bool:
        return bool(self.is_busy or self.now.is_up or self.now.abandoned or self.processes)


class View:
    """One look at an engine."""

    def __init__(self, engine: Engine, database: Database | None) -> None:
        self.engine = engine
        self.paths = engine.paths
        self.database = database
        self.host = detect()
        self.cgroups: dict[str, list[str]] = {}
        for path in find_cgroups(self.host, is_id):
            self.cgroups.setdefault(os.path.basename(path), []).append(path)
        self.run_directories = names_in(os.path.dirname(self.paths.container_run("")))
        self.patients = {record.id: self._patient(record) for record in (database.containers() if database else ())}
        self.strangers = dict(self._strangers())

    def _patient(self, record: ContainerRecord) -> Patient:
        plan, damage = None, ""
        try:
            plan, _ = read_launch(record)
            declared_spec(record)
        except HullError as error:
            plan, damage = None, str(error)
        now = state.observe(self.paths, record.id)
        is_busy = is_locked(self.paths, "container", record.name)
        return Patient(record, plan, damage, now, is_busy, self.processes(record.id))

    def _strangers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in self.run_directories:
            found = _living_state(self.paths, name)
            if name not in self.patients and found:
                yield name, found

    def processes(self, container_id: str) -> tuple[int, ...]:
        """The processes in cgroups with a container's id."""
        pids = {pid for path in self.cgroups.get(container_id, ()) for pid in pids_in_cgroup(self.host, path)}
        return tuple(sorted(pids))

    @property
    def has_unknown_life(self) -> bool:
        """Whether something runs of which no record tells what it needs."""
        unknown = (
            name
            for name, paths in self.cgroups.items()
            if name not in self.patients and any(self.is_own_cgroup(os.path.dirname(path)) for path in paths)
        )
        return bool(self.strangers) or any(map(self.processes, unknown))

    def is_own_cgroup(self, path: str) -> bool:
        """Whether this is where the engine has its containers: at the root, in a slice, where engine.json says.

        One of the same name elsewhere is that of an engine in somebody's container.
        """
        above, _, name = path.rpartition("/")
        return name == self.paths.cgroup and (not above or is_in_slice(above) or path == self._configured_cgroup())

    def _configured_cgroup(self) -> str:
        try:
            return own_cgroup(self.paths)
        except HullError:
            return ""  # `hull info` tells the mistake in the file

    def is_living(self, container_id: str) -> bool:
        """Whether a container with this id is not to be touched."""
        patient = self.patients.get(container_id)
        if patient is not None:
            return patient.is_living
        return container_id in self.strangers or bool(self.processes(container_id))


@contextmanager
def stopped(engine: Engine, record: ContainerRecord) -> Iterator[None]:
    """`with stopped(engine, record):` a container that does not run, and that nobody starts meanwhile.

    Raises Conflict where it runs, NotFound where it was removed, Timeout where somebody works on it.
    """
    with Held(engine, record) as now:
        if state.observe(engine.paths, now.id).is_up:
            raise Conflict(f"mend container {now.name}: it runs by now")
        yield


def refuse_living(paths: Paths, container_id: str) -> None:
    """Look anew at a container without a record. Raises Conflict where it lives."""
    host = detect()
    cgroups = find_cgroups(host, lambda name: name == container_id)
    if _living_state(paths, container_id) or any(pids_in_cgroup(host, path) for path in cgroups):
        raise Conflict(f"remove what container {container_id[:12]} needs: it lives by now")


def _living_state(paths: Paths, container_id: str) -> dict[str, Any] | None:
    """The run-time state of a container whose first process or monitor lives."""
    found = state.read_state(paths.container_run(container_id))
    return found if found and (state.init_alive(found) or state.monitor_alive(found)) else None


def pids_in_cgroup(host: CgroupHost, path: str) -> list[int]:
    """The processes in a cgroup and below it; none in one that lies in no other, which is not the engine's."""
    return Cgroup(host, path).pids() if "/" in path else []


def is_id(name: str) -> bool:
    """Whether something has the name of a container's id."""
    return len(name) == _ID_LENGTH and is_id_prefix(name)


def names_in(directory: str) -> list[str]:
    """The names in a directory, sorted; none where there is no such directory."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
