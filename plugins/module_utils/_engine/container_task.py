# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container module does: bring one container to a declared state, changing no more than that takes.

Observe the container, its image and the kernel; plan (pure); apply. The order of decisions is docker_container's:
image first, then differences, then the state. A recreation keeps the old container aside until the new one stands, and
brings it back if that fails.
"""

from __future__ import annotations

from .._base.errors import Conflict, HullError, Invalid, Timeout
from .._base.plan import Action, Outcome
from .._base.values import Value, replace
from . import containers
from .comparison import check_comparisons, compare, merge
from .image_facts import ImageConfig, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord, ImageRecord
    from .comparison import Difference
    from .engine import Engine
    from .images import ImagePlan, Progress

STATES = ("absent", "present", "stopped", "started", "healthy")
_OUTPUT_LIMIT = 16 * 1024 * 1024


class ContainerRequest(Value):
    """A task. `given` are the names of the spec's options that the task gives; only those are compared."""

    spec: ContainerSpec
    given: frozenset[str] = frozenset()
    state: str = "started"
    pull: str = "missing"
    platform: str = ""
    recreate: bool = False
    restart: bool = False
    detach: bool = True
    cleanup: bool = False
    force_kill: bool = False
    kill_signal: int = 9
    stop_timeout_s: int | None = None
    keep_volumes: bool = True
    comparisons: dict[str, str] = {}
    image_name_mismatch: str = "recreate"  # or ignore
    healthy_wait_timeout_s: float = 300


class Observed(Value):
    """What is there before anything is done."""

    record: ContainerRecord | None = None
    spec: ContainerSpec | None = None
    config: ImageConfig = ImageConfig()
    now: RunState | None = None
    image: ImagePlan | None = None

    @property
    def is_running(self) -> bool:
        return self.now is not None and self.now.status in containers.RUNNING


