# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container module does: bring one container to a declared state, changing no more than that takes.

Observe the container, its image and the kernel; plan (`container_plan.py`); apply (`container_apply.py`, loaded only
where there is something to do).
"""

from __future__ import annotations

import os

from .._base.plan import Outcome
from .._base.values import replace
from . import containers
from .container_plan import STATES, ContainerRequest, Observed, plan
from .image_facts import ImageConfig, read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord, ImageRecord
    from .engine import Engine
    from .images import ImagePlan, Progress

_LONG_NAME = 51  # longer ones leave no room for what is added

__all__ = ["STATES", "ContainerRequest", "ensure", "observe"]


def observe(engine: Engine, request: ContainerRequest) -> Observed:
    """Read the record, the kernel's view of it and, unless the container is to go, which image it should have.

    The registry is asked only with `pull: always`; nothing is fetched. Raises NotFound for an image that is neither
    here nor to be pulled.
    """
    image = None
    if request.state != "absent" and request.spec.image:
        from . import images

        image = images.plan_pull(engine, request.spec.image, request.pull, platform=request.platform)
    return observe_container(engine, request, image)


def observe_container(engine: Engine, request: ContainerRequest, image: ImagePlan | None) -> Observed:
    """Read the record and the kernel's view of it; which image the container should have is known."""
    from .declared import declared_spec

    name = request.spec.name
    record = containers.by_name(engine, name)
    wanted = image.record if image is not None else None
    if record is None:
        return Observed(image=image, config=_config(wanted), set_aside=_set_aside(engine, name))
    has = wanted
    if wanted is None or wanted.id != record.image_id:
        has = engine.records.image(record.image_id)
    spec, now = declared_spec(record), containers.state(engine, record)
    return Observed(
        record=record,
        spec=spec,
        config=_config(has),
        now=now,
        image=image,
        desired=_config(wanted) if wanted is not None and wanted is not has else None,
        set_aside=_set_aside(engine, name),
        left_behind=_left_behind(engine, spec, now),
    )


def _left_behind(engine: Engine, spec: ContainerSpec, now: RunState) -> tuple[str, ...]:
    """The options by which a running container shares namespaces of one that was started anew since.

    What it has still is nobody else's: a network without a way out, for example. Asked of the kernel.
    """
    if now.status not in ("running", "paused"):
        return ()
    shared = {"network_mode": ("net", spec.network_mode), "ipc_mode": ("ipc", spec.ipc_mode)}
    found = []
    for option, (namespace, mode) in shared.items():
        kind, _, provider = mode.partition(":")
        record = containers.lookup_declared(engine, provider) if kind == "container" else None
        if record is not None and _shares(namespace, now.pid, containers.state(engine, record).pid) is False:
            found.append(option)
    return tuple(found)


def _shares(namespace: str, pid: int, other: int) -> bool | None:
    """Whether two processes share a namespace; None where one of them does not run."""
    try:
        own, others = (os.stat(f"/proc/{number}/ns/{namespace}") for number in (pid, other))
    except OSError:
        return None
    return own.st_ino == others.st_ino


def aside_name(name: str, container_id: str) -> str:
    """What a container is called while another takes its name; see `recreation.py`."""
    return f"{_aside_stem(name)}{container_id[:8]}"


def _aside_stem(name: str) -> str:
    if len(name) > _LONG_NAME:
        from binascii import crc32

        name = f"{name[: _LONG_NAME - 9]}.{crc32(name.encode()):08x}"
    return f"{name}.old-"


def _set_aside(engine: Engine, name: str) -> tuple[ContainerRecord, ...]:
    """The containers that were made anew by tasks that did not come to their end."""
    database = engine.database()
    found = database.containers_by_name_prefix(_aside_stem(name)) if database else []
    return tuple(record for record in found if record.name == aside_name(name, record.id))


def _config(image: ImageRecord | None) -> ImageConfig:
    return read_config(image) if image is not None else ImageConfig()


def ensure(
    engine: Engine, request: ContainerRequest, *, check: bool = False, progress: Progress | None = None
) -> Outcome:
    """Bring the container to the state asked for; with `check` only say what would be done.

    Raises what the verbs raise. A command that ran to its end (`detach` false) is not judged here: see `status`.
    """
    if request.compare == "exact":  # what is no longer given falls back to the host's defaults
        request = replace(request, spec=engine.defaults().apply(request.spec))
    observed = observe(engine, request)
    if check and observed.image is not None and observed.image.fetch:
        from . import images

        coming = images.foresee(engine, request.spec.image, platform=request.platform)
        observed = replace(observed, coming=coming.image_id)
    planned = plan(request, observed)
    if not check and (planned.actions or request.state == "healthy" or observed.set_aside):
        from .container_apply import apply

        return apply(engine, request, observed, progress)
    facts = containers.inspect(engine, observed.record) if observed.record else None
    return Outcome(bool(planned.actions), planned.actions, planned.before, planned.after, facts)
