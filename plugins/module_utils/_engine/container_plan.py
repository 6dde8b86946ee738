# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's task, what is there, and the plan that leads from the one to the other. Pure.

The order of decisions is docker_container's: image first, then differences, then the state.
"""

from __future__ import annotations

from .._base.errors import Conflict, Invalid
from .._base.plan import Action
from .._base.values import Value
from .comparison import IMAGE, PLATFORM, Difference, Rules, check_comparisons, compare
from .image_facts import ImageConfig, is_for
from .option_fields import IGNORE, STRICT

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
    coming: str = ""  # the id of the image that a pull would bring, where that was asked
    set_aside: tuple[ContainerRecord, ...] = ()  # what a recreation that was killed has left
    left_behind: tuple[str, ...] = ()  # options that name a container which has other namespaces by now

    @property
    def is_running(self) -> bool:
        """Whether it is up."""
        return self.now is not None and self.now.is_up

    @property
    def is_paused(self) -> bool:
        """Whether its processes stand still."""
        return self.now is not None and self.now.paused

    @property
    def fetch(self) -> str:
        """Why another image is to be pulled; empty where none is, or the same would come."""
        if self.image is None or (self.image.record is not None and self.image.record.id == self.coming):
            return ""
        return self.image.fetch


class TaskPlan(Value):
    """The actions in order, and what differs option by option."""

    actions: tuple[Action, ...] = ()
    differences: tuple[Difference, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def has(self, *verbs: str) -> bool:
        """Whether one of the verbs is to be done."""
        return any(action.verb in verbs for action in self.actions)


def rules_of(request: ContainerRequest) -> Rules:
    """How the task wants options to be compared. Raises Invalid."""
    return Rules(request.given, check_comparisons(request.comparisons), request.compare == "exact")


def plan(request: ContainerRequest, observed: Observed) -> TaskPlan:
    """The actions that bring what is observed to what is asked for. Pure. Raises Invalid where an image is needed."""
    if request.state not in STATES:
        raise Invalid(f"{request.state!r} is not known", option="state", hint=f"use {', '.join(STATES)}")
    rules = rules_of(request)
    if request.state == "absent":
        return _plan_absent(request, observed)
    name, actions = request.spec.name, []
    if observed.fetch:
        actions.append(Action("pulled_image", request.spec.image, observed.fetch))
    _check_labels(request, observed, rules)
    if observed.record is None:
        if not request.spec.image:
            raise Invalid(f"container {name} does not exist and no image is given to make it from", option="image")
        actions.append(Action("created", name))
        return _with_state(request, observed, actions, ())
    differences = _differences(request, observed, rules)
    reasons = [difference.option for difference in differences if not difference.live]
    reasons += ["recreate"] if request.recreate else []
    if reasons:
        if observed.is_running:
            actions.append(Action(_stopping(request), name))
        actions.append(Action("recreated", name, ", ".join(reasons)))
    elif differences:
        actions.append(Action("updated", name, ", ".join(difference.option for difference in differences)))
    return _with_state(request, observed, actions, tuple(differences))


def _stopping(request: ContainerRequest) -> str:
    return "killed" if request.force_kill else "stopped"


def _check_labels(request: ContainerRequest, observed: Observed, rules: Rules) -> None:
    """With image_label_mismatch fail, labels that only the image gives are not accepted where labels are strict."""
    if request.image_label_mismatch == "fail" and rules.mode("labels") == STRICT:
        extra = sorted((observed.desired or observed.config).labels.keys() - request.spec.labels.keys())
        if extra:
            raise Conflict(
                f"container {request.spec.name}: its image has labels that the task does not give: {', '.join(extra)}",
                hint="give them in labels, or set image_label_mismatch to ignore",
            )


def _differences(request: ContainerRequest, observed: Observed, rules: Rules) -> list[Difference]:
    assert observed.spec is not None
    current = observed.config
    desired = current if request.image_comparison == "current-image" else observed.desired or current
    return compare(request.spec, observed.spec, desired, current, rules) + _image_differences(request, observed, rules)


def _image_differences(request: ContainerRequest, observed: Observed, rules: Rules) -> list[Difference]:
    record, image = observed.record, observed.image
    if image is None or record is None:
        return []
    found = []
    if rules.comparisons.get(IMAGE) != IGNORE:
        wanted = observed.coming or ("unknown" if image.fetch else image.record.id if image.record else "")
        if wanted != record.image_id:
            found.append(Difference("image", record.image_id, wanted, live=False))
        if request.image_name_mismatch == "recreate" and not _same_name(request.spec.image, record.image_name):
            found.append(Difference("image_name", record.image_name, request.spec.image, live=False))
    other_platform = request.platform and not is_for(observed.config, request.platform)
    if other_platform and not found and rules.comparisons.get(PLATFORM) != IGNORE:
        has = f"{observed.config.os}/{observed.config.architecture}"
        found.append(Difference("platform", has, request.platform, live=False))
    return found


def _same_name(wanted: str, actual: str) -> bool:
    """Whether two texts name the same image: debian, debian:latest and docker.io/library/debian do."""
    if wanted == actual:
        return True
    from .._image.reference import parse_reference

    try:
        return parse_reference(wanted).canonical == parse_reference(actual).canonical
    except Invalid:
        return False  # one of them is an id


def _plan_absent(request: ContainerRequest, observed: Observed) -> TaskPlan:
    if observed.record is None:
        return TaskPlan(before={"exists": False}, after={"exists": False})
    name, actions = request.spec.name, []
    if observed.is_running:
        actions.append(Action(_stopping(request), name))
    actions.append(Action("removed", name))
    before = {"exists": True, "running": observed.is_running}
    return TaskPlan(tuple(actions), (), before, {"exists": False, "running": False})


def _with_state(
    request: ContainerRequest, observed: Observed, actions: list[Action], differences: tuple[Difference, ...]
) -> TaskPlan:
    """The actions for the state that is wanted after creation, and the diff of the whole."""
    made = next((action for action in actions if action.verb in ("created", "recreated")), None)
    running = observed.is_running and made is None
    name = request.spec.name
    before: dict[str, Any] = {"exists": observed.record is not None, "running": observed.is_running}
    after: dict[str, Any] = {"exists": True, "running": running}
    if made is not None and made.verb == "recreated":
        before["recreated"], after["recreated"] = "", made.reason
    for difference in differences:
        before[difference.option], after[difference.option] = difference.before, difference.after
    if request.state in ("started", "healthy"):
        if not running:
            actions.append(Action("started", name))
            after["running"] = request.detach
        elif request.restart or observed.left_behind:
            actions.append(Action("restarted", name, ", ".join(observed.left_behind)))
            before["restarted"], after["restarted"] = False, True
    elif running and request.state == "stopped":
        actions.append(Action(_stopping(request), name))
        after["running"] = False
    if request.paused is not None and after["running"]:
        begun = any(action.verb in ("started", "restarted") for action in actions)
        if request.paused != (observed.is_paused and not begun):  # what is started anew is not paused
            actions.append(Action("paused" if request.paused else "unpaused", name))
        before["paused"], after["paused"] = observed.is_paused, request.paused
    return TaskPlan(tuple(actions), differences, before, after)
