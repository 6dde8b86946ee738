# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What nobody uses, removed in one go: images, stopped containers, volumes. Each tells what went and the space it held.

The filters are those of Docker's prune commands. Whoever uses something keeps it: an image, also one without a name,
stays while a container is there that was made from it.
"""

from __future__ import annotations

import os
from stat import S_ISDIR

from .._base.clock import now_ns
from .._base.errors import Conflict
from .._base.units import parse_moment
from .._base.values import Value, replace
from .filters import as_boolean, filter_values, fits_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .._store.records import ContainerRecord, VolumeRecord
    from .engine import Engine
    from .image_filters import ImageFilters
    from .image_removal import Removal

    Filters = Iterable[tuple[str, str]]

KINDS = {  # what can be pruned, with its filters
    "containers": ("label", "label!", "until"),
    "images": ("label", "label!", "until", "dangling"),
    "volumes": ("label", "label!", "all"),
    "networks": ("label", "label!", "until"),
}
_STOPPED = ("created", "exited", "dead")
_BLOCK = 512  # of st_blocks, whatever the file system's


class Pruned(Value):
    """What went, or would go: ids or names, for people also the names that an image had; and the bytes it took."""

    removed: tuple[str, ...]
    space_bytes: int
    untagged: tuple[str, ...] = ()


def prune_all(engine: Engine, wanted: Mapping[str, Filters], *, check: bool = False) -> dict[str, Pruned]:
    """Prune several of KINDS, each with its filters, in the order of KINDS: what only went-away containers used goes.

    Raises Invalid before anything is removed. With `check` nothing is.
    """
    for kind, filters in wanted.items():
        _checked(kind, filters)
    pruned = {}
    if "containers" in wanted:
        pruned["containers"] = prune_containers(engine, wanted["containers"], check=check)
    gone = pruned["containers"].removed if check and pruned else ()
    if "images" in wanted:
        pruned["images"] = prune_images(engine, wanted["images"], check=check, gone=gone)
    if "volumes" in wanted:
        pruned["volumes"] = prune_volumes(engine, wanted["volumes"], check=check, gone=gone)
    if "networks" in wanted:
        pruned["networks"] = Pruned((), 0)  # there are none but the default one, which is never unused
    return pruned


def _checked(kind: str, filters: Filters) -> dict[str, list[str]]:
    """The values of the filters. Raises Invalid."""
    values = filter_values(filters, KINDS[kind])
    for text in values.get("until", ()):
        parse_moment(text, now_ns(), option="filter until")
    for name in ("dangling", "all"):
        for text in values.get(name, ()):
            as_boolean(name, text)
    return values


def prune_images(engine: Engine, filters: Filters = (), *, check: bool = False, gone: tuple[str, ...] = ()) -> Pruned:
    """Remove the images that have no name, with `dangling=false` all that no container was made from.

    With `check` nothing is removed, and the containers with the ids `gone` are taken for removed.
    """
    from .._store.garbage import collect
    from .image_filters import parse_filters
    from .image_removal import forget, needed_only_by

    wanted = parse_filters(engine, filters, KINDS["images"])
    if engine.database() is None:
        return Pruned((), 0)

    def plan() -> list[Removal]:
        return _unused_images(engine, wanted, gone)

    removals = plan() if check else forget(engine, plan)
    if check:
        freed = sum(map(disk_usage, needed_only_by(engine, removals)))
    else:
        freed = collect(engine.paths, engine.records).freed_bytes
    untagged = tuple(name for removal in removals for name in removal.untagged)
    return Pruned(tuple(removal.record.id for removal in removals), freed, untagged)


def _unused_images(engine: Engine, wanted: ImageFilters, gone: tuple[str, ...]) -> list[Removal]:
    from .image_filters import select
    from .image_removal import removal_of
    from .images import list_images

    # Docker's default is dangling=true, and dangling=false means: not only those
    chosen = replace(wanted, dangling=True if wanted.dangling is None or wanted.dangling else None)
    unused = (
        (record, tags)
        for record, tags in list_images(engine)
        if all(user.id in gone for user in engine.records.containers_of_image(record.id))
    )
    return [removal_of(record, tags) for record, tags in select(unused, chosen)]


def prune_containers(engine: Engine, filters: Filters = (), *, check: bool = False) -> Pruned:
    """Remove the containers that are stopped or were never started. With `check` nothing is removed."""
    from . import containers
    from .declared import declared_spec

    wanted = _checked("containers", filters)
    removed, space = [], 0
    for record, now in containers.list_containers(engine, all=True):
        if now.status not in _STOPPED or not _fits(declared_spec(record).labels, record.created_ns, wanted):
            continue
        taken = disk_usage(engine.paths.container(record.id))
        if check or _is_removed(engine, record):
            removed.append(record.id)
            space += taken
    return Pruned(tuple(removed), space)


def _is_removed(engine: Engine, record: ContainerRecord) -> bool:
    from . import containers

    try:
        containers.remove(engine, record)
    except Conflict:  # somebody has started it
        return False
    return True


def prune_volumes(engine: Engine, filters: Filters = (), *, check: bool = False, gone: tuple[str, ...] = ()) -> Pruned:
    """Remove the anonymous volumes that no container uses, with `all=true` named ones too.

    With `check` nothing is removed, and the containers with the ids `gone` are taken for removed.
    """
    from . import volumes

    wanted = _checked("volumes", filters)
    every = as_boolean("all", wanted["all"][-1]) if "all" in wanted else False
    removed, space = [], 0
    for record in volumes.list_volumes(engine):
        if not (every or record.anonymous) or not _fits(record.labels, record.created_ns, wanted):
            continue
        if not set(engine.records.volume_users(record.name)).issubset(gone):
            continue
        taken = disk_usage(engine.paths.volume(record.name))
        if check or _is_volume_removed(engine, record):
            removed.append(record.name)
            space += taken
    return Pruned(tuple(removed), space)


def _is_volume_removed(engine: Engine, record: VolumeRecord) -> bool:
    from . import volumes

    try:
        volumes.remove(engine, record.name, force=True)
    except Conflict:  # somebody has taken it into use
        return False
    return True


def _fits(labels: dict[str, str], created_ns: int, wanted: dict[str, list[str]]) -> bool:
    moment = now_ns()
    return all(
        created_ns < parse_moment(text, moment, option="filter until") for text in wanted.get("until", ())
    ) and fits_labels(labels, wanted.get("label", ()), wanted.get("label!", ()))


class Usage(Value):
    """How much there is of one kind of KINDS, how much is in use, the bytes it takes, and those that pruning frees."""

    kind: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


def usage(engine: Engine) -> list[Usage]:
    """What images, containers and volumes take on disk. Everything is looked at, which takes a while for much of it."""
    database = engine.database()
    if database is None:
        return [Usage(kind, 0, 0, 0, 0) for kind in ("images", "containers", "volumes")]
    paths = engine.paths
    unused = {
        "images": prune_images(engine, [("dangling", "false")], check=True),
        "containers": prune_containers(engine, check=True),
        "volumes": prune_volumes(engine, [("all", "true")], check=True),
    }
    sizes = {
        "images": sum(map(disk_usage, (paths.layers, paths.settled, paths.blobs))),
        "containers": disk_usage(f"{paths.root}/containers"),
        "volumes": disk_usage(f"{paths.root}/volumes"),
    }
    totals = {
        "images": len(database.images()),
        "containers": len(database.containers()),
        "volumes": len(database.volumes()),
    }
    return [
        Usage(kind, totals[kind], totals[kind] - len(unused[kind].removed), size, unused[kind].space_bytes)
        for kind, size in sizes.items()
    ]


def disk_usage(path: str) -> int:
    """The bytes that a file or tree takes on disk; a file with several names counts once. Links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    for status in _statuses(path):
        seen[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(seen.values())


def _statuses(path: str) -> Iterator[os.stat_result]:
    waiting = [path]
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            if S_ISDIR(status.st_mode):
                waiting += [f"{path}/{name}" for name in os.listdir(path)]
        except FileNotFoundError:
            continue  # removed meanwhile
        yield status
