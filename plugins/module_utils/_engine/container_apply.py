# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Doing what a container's task planned.

Tasks for one name wait for each other, and each plans anew when it is its turn: what others have done meanwhile is not
done again. The command line does not wait; where it came in between, the task looks again.
"""

from __future__ import annotations

from .._base.errors import Conflict, NotFound
from .._base.plan import Action, Outcome
from .._base.values import Value, replace
from .._store.locks import lock
from . import containers
from .comparison import merge
from .container_plan import ContainerRequest, Observed, TaskPlan, plan, rules_of
from .container_task import observe_container
from .recreation import create, recreate, settle_set_aside, stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._runtime.client import Started
    from .._store.records import ContainerRecord
    from .engine import Engine
    from .images import ImagePlan, Progress

_ATTEMPTS = 5
_LOCK_TIMEOUT_S = 600  # who goes before may stop a container that takes its time


def apply(engine: Engine, request: ContainerRequest, observed: Observed, progress: Progress | None) -> Outcome:
    """Do what is to be done, an image's pull first. Waits for health, and for the command of `detach` false."""
    image, pulled = _provide_image(engine, request, observed, progress)
    with lock(engine.paths, "task", request.spec.name, timeout_s=_LOCK_TIMEOUT_S):
        done = _converge(engine, request, image)
    if pulled:
        done = replace(done, planned=replace(done.planned, actions=(*pulled, *done.planned.actions)))
    return _finish(engine, request, done)


def _provide_image(
    engine: Engine, request: ContainerRequest, observed: Observed, progress: Progress | None
) -> tuple[ImagePlan | None, tuple[Action, ...]]:
    """The image as it is after a pull, and that action where it brought another one."""
    if not observed.fetch:
        return observed.image, ()
    from . import images

    image, is_new = images.provide(
        engine, request.spec.image, policy=request.pull, platform=request.platform, progress=progress
    )
    action = Action("pulled_image", request.spec.image, observed.fetch)
    return images.ImagePlan(image), (action,) if is_new else ()


class Done(Value):
    """What was planned when it was this task's turn, and what came of it."""

    planned: TaskPlan
    record: ContainerRecord | None = None  # after it
    started: Started | None = None
    warnings: tuple[str, ...] = ()
    ran_already: bool = False  # somebody else has started it meanwhile


def _converge(engine: Engine, request: ContainerRequest, image: ImagePlan | None) -> Done:
    for _ in range(_ATTEMPTS):
        observed = observe_container(engine, request, image)
        if observed.set_aside:
            settle_set_aside(engine, request, observed.set_aside)
            observed = observe_container(engine, request, image)
        try:
            return _execute(engine, request, observed, plan(request, observed))
        except (Conflict, NotFound):
            if not _was_replaced(engine, request.spec.name, observed):
                raise
    raise Conflict(f"container {request.spec.name}: others keep making it anew", hint="have one play manage it")


def _was_replaced(engine: Engine, name: str, observed: Observed) -> bool:
    """Whether somebody else has made, removed or made anew the container since it was observed."""
    now = containers.by_name(engine, name)
    before = observed.record.id if observed.record is not None else ""
    return (now.id if now is not None else "") != before


def _execute(engine: Engine, request: ContainerRequest, observed: Observed, planned: TaskPlan) -> Done:
    record, started = observed.record, None
    warnings: tuple[str, ...] = ()
    starts = planned.has("started")
    if record is None:
        if not planned.has("created"):
            return Done(planned)
        record, started = create(engine, request, observed, starts=starts)
    elif planned.has("recreated"):
        record, started = recreate(engine, request, observed, starts=starts)
    else:
        warnings = _update(engine, request, observed, record, planned)
        if planned.has("stopped", "killed", "restarted"):
            stop(engine, request, record)
        if planned.has("removed"):
            containers.remove(engine, record, force=True, volumes=not request.keep_volumes)
            return Done(planned)
        if planned.has("unpaused"):
            containers.pause(engine, record, False)
        if planned.has("started", "restarted"):
            started = containers.start(engine, record, attach=not request.detach)
    now = containers.lookup(engine, record.id) or record  # the start has chosen host ports
    ran_already = starts and started is None
    return Done(planned, now, started, (*warnings, *(started.warnings if started else ())), ran_already)


def _update(
    engine: Engine, request: ContainerRequest, observed: Observed, record: ContainerRecord, planned: TaskPlan
) -> tuple[str, ...]:
    if not planned.has("updated"):
        return ()
    assert observed.spec is not None
    options = [difference.option for difference in planned.differences]
    return containers.update(engine, record, merge(request.spec, observed.spec, options, rules_of(request)))


def _finish(engine: Engine, request: ContainerRequest, done: Done) -> Outcome:
    """What takes its time, and needs no lock: the end of the command, the health check. And the result."""
    record, planned, warnings = done.record, done.planned, done.warnings
    status = output = facts = None
    if record is not None and done.started is not None and done.started.session is not None:
        from .container_waits import run_to_the_end

        ended = run_to_the_end(engine, record, done.started.session)
        status, output, warnings = ended.status, ended.output, (*warnings, *ended.warnings)
        facts = ended.facts
        if request.cleanup:
            _clean_up(engine, request, record)
    elif record is not None:
        if request.state == "healthy":
            from .container_waits import wait_healthy

            wait_healthy(engine, record, request.healthy_wait_timeout_s)
        if planned.has("paused"):
            containers.pause(engine, record, True)
        now = containers.lookup(engine, record.id)
        facts = containers.inspect(engine, now) if now is not None else None
    actions = tuple(action for action in planned.actions if not (done.ran_already and action.verb == "started"))
    return Outcome(bool(actions), actions, planned.before, planned.after, facts, warnings, status, output)


def _clean_up(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> None:
    try:
        containers.remove(engine, record, force=True, volumes=not request.keep_volumes)
    except NotFound:
        pass  # it was to be removed at its end