class TaskPlan(Value):
    """The actions in order, and what differs option by option."""

    actions: tuple[Action, ...] = ()
    differences: tuple[Difference, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def has(self, verb: str) -> bool:
        return any(action.verb == verb for action in self.actions)


def observe(engine: Engine, request: ContainerRequest) -> Observed:
    """Read the record, the kernel's view of it and, unless the container is to go, which image it should have.

    The registry is asked only with `pull: always`; nothing is fetched. Raises NotFound for an image that is neither
    here nor to be pulled.
    """
    from . import images
    from .declared import declared_spec

    record = containers.lookup(engine, request.spec.name)
    image = None
    if request.state != "absent" and request.spec.image:
        image = images.plan_pull(engine, request.spec.image, request.pull, platform=request.platform)
    if record is None:
        return Observed(image=image)
    return Observed(
        record=record,
        spec=declared_spec(record),
        config=_config_of(engine, record, image),
        now=containers.state(engine, record),
        image=image,
    )


def _config_of(engine: Engine, record: ContainerRecord, image: ImagePlan | None) -> ImageConfig:
    if image is not None and image.record is not None and image.record.id == record.image_id:
        return read_config(image.record)
    database = engine.database()
    current = database.image(record.image_id) if database else None
    return read_config(current) if current else ImageConfig()


def plan(request: ContainerRequest, observed: Observed) -> TaskPlan:
    """The actions that bring what is observed to what is asked for. Pure. Raises Invalid where an image is needed."""
    if request.state not in STATES:
        raise Invalid(f"{request.state!r} is not known", option="state", hint=f"use {', '.join(STATES)}")
    comparisons = check_comparisons(request.comparisons)
    if request.state == "absent":
        return _plan_absent(request, observed)
    name, actions = request.spec.name, []
    if observed.image is not None and observed.image.fetch:
        actions.append(Action("pulled_image", request.spec.image, observed.image.fetch))
    if observed.record is None:
        if not request.spec.image:
            raise Invalid(f"container {name} does not exist and no image is given to make it from", option="image")
        actions.append(Action("created", name))
        return _with_state(request, observed, actions, (), recreated=True)
    differences = _differences(request, observed, comparisons)
    reasons = [difference.option for difference in differences if not difference.live]
    if request.recreate:
        reasons.append("recreate")
    if reasons:
        if observed.is_running:
            actions.append(Action("stopped", name))
        actions += [Action("removed", name), Action("created", name, ", ".join(reasons))]
    elif differences:
        actions.append(Action("updated", name, ", ".join(difference.option for difference in differences)))
    return _with_state(request, observed, actions, tuple(differences), recreated=bool(reasons))


def _differences(request: ContainerRequest, observed: Observed, comparisons: dict[str, str]) -> list[Difference]:
    assert observed.record is not None and observed.spec is not None
    found = compare(request.spec, observed.spec, observed.config, request.given, comparisons)
    if comparisons.get("image") != "ignore" and observed.image is not None:
        found += _image_difference(request, observed.record, observed.image)
    return found


def _image_difference(request: ContainerRequest, record: ContainerRecord, image: ImagePlan) -> list[Difference]:
    from .comparison import Difference

    if image.fetch:
        return [Difference("image", record.image_id, "unknown", live=False)]
    if image.record is not None and image.record.id != record.image_id:
        return [Difference("image", record.image_id, image.record.id, live=False)]
    if request.image_name_mismatch == "recreate" and request.spec.image != record.image_name:
        return [Difference("image_name", record.image_name, request.spec.image, live=False)]
    return []


def _plan_absent(request: ContainerRequest, observed: Observed) -> TaskPlan:
    if observed.record is None:
        return TaskPlan(before={"exists": False}, after={"exists": False})
    name, actions = request.spec.name, []
    if observed.is_running:
        actions.append(Action("killed" if request.force_kill else "stopped", name))
    actions.append(Action("removed", name))
    before = {"exists": True, "running": observed.is_running}
    return TaskPlan(tuple(actions), (), before, {"exists": False, "running": False})


def _with_state(
    request: ContainerRequest,
    observed: Observed,
    actions: list[Action],
    differences: tuple[Difference, ...],
    *,
    recreated: bool,
) -> TaskPlan:
    """The actions for the state that is wanted after creation, and the diff of the whole."""
    running = observed.is_running and not recreated
    name = request.spec.name
    if request.state in ("started", "healthy"):
        if not running:
            actions.append(Action("started", name))
        elif request.restart:
            actions.append(Action("restarted", name))
        after_running = True
    else:
        if running and request.state == "stopped":
            actions.append(Action("killed" if request.force_kill else "stopped", name))
        after_running = running and request.state == "present"
    before = {"exists": observed.record is not None, "running": observed.is_running}
    after = {"exists": True, "running": after_running}
    for difference in differences:
        before[difference.option], after[difference.option] = difference.before, difference.after
    return TaskPlan(tuple(actions), differences, before, after)


def ensure(
    engine: Engine, request: ContainerRequest, *, check: bool = False, progress: Progress | None = None
) -> Outcome:
    """Bring the container to the state asked for; with `check` only say what would be done.

    Raises what the verbs raise. A command that ran to its end (`detach` false) is not judged here: see `status`.
    """
    observed = observe(engine, request)
    planned = plan(request, observed)
    if check or not planned.actions:
        facts = containers.inspect(engine, observed.record) if observed.record else None
        if not check and request.state == "healthy" and observed.record is not None:
            _wait_healthy(engine, observed.record, request.healthy_wait_timeout_s)
            facts = containers.inspect(engine, observed.record)
        return Outcome(bool(planned.actions), planned.actions, planned.before, planned.after, facts)
    return _apply(engine, request, observed, planned, progress)


def _apply(
    engine: Engine, request: ContainerRequest, observed: Observed, planned: TaskPlan, progress: Progress | None
) -> Outcome:
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
    if planned.has("created"):
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
    if record is not None and request.state == "healthy":
        _wait_healthy(engine, record, request.healthy_wait_timeout_s)
    return _outcome(engine, request, planned, record, result, warnings)


class _RunResult(Value):
    """What a start left: warnings, and of a command that was waited for its exit status and its output."""

    status: int | None = None
    output: str | None = None
    warnings: tuple[str, ...] = ()


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
    return Outcome(
        bool(planned.actions),
        planned.actions,
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
    return containers.update(engine, record, merge(request.spec, observed.spec, options))


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
    if request.detach:
        begun = containers.start(engine, record)
        return _RunResult(warnings=begun.warnings if begun else ())
    started = containers.start(engine, record, attach=True)
    assert started is not None and started.session is not None
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


def _wait_healthy(engine: Engine, record: ContainerRecord, timeout_s: float) -> None:
    """Wait until the health check passes; at once where there is none. Raises Timeout or Conflict with its output."""
    import time

    deadline = time.monotonic() + timeout_s if timeout_s > 0 else float("inf")
    pause_s = 0.05
    while True:
        now = containers.state(engine, record)
        if now.status not in containers.RUNNING:
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
