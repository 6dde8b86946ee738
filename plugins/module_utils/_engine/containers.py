# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Containers: found, listed, created, started, stopped, removed. One function per verb of the command line.

A verb takes the container's record, locks its name while it changes anything, and asks the kernel what is true. What a
task wants, as opposed to what a user says, is `container_task.py`.
"""

from __future__ import annotations

from .._base.errors import Conflict, NotFound
from .._base.names import is_id_prefix
from .._runtime.state import observe
from .._store.locks import lock
from .engine import SHORT_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._runtime.client import Started
    from .._runtime.launch_plan import LaunchPlan
    from .._runtime.session import Session
    from .._runtime.state import RunState
    from .._store.locks import Lock
    from .._store.records import ContainerRecord
    from .engine import Engine
    from .images import Progress

_ENDLESS_S = 2_000_000  # a stop timeout of -1: 23 days, about the longest that poll(2) waits


def by_name(engine: Engine, name: str) -> ContainerRecord | None:
    """The container with exactly this name, or None."""
    database = engine.database()
    return database.container_by_name(name) if database is not None else None


def lookup(engine: Engine, text: str) -> ContainerRecord | None:
    """The container with this name, id or beginning of an id, or None. Raises Conflict where several ids begin so.

    What is shorter than the engine's `shortest_id` is a name alone.
    """
    return _lookup(engine, text, engine.shortest_id)


def lookup_declared(engine: Engine, text: str) -> ContainerRecord | None:
    """As `lookup`, for what another container's options name: the same container whoever makes or starts that one."""
    return _lookup(engine, text, SHORT_ID)


def _lookup(engine: Engine, text: str, shortest: int) -> ContainerRecord | None:
    database = engine.database()
    if database is None:
        return None
    record = database.container_by_name(text.lstrip("/"))
    if record is None and len(text) >= shortest and is_id_prefix(text):
        matches = database.containers_by_prefix(text)
        if len(matches) > 1:
            raise Conflict(f"container {text}: {len(matches)} containers have ids that begin so")
        record = matches[0] if matches else None
    return record


def find(engine: Engine, text: str) -> ContainerRecord:
    """As `lookup`, but raises NotFound."""
    record = lookup(engine, text)
    if record is None:
        raise NotFound(f"container {text}: no such container")
    return record


class Held:
    """`with Held(engine, record) as record:` the lock of a container's name, and the record as it is now.

    Whoever looked the record up did so before: meanwhile it may have another name, other ports, or be gone. Raises
    NotFound, Timeout.
    """

    def __init__(self, engine: Engine, record: ContainerRecord) -> None:
        self._engine, self._record = engine, record
        self._lock: Lock | None = None

    def __enter__(self) -> ContainerRecord:
        record = self._record
        while True:
            self._lock = lock(self._engine.paths, "container", record.name)
            self._lock.__enter__()
            now = self._engine.records.container(record.id)
            if now is not None and now.name == record.name:
                return now
            self.__exit__()
            if now is None:
                raise NotFound(f"container {record.name}: it was removed meanwhile")
            record = now

    def __exit__(self, *_error: object) -> None:
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None


def state(engine: Engine, record: ContainerRecord) -> RunState:
    """What the kernel says about a container."""
    now = observe(engine.paths, record.id)
    if now.abandoned:
        from .._runtime import client

        if client.adopt(engine.paths, record.id):
            return observe(engine.paths, record.id)
    return now


def list_containers(
    engine: Engine, *, all: bool = False, filters: dict[str, list[str]] | None = None
) -> list[tuple[ContainerRecord, RunState]]:
    """Containers with their states, newest first; running ones only unless `all`. `filters`: see ContainerFilters."""
    database = engine.database()
    if database is None:
        return []
    if not filters:
        pairs = [(record, state(engine, record)) for record in database.containers()]
        return [pair for pair in pairs if all or pair[1].is_up]
    from .container_filters import ContainerFilters

    wanted = ContainerFilters(engine, filters)
    every = all or wanted.shows_stopped
    pairs = [(record, state(engine, record)) for record in database.containers() if wanted.fits_record(record)]
    return [(record, now) for record, now in pairs if (every or now.is_up) and wanted.fits_state(now)]


