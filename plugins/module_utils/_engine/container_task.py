# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container module does: bring one container to a declared state, changing no more than that takes.

Observe the container, its image and the kernel; plan (`container_plan.py`); apply (`container_apply.py`, loaded only
where there is something to do).
"""

from __future__ import annotations

from .._base.errors import Conflict, NotFound
from .._base.plan import Outcome
from . import containers
from .container_plan import STATES, ContainerRequest, Observed, plan
from .image_facts import ImageConfig, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.records import ContainerRecord
    from .engine import Engine
    from .images import ImagePlan, Progress

_ATTEMPTS = 5

__all__ = ["STATES", "ContainerRequest", "ensure", "observe"]


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
        return Observed(image=image, config=read_config(image.record) if image and image.record else ImageConfig())
    config = _config_of(engine, record, image)
    return Observed(
        record=record,
        spec=declared_spec(record),
        config=config,
        desired=_desired_config(image, record),
        now=containers.state(engine, record),
        image=image,
    )


def _config_of(engine: Engine, record: ContainerRecord, image: ImagePlan | None) -> ImageConfig:
    if image is not None and image.record is not None and image.record.id == record.image_id:
        return read_config(image.record)
    database = engine.database()
    current = database.image(record.image_id) if database else None
    return read_config(current) if current else ImageConfig()


def _desired_config(image: ImagePlan | None, record: ContainerRecord) -> ImageConfig | None:
    if image is None or image.record is None or image.record.id == record.image_id:
        return None
    return read_config(image.record)


def ensure(
    engine: Engine, request: ContainerRequest, *, check: bool = False, progress: Progress | None = None
) -> Outcome:
    """Bring the container to the state asked for; with `check` only say what would be done.

    Raises what the verbs raise. A command that ran to its end (`detach` false) is not judged here: see `status`.
    """
    for _ in range(_ATTEMPTS):
        observed = observe(engine, request)
        planned = plan(request, observed)
        if check or not (planned.actions or request.state == "healthy"):
            break
        from .container_apply import apply, wait_healthy

        if not planned.actions:
            assert observed.record is not None
            wait_healthy(engine, observed.record, request.healthy_wait_timeout_s)
            break
        try:
            return apply(engine, request, observed, planned, progress)
        except (Conflict, NotFound):
            if not _was_replaced(engine, request.spec.name, observed):
                raise
    else:
        raise Conflict(f"container {request.spec.name}: others keep making it anew", hint="have one play manage it")
    facts = containers.inspect(engine, observed.record) if observed.record else None
    return Outcome(bool(planned.actions), planned.actions, planned.before, planned.after, facts)


def _was_replaced(engine: Engine, name: str, observed: Observed) -> bool:
    """Whether somebody else has made, removed or made anew the container since it was observed."""
    now = containers.lookup(engine, name)
    before = observed.record.id if observed.record is not None else ""
    return (now.id if now is not None else "") != before
