# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Doing what a container's task planned.

A recreation keeps the old container aside until the new one stands, and brings it back if that fails.
"""

from __future__ import annotations

from .._base.errors import Conflict, HullError, Timeout
from .._base.plan import Outcome
from .._base.values import Value, replace
from . import containers
from .comparison import merge
from .container_plan import ContainerRequest, Observed, TaskPlan, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.records import ContainerRecord, ImageRecord
    from .engine import Engine
    from .images import Progress

_OUTPUT_LIMIT = 16 * 1024 * 1024


def apply(
    engine: Engine, request: ContainerRequest, observed: Observed, planned: TaskPlan, progress: Progress | None
) -> Outcome:
    """Do the planned actions; after a pull they are planned anew, for the image that came."""
    if planned.has("pulled_image"):
        from . import images

        image, pulled = images.provide(
            engine, request.spec.image, policy=request.pull, platform=request.platform, progress=progress
        )
        pull_action = planned.actions[0]
        observed = replace(observed, image=images.ImagePlan(image))
        planned = plan(request, observed)
        if pulled:
            planned = replace(planned, actions=(pull_action, *planned.actions))
    return _execute(engine, request, observed, planned)


def _execute(engine: Engine, request: ContainerRequest, observed: Observed, planned: TaskPlan) -> Outcome:
    record = observed.record
    warnings: tuple[str, ...] = ()
    if planned.has("created") or planned.has("recreated"):
        if record is None:
            record = _create(engine, request, observed)
            result = _start_or_undo(engine, request, record) if planned.has("started") else _NOTHING
        else:
            record, result = _recreate(engine, request, observed, start=planned.has("started"))
    else:
        assert record is not None or request.state == "absent"
        result = _NOTHING
        if record is not None:
            warnings = _update(engine, request, observed, record, planned)
            record, result = _change_state(engine, request, record, planned)
    if record is not None and (planned.has("paused") or planned.has("unpaused")):
        containers.pause(engine, record, planned.has("paused"))
    if record is not None and request.state == "healthy":
        wait_healthy(engine, record, request.healthy_wait_timeout_s)
    return _outcome(engine, request, planned, record, result, warnings)


class _RunResult(Value):
    """What a start left: warnings, and of a command that was waited for its exit status and its output."""

    status: int | None = None
    output: str | None = None
    warnings: tuple[str, ...] = ()
    ran_already: bool = False  # somebody else has started it meanwhile


_NOTHING = _RunResult()


def _outcome(
    engine: Engine,
    request: ContainerRequest,
    planned: TaskPlan,
    record: ContainerRecord | None,
    result: _RunResult,
    warnings: tuple[str, ...],
) -> Outcome:
    facts = None
    record = containers.lookup(engine, record.id) if record is not None else None  # the start has chosen host ports
    if record is not None:
        facts = containers.inspect(engine, record)
        if result.output is not None:
            facts["Output"] = result.output
        if request.cleanup and result.status is not None:
            containers.remove(engine, record, force=True, volumes=not request.keep_volumes)
    elif result.output is not None:
        facts = {"Output": result.output}
    actions = tuple(action for action in planned.actions if not (result.ran_already and action.verb == "started"))
    return Outcome(
        bool(actions),
        actions,
        planned.before,
        planned.after,
        facts,
        (*warnings, *result.warnings),
        result.status,
        result.output,
    )


def _image(engine: Engine, request: ContainerRequest, observed: Observed) -> ImageRecord:
    """The image for a creation: the task's, else the one that the container has."""
    from . import images

    if observed.image is not None and observed.image.record is not None:
        return observed.image.record
    assert observed.record is not None
    return images.find(engine, observed.record.image_id)


def _create(engine: Engine, request: ContainerRequest, observed: Observed) -> ContainerRecord:
    from .._store.locks import lock
    from .creation import create_container

    spec = request.spec
    if not spec.image and observed.record is not None:
        spec = replace(spec, image=observed.record.image_name)
    with lock(engine.paths, "container", spec.name):
        return create_container(engine, spec, _image(engine, request, observed))