def inspect(engine: Engine, record: ContainerRecord) -> dict[str, Any]:
    """The container in the shape of `docker inspect`."""
    from .container_facts import inspect_container

    return inspect_container(engine, record, state(engine, record))


def create(
    engine: Engine,
    spec: ContainerSpec,
    *,
    pull: str = "missing",
    platform: str = "",
    progress: Progress | None = None,
) -> str:
    """Make a container, its image pulled first if `pull` (missing, always, never) asks for it. Its id."""
    from . import images
    from .creation import create_container

    _refuse_taken_name(engine, spec.name)
    image, _ = images.provide(engine, spec.image, policy=pull, platform=platform, progress=progress)
    with lock(engine.paths, "container", spec.name):
        return create_container(engine, spec, image).id


def _refuse_taken_name(engine: Engine, name: str) -> None:
    database = engine.database()
    if database and database.container_by_name(name):
        raise Conflict(f"create container {name}: the name is taken", hint="remove that container or rename it")


def start(
    engine: Engine, record: ContainerRecord, *, attach: bool = False, rows: int = 0, columns: int = 0
) -> Started | None:
    """Start a container; None where it runs already. With `attach` the result carries its streams.

    Raises LaunchError, with the exit code that a shell user expects, where its command can't be executed.
    """
    from .starting import start_container

    with Held(engine, record) as record:
        if state(engine, record).is_up:
            return None
        return start_container(engine, record, attach=attach, rows=rows, columns=columns)


def attach(engine: Engine, record: ContainerRecord) -> Session:
    """The streams of a running container. Raises Conflict where it does not run."""
    from .._runtime import client

    _require_running(engine, record, "attach to")
    return client.attach(engine.paths, record.id)


def _require_running(engine: Engine, record: ContainerRecord, verb: str) -> RunState:
    now = state(engine, record)
    if not now.is_up:
        raise Conflict(f"{verb} container {record.name}: it is not running", hint="start it first")
    return now


def stop(
    engine: Engine,
    record: ContainerRecord,
    *,
    timeout_s: int | None = None,
    signal: int = 0,
) -> bool:
    """Stop a container: its stop signal, then after the timeout SIGKILL (never, if that is -1). Whether it ran."""
    from .._runtime import client
    from .declared import plan_of

    with Held(engine, record) as record:
        if not state(engine, record).is_up:
            return False
        plan = plan_of(record)
        seconds = plan.stop_timeout_s if timeout_s is None else timeout_s
        client.stop(engine.paths, record.id, signal or plan.stop_signal, _ENDLESS_S if seconds < 0 else seconds)
        return True


def kill(engine: Engine, record: ContainerRecord, signal: int = 9) -> None:
    """Send a signal to the container's first process. Raises Conflict where it does not run."""
    from .._runtime import client

    _require_running(engine, record, "kill")
    client.kill(engine.paths, record.id, signal)


def restart(engine: Engine, record: ContainerRecord, *, timeout_s: int | None = None, signal: int = 0) -> None:
    """Stop the container if it runs, and start it."""
    stop(engine, record, timeout_s=timeout_s, signal=signal)
    start(engine, record)


def pause(engine: Engine, record: ContainerRecord, frozen: bool) -> bool:
    """Freeze or thaw all processes of a running container. Whether that changed anything."""
    from .._kernel.cgroups import Cgroup, detect
    from .declared import plan_of

    now = _require_running(engine, record, "pause" if frozen else "unpause")
    if now.paused == frozen:
        return False
    cgroup = Cgroup(detect(), plan_of(record).cgroup)
    if frozen:
        cgroup.freeze()
    else:
        cgroup.thaw()
    return True


