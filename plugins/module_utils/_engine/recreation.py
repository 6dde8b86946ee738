# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container made, or made anew, by a task; and what is left where the task was killed on the way.

The old container steps aside under another name, `web.old-<the beginning of its id>`, until the new one stands, and
comes back if that fails. Whoever finds it there later knows by the new one how far that went.
"""

from __future__ import annotations

from .._base.errors import Conflict, HullError, NotFound
from .._base.values import replace
from . import containers
from .container_task import aside_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec
    from .._runtime.client import Started
    from .._store.records import ContainerRecord, ImageRecord
    from .container_plan import ContainerRequest, Observed
    from .engine import Engine

_SIGKILL = 9


def create(
    engine: Engine, request: ContainerRequest, observed: Observed, *, starts: bool
) -> tuple[ContainerRecord, Started | None]:
    """Make the container and start it; nothing of it remains where that fails. Raises Conflict where it exists."""
    from .._store.locks import lock
    from .creation import create_container

    spec, image = _spec(request, observed), _image(engine, observed)
    with lock(engine.paths, "container", spec.name):
        record = create_container(engine, spec, image)
    if not starts:
        return record, None
    try:
        return record, containers.start(engine, record, attach=not request.detach)
    except BaseException:
        containers.remove(engine, record, force=True, volumes=True)
        raise


def _spec(request: ContainerRequest, observed: Observed) -> ContainerSpec:
    """The task's container; without an image of its own, it is of the one that the present container has."""
    if not request.spec.image and observed.record is not None:
        return replace(request.spec, image=observed.record.image_name)
    return request.spec


def _image(engine: Engine, observed: Observed) -> ImageRecord:
    """The image for a creation: the task's, else the one that the container has."""
    from . import images

    if observed.image is not None and observed.image.record is not None:
        return observed.image.record
    assert observed.record is not None
    return images.find(engine, observed.record.image_id)


def stop(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> None:
    """Stop a container as the task says; also one that is paused. A signal that is not SIGKILL gets its time."""
    if request.force_kill:
        timeout_s = 0 if request.kill_signal == _SIGKILL else request.stop_timeout_s
        containers.stop(engine, record, timeout_s=timeout_s, signal=request.kill_signal)
    else:
        containers.stop(engine, record, timeout_s=request.stop_timeout_s)


def recreate(
    engine: Engine, request: ContainerRequest, observed: Observed, *, starts: bool
) -> tuple[ContainerRecord, Started | None]:
    """Make the container anew. The old one comes back, running if it ran, where that fails.

    What can be refused beforehand is, and the old one goes on undisturbed.
    """
    from .creation import prepare

    old = observed.record
    assert old is not None and observed.spec is not None
    prepare(engine, _spec(request, observed), _image(engine, observed), old.id)
    if observed.is_running:
        stop(engine, request, old)
    if observed.spec.auto_remove and observed.is_running:  # its end was its removal
        _remove(engine, request, old)
        return create(engine, request, observed, starts=starts)
    containers.rename(engine, old, aside_name(old.name, old.id))
    try:
        made = create(engine, request, observed, starts=starts)
    except BaseException:
        _bring_back(engine, old, request.spec.name, running=observed.is_running)
        raise
    _remove(engine, request, old)
    return made


def _remove(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> None:
    try:
        containers.remove(engine, record, force=True, volumes=not request.keep_volumes)
    except NotFound:
        pass


def _bring_back(engine: Engine, old: ContainerRecord, name: str, *, running: bool) -> None:
    containers.rename(engine, old, name)
    if running:
        try:
            containers.start(engine, containers.find(engine, old.id))
        except HullError as error:
            raise Conflict(
                f"container {name}: the new one failed and the old one could not be started again: {error}"
            ) from error


def settle_set_aside(engine: Engine, request: ContainerRequest, records: tuple[ContainerRecord, ...]) -> None:
    """End what a killed task has begun: old containers go where a new one stands, else the last of them comes back."""
    newest, *others = sorted(records, key=lambda record: -record.created_ns)
    if containers.by_name(engine, request.spec.name) is None:
        containers.rename(engine, newest, request.spec.name)
    else:
        others.append(newest)
    for record in others:
        _remove(engine, request, record)