def _start_or_undo(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> _RunResult:
    try:
        return _start(engine, request, record)
    except BaseException:
        containers.remove(engine, record, force=True, volumes=True)
        raise


def _recreate(
    engine: Engine, request: ContainerRequest, observed: Observed, *, start: bool
) -> tuple[ContainerRecord, _RunResult]:
    """Make the container anew. The old one steps aside under another name and comes back if the new one fails."""
    old = observed.record
    assert old is not None
    aside = f"{old.name[:40]}.old-{old.id[:8]}"
    if observed.is_running:
        _stop(engine, request, old)
    containers.rename(engine, old, aside)
    old = containers.find(engine, old.id)
    try:
        record = _create(engine, request, observed)
        result = _start_or_undo(engine, request, record) if start else _NOTHING
    except BaseException:
        _bring_back(engine, old, request.spec.name, running=observed.is_running)
        raise
    containers.remove(engine, old, volumes=not request.keep_volumes)
    return record, result


def _bring_back(engine: Engine, old: ContainerRecord, name: str, *, running: bool) -> None:
    containers.rename(engine, old, name)
    if running:
        try:
            containers.start(engine, containers.find(engine, old.id))
        except HullError as error:
            raise Conflict(
                f"container {name}: the new one failed and the old one could not be started again: {error}"
            ) from error


def _update(
    engine: Engine, request: ContainerRequest, observed: Observed, record: ContainerRecord, planned: TaskPlan
) -> tuple[str, ...]:
    if not planned.has("updated"):
        return ()
    assert observed.spec is not None
    options = [difference.option for difference in planned.differences]
    spec = merge(request.spec, observed.spec, options, exact=request.compare == "exact")
    return containers.update(engine, record, spec)


def _change_state(
    engine: Engine, request: ContainerRequest, record: ContainerRecord, planned: TaskPlan
) -> tuple[ContainerRecord | None, _RunResult]:
    result = _NOTHING
    record = containers.find(engine, record.id)
    if planned.has("killed"):
        containers.stop(engine, record, timeout_s=0, signal=request.kill_signal)
    if planned.has("stopped") or planned.has("restarted"):
        _stop(engine, request, record)
    if planned.has("removed"):
        containers.remove(engine, record, force=True, volumes=not request.keep_volumes)
        return None, result
    if planned.has("started") or planned.has("restarted"):
        result = _start(engine, request, record)
    return record, result


def _stop(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> None:
    if request.force_kill:
        containers.stop(engine, record, timeout_s=0, signal=request.kill_signal)
    else:
        containers.stop(engine, record, timeout_s=request.stop_timeout_s)


def _start(engine: Engine, request: ContainerRequest, record: ContainerRecord) -> _RunResult:
    started = containers.start(engine, record, attach=not request.detach)
    if started is None:
        return _RunResult(ran_already=True)
    if started.session is None:
        return _RunResult(warnings=started.warnings)
    output, size, status = [], 0, -1
    with started.session as session:
        while True:
            frame = session.read()
            if frame is None:
                break
            if frame.kind in ("stdout", "stderr") and size < _OUTPUT_LIMIT:
                output.append(frame.data)
                size += len(frame.data)
            elif frame.kind == "exit":
                status = int(frame.data)
    return _RunResult(status, b"".join(output).decode("utf-8", "replace"), started.warnings)


def wait_healthy(engine: Engine, record: ContainerRecord, timeout_s: float) -> None:
    """Wait until the health check passes; at once where there is none. Raises Timeout or Conflict with its output."""
    import time

    deadline = time.monotonic() + timeout_s if timeout_s > 0 else float("inf")
    pause_s = 0.05
    while True:
        now = containers.state(engine, record)
        if not now.is_up:
            raise Conflict(f"wait for container {record.name}: it stopped with status {now.exit_code}")
        if now.health is None or now.health.status == "healthy":
            return
        if now.health.status == "unhealthy" or time.monotonic() > deadline:
            last = str(now.health.log[-1].get("Output", "")).strip() if now.health.log else "no output"
            if now.health.status == "unhealthy":
                raise Conflict(f"container {record.name} is unhealthy: {last}")
            raise Timeout(
                f'Timeout of {timeout_s:g} seconds exceeded while waiting for container "{record.name}"; last: {last}'
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 1)
