# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's task, what is there, and the plan that leads from the one to the other. Pure.

The order of decisions is docker_container's: image first, then differences, then the state.
"""

from __future__ import annotations

from .._base.errors import Conflict, Invalid
from .._base.plan import Action
from .._base.values import Value
from .comparison import Difference, Rules, check_comparisons, compare
from .image_facts import ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord
    from .images import ImagePlan

STATES = ("absent", "present", "stopped", "started", "healthy")


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
    image_comparison: str = "desired-image"  # or current-image
    image_label_mismatch: str = "ignore"  # or fail
    compare: str = "declared"  # or exact
    paused: bool | None = None


class Observed(Value):
    """What is there before anything is done."""

    record: ContainerRecord | None = None
    spec: ContainerSpec | None = None
    config: ImageConfig = ImageConfig()  # of the image that the container has
    now: RunState | None = None
    image: ImagePlan | None = None
    desired: ImageConfig | None = None  # of the image that it should have, where that is another one

    @property
    def is_running(self) -> bool:
        return self.now is not None and self.now.is_up


class TaskPlan(Value):
    """The actions in order, and what differs option by option."""

    actions: tuple[Action, ...] = ()
    differences: tuple[Difference, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def has(self, verb: str) -> bool:
        return any(action.verb == verb for action in self.actions)


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
    _check_labels(request, observed)
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
        actions.append(Action("recreated", name, ", ".join(reasons)))
    elif differences:
        actions.append(Action("updated", name, ", ".join(difference.option for difference in differences)))
    return _with_state(request, observed, actions, tuple(differences), recreated=bool(reasons))


def _check_labels(request: ContainerRequest, observed: Observed) -> None:
    """With image_label_mismatch fail, labels that only the image gives are not accepted."""
    if request.image_label_mismatch == "fail":
        extra = sorted((observed.desired or observed.config).labels.keys() - request.spec.labels.keys())
        if extra:
            raise Conflict(
                f"container {request.spec.name}: its image has labels that the task does not give: {', '.join(extra)}",
                hint="give them in labels, or set image_label_mismatch to ignore",
            )


def _differences(request: ContainerRequest, observed: Observed, comparisons: dict[str, str]) -> list[Difference]:
    assert observed.record is not None and observed.spec is not None
    rules = Rules(request.given, comparisons, request.compare == "exact")
    current = observed.config
    desired = current if request.image_comparison == "current-image" else observed.desired or current
    found = compare(request.spec, observed.spec, desired, current, rules)
    if comparisons.get("image") != "ignore" and observed.image is not None:
        found += _image_difference(request, observed.record, observed.image)
    return found


def _image_difference(request: ContainerRequest, record: ContainerRecord, image: ImagePlan) -> list[Difference]:
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
    was_paused = observed.now is not None and observed.now.paused
    if request.paused is not None and after_running:
        kept = was_paused and running and not any(action.verb == "restarted" for action in actions)
        if request.paused != kept:
            actions.append(Action("paused" if request.paused else "unpaused", name))
        before["paused"], after["paused"] = was_paused, request.paused
    for difference in differences:
        before[difference.option], after[difference.option] = difference.before, difference.after
    return TaskPlan(tuple(actions), differences, before, after)