def wait(engine: Engine, record: ContainerRecord, *, timeout_s: float = 0) -> int:
    """Wait until the container has stopped for good; its exit status, 0 if it never ran. 0 seconds is without end.

    Raises Timeout.
    """
    from .._runtime import client

    if state(engine, record).status == "created":
        return 0
    return client.wait(engine.paths, record.id, timeout_s=timeout_s)


def remove(engine: Engine, record: ContainerRecord, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a stopped container, with `volumes` its anonymous volumes too; `force` kills a running one first.

    Its name is free as soon as the record is gone, however long the deletion of its files takes.
    """
    from .._runtime import client, reconcile
    from .._store.removal import empty_graves, forget_container
    from .declared import plan_of

    killed = force and state(engine, record).is_up
    if killed:
        client.stop(engine.paths, record.id, 9, 0)  # at once, also where somebody waits for it to stop by itself
    try:
        with Held(engine, record) as record:
            if state(engine, record).is_up:
                if not force:
                    raise Conflict(
                        f"remove container {record.name}: it is running", hint="stop it first, or remove it with force"
                    )
                client.stop(engine.paths, record.id, 9, 0)
            reconcile.reconcile(engine.paths, plan_of(record))
            graves = forget_container(engine.paths, engine.records, record, volumes=volumes)
    except NotFound:
        if not killed:
            raise
        return  # it was to be removed at its end
    empty_graves(graves)


def rename(engine: Engine, record: ContainerRecord, name: str) -> None:
    """Give a container, running or not, another name. Raises Conflict where that is taken."""
    from .._base.codec import render
    from .._base.names import check_name
    from .._base.spec import to_record
    from .._base.values import replace
    from .._runtime import client
    from .declared import declared_spec, effective_mounts, launch_record, plan_of

    check_name(name)
    with Held(engine, record) as record:
        if name == record.name:
            raise Conflict(f"rename container {name}: it has this name already")
        spec = replace(declared_spec(record), name=name)
        plan = replace(plan_of(record), name=name)
        with engine.records.transaction():
            engine.records.update_container(
                record.id,
                name=name,
                spec=render(to_record(spec)),
                launch=launch_record(plan, effective_mounts(record)),
            )
        try:
            if state(engine, record).is_up:
                client.update(engine.paths, plan)
        except Conflict:
            pass  # it has just ended: nobody has to be told


def update(engine: Engine, record: ContainerRecord, spec: ContainerSpec) -> tuple[str, ...]:
    """Apply a changed spec that differs from the declared one only in what can change live. Warnings of the kernel.

    All or nothing. The kernel first, the record second: what the kernel refuses changes nothing, and where the record
    can't be written the kernel gets back what it had.
    """
    from .._base.codec import render
    from .._base.spec import to_record
    from .declared import effective_mounts, launch_record, plan_of
    from .image_facts import ImageConfig, read_config
    from .live_plan import live_plan

    with Held(engine, record) as record:
        image = engine.records.image(record.image_id)
        before = plan_of(record)
        plan = live_plan(before, spec, read_config(image) if image is not None else ImageConfig())
        warnings = _update_running(engine, record, plan)
        try:
            with engine.records.transaction():
                engine.records.update_container(
                    record.id,
                    spec=render(to_record(spec)),
                    launch=launch_record(plan, effective_mounts(record)),
                )
        except BaseException:
            if warnings is not None:
                _update_running(engine, record, before)
            raise
    return warnings or ()


def _update_running(engine: Engine, record: ContainerRecord, plan: LaunchPlan) -> tuple[str, ...] | None:
    """Give a running container the live part of a plan; None where it does not run. Warnings of the kernel."""
    from .._runtime import client

    if not state(engine, record).is_up:
        return None
    try:
        return client.update(engine.paths, plan)
    except Conflict:
        if state(engine, record).is_up:
            raise
        return None  # it has just ended
