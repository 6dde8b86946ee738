# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container has changed: told, exported, made into an image.

A running container stands still while it is committed, unless it is told not to; nobody starts, stops or removes it
meanwhile. What the engine itself put into its writable layer to mount on, and what is mounted there, is not part of it.
"""

from __future__ import annotations

from contextlib import ExitStack

from .._base.clock import format_time
from .._base.errors import HullError, NotFound
from .._base.values import Value
from .._store.locks import lock
from .declared import declared_spec, plan_of
from .tree_views import TreeView, container_view, upper_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._image.changeset import Change, UpperLayer
    from .._image.commit import NewLayer, Statement
    from .._image.packing import PieceStream
    from .._store.records import ContainerRecord, ImageRecord
    from .engine import Engine

_PLACES = tuple(b"proc sys sys/fs/cgroup dev dev/pts dev/shm dev/mqueue etc/hosts etc/hostname etc/resolv.conf".split())


class CommitRequest(Value):
    """How a container is committed. Without a name the image gets none."""

    name: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True


class Committed(Value):
    """The image, and what could not be taken into it."""

    image: ImageRecord
    warnings: tuple[str, ...] = ()


def diff(engine: Engine, record: ContainerRecord) -> list[Change]:
    """What the container has changed since it was made, in order of paths; running or not, as Docker tells it."""
    with _Reading(engine, record, pause=False) as layer:
        return layer.changes()


class Export:
    """`with Export(engine, record) as stream:` a tar of all that the container sees, made as it is read.

    What is mounted in it is left out. Nobody starts, stops or removes the container meanwhile; a running one goes on.
    """

    def __init__(self, engine: Engine, record: ContainerRecord) -> None:
        self._engine, self._record = engine, record
        self._held = ExitStack()

    def __enter__(self) -> PieceStream:
        from .._image.packing import PieceStream, pack_tree

        with ExitStack() as stack:
            stack.enter_context(lock(self._engine.paths, "container", self._record.name))
            root = stack.enter_context(container_view(plan_of(self._record)))
            self._held = stack.pop_all()
        return PieceStream(pack_tree(root))

    def __exit__(self, *_error: object) -> None:
        self._held.close()


def commit(engine: Engine, record: ContainerRecord, request: CommitRequest) -> Committed:
    """Make an image of a container, running or not. Raises Invalid for a name or a change, before anything is done.

    An unchanged container gives an image with the layers of its own; what a layer can't have is told as a warning.
    """
    from .._image import commit as image_commit
    from .._image.forked_stream import ForkedStream
    from .._image.packing import PieceStream
    from .._image.source_date import created_ns
    from .._image.tar import shown
    from .._store.claims import claim
    from .._store.garbage import sweep_temporary

    references = (_target(engine, request.name),) if request.name else ()
    base = _base(engine, record)
    statement = _statement(record, base, request, format_time(created_ns()))
    sweep_temporary(engine.paths)  # what a killed process left takes space that this commit may need
    left_out: list[str] = []
    with claim(engine.paths, engine.records):
        with _Reading(engine, record, pause=request.pause) as layer:
            pieces = layer.pieces(leave_out=lambda path: left_out.append(shown(path)))
            with ForkedStream(lambda: PieceStream(pieces), lambda: left_out) as stream:
                new = image_commit.bring(engine.paths, stream)
        image = image_commit.derived_image(base, len(base.layers), new, statement, references)
        made = image_commit.publish(engine.paths, engine.records, image, f"commit container {record.name}")
    return Committed(made, tuple(_left_out(record, path) for path in stream.result))


class CommitPlan(Value):
    """What a commit would come to: the new layer on the base, and the image of that name where it is that already."""

    base: ImageRecord
    layer: NewLayer | None
    same: ImageRecord | None
    changes: tuple[Change, ...]


def plan_commit(engine: Engine, record: ContainerRecord, request: CommitRequest) -> CommitPlan:
    """Find out what a commit would make, by reading all that it would read; nothing is kept, stopped or changed."""
    from .._image import commit as image_commit
    from . import images

    _target(engine, request.name)
    base, existing = _base(engine, record), images.by_name(engine, request.name)
    created = image_commit.read_document(existing).get("created") if existing else None
    statement = _statement(record, base, request, str(created or ""))
    with _Reading(engine, record, pause=False) as layer:
        new = image_commit.layer_of(layer.pieces(leave_out=lambda _path: None))
        changes = tuple(layer.changes())
    image = image_commit.derived_image(base, len(base.layers), new, statement)
    return CommitPlan(base, new, existing if existing and existing.id == image.id else None, changes)


def _target(engine: Engine, name: str) -> str:
    from . import images

    return images.parse_target(engine, name).canonical


def _base(engine: Engine, record: ContainerRecord) -> ImageRecord:
    image = engine.records.image(record.image_id)
    if image is None:
        raise NotFound(
            f"container {record.name}: its image {record.image_id} is not here", hint="pull or load it again"
        )
    return image


def _left_out(record: ContainerRecord, path: str) -> str:
    return (
        f"container {record.name}: /{path} is not in the image, since in a layer names that begin with .wh. "
        "delete files; rename it and commit again"
    )


class _Reading:
    """`with _Reading(...) as layer:` a container's writable layer, which nobody removes or starts to use meanwhile."""

    def __init__(self, engine: Engine, record: ContainerRecord, *, pause: bool) -> None:
        self._engine, self._record, self._pause = engine, record, pause
        self._held = ExitStack()

    def __enter__(self) -> UpperLayer:
        from .._image.changeset import UpperLayer

        plan = plan_of(self._record)
        with ExitStack() as stack:
            stack.enter_context(lock(self._engine.paths, "container", self._record.name))
            if self._pause:
                _freeze(self._engine, self._record, stack)
            upper = stack.enter_context(TreeView((upper_directory(plan),)))
            lower = stack.enter_context(TreeView(plan.layers))
            self._held = stack.pop_all()
        return UpperLayer(upper, lower, _PLACES)

    def __exit__(self, *_error: object) -> None:
        self._held.close()


def _freeze(engine: Engine, record: ContainerRecord, stack: ExitStack) -> None:
    """Stop the container's processes until the stack is closed; not where none runs, or somebody else has done it."""
    from . import containers

    if containers.state(engine, record).status != "running":
        return
    from .._kernel.cgroups import Cgroup, detect
    from .freezing import Frozen

    try:
        stack.enter_context(Frozen(Cgroup(detect(), plan_of(record).cgroup)))
    except HullError:
        if containers.state(engine, record).status == "running":
            raise  # else it has ended by itself meanwhile


def _statement(record: ContainerRecord, base: ImageRecord, request: CommitRequest, created: str) -> Statement:
    from .._image.changes import apply_changes
    from .._image.commit import Statement, read_document

    config = committed_config(read_document(base).get("config") or {}, declared_spec(record))
    apply_changes(config, request.changes)
    created_by = " ".join(plan_of(record).process.args)
    return Statement(config, created, created_by, request.author, request.message)


def committed_config(image: dict[str, Any], spec: ContainerSpec) -> dict[str, Any]:
    """The `config` of an image made from a container: that of its own image with what the container was given.

    Not the container's host name, terminal or limits: they are no image's. Pure.
    """
    config = {name: value for name, value in image.items() if value is not None}
    env = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    lists: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in {**env, **spec.env}.items()],
        "Labels": {**(config.get("Labels") or {}), **spec.labels},
        "ExposedPorts": {
            **(config.get("ExposedPorts") or {}),
            **{f"{port.container_port}/{port.protocol}": {} for port in spec.ports},
        },
        "Volumes": {
            **(config.get("Volumes") or {}),
            **{mount.target: {} for mount in spec.mounts if mount.kind == "volume" and not mount.source},
        },
    }
    config.update({name: value for name, value in lists.items() if value})
    texts = {"User": spec.user, "WorkingDir": spec.working_dir, "StopSignal": spec.stop_signal}
    config.update({name: value for name, value in texts.items() if value is not None})
    _set_command(config, spec)
    if spec.health is not None:
        own = {
            "Test": list(spec.health.test),
            "Interval": spec.health.interval_ns,
            "Timeout": spec.health.timeout_ns,
            "StartPeriod": spec.health.start_period_ns,
            "StartInterval": spec.health.start_interval_ns,
            "Retries": spec.health.retries,
        }
        said = {key: value for key, value in own.items() if value not in ([], -1)}
        config["Healthcheck"] = {**(config.get("Healthcheck") or {}), **said}
    return config


def _set_command(config: dict[str, Any], spec: ContainerSpec) -> None:
    """An entrypoint of the container's own drops the image's command, as it does in the container."""
    if spec.entrypoint is not None:
        config.pop("Cmd", None)
        config.pop("Entrypoint", None)
        if spec.entrypoint:
            config["Entrypoint"] = list(spec.entrypoint)
    if spec.command:
        config["Cmd"] = list(spec.command)
