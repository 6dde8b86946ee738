# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which mounts a new container gets, and having their sources: volumes are made and filled, paths and images looked up.

What comes out are effective mounts: every volume has its name, every image its id.
"""

from __future__ import annotations

import os

from .._base.errors import Invalid, NotFound
from .._base.names import new_id
from .._base.spec import MountSpec
from .._base.values import replace
from .declared import effective_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec
    from .._store.records import ImageRecord
    from .engine import Engine
    from .image_facts import ImageConfig

_LINKED = {"shared": "shared", "slave": "shared or slave"}


def wanted_mounts(engine: Engine, spec: ContainerSpec, config: ImageConfig) -> list[MountSpec]:
    """Own mounts, then those of `volumes_from`, the last container's first, then the image's volumes; the first for a
    target counts."""
    from .mount_options import check_target

    found = {mount.target: mount for mount in spec.mounts}
    for entry in reversed(spec.volumes_from):
        for mount in _mounts_of(engine, entry):
            found.setdefault(mount.target, mount)
    for path in config.volumes:
        target = check_target(path, "image")
        found.setdefault(target, MountSpec("volume", target))
    return [found[target] for target in sorted(found)]


def _mounts_of(engine: Engine, entry: str) -> list[MountSpec]:
    """What another container mounts, running or not, but for its tmpfs: `name` or `name:ro`. A volume is not filled."""
    from .containers import lookup_declared

    name, _, mode = entry.partition(":")
    record = lookup_declared(engine, name)
    if record is None:
        raise NotFound(f"volumes_from: container {name}: no such container")
    return [
        replace(mount, read_only=mount.read_only or mode == "ro", copy_up=False)
        for mount in effective_mounts(record)
        if mount.kind != "tmpfs"
    ]


class Provision:
    """Having the sources of a container's mounts.

    The names of volumes that are made are added to `made`, so that a failure can take them back, those of anonymous
    ones beforehand to the file `mark`, for the case that this process is killed.
    """

    def __init__(self, engine: Engine, image: ImageRecord, made: list[str], mark: int) -> None:
        self._engine, self._image, self._made, self._mark = engine, image, made, mark

    def provide(self, wanted: list[MountSpec]) -> tuple[MountSpec, ...]:
        """The effective mounts. Raises NotFound for a source that does not exist, Invalid for what can't be one."""
        kinds = {"bind": self._bind, "volume": self._volume, "image": self._find_image}
        return tuple(kinds[mount.kind](mount) if mount.kind in kinds else mount for mount in wanted)

    def _bind(self, mount: MountSpec) -> MountSpec:
        _provide_directory(mount)
        _check_propagation(mount)
        return mount

    def _find_image(self, mount: MountSpec) -> MountSpec:
        from .images import lookup

        record = lookup(self._engine, mount.source)
        if record is None:
            raise NotFound(
                f"mounts: image {mount.source} for {mount.target} is not on this host", hint="pull or load it first"
            )
        return replace(mount, source=record.id)

    def _volume(self, mount: MountSpec) -> MountSpec:
        from . import volumes

        existed = bool(mount.source) and self._engine.records.volume(mount.source) is not None
        name = mount.source or new_id()
        if not mount.source:
            os.write(self._mark, f"{name}\n".encode("ascii"))
        record = volumes.create(
            self._engine,
            name,
            labels=dict(mount.volume_labels),
            options=dict(mount.volume_options),
            anonymous=not mount.source,
        )
        if not existed:
            self._made.append(record.name)
        if mount.copy_up and not mount.subpath:
            from .volume_content import copy_up

            copy_up(self._engine, record, self._image, mount.target)
        return replace(mount, source=record.name)


def check_sources(wanted: list[MountSpec]) -> None:
    """Refuse what is to be mounted of the host, is not there and is not to be made."""
    for mount in wanted:
        if mount.kind == "bind" and not mount.create_source and not os.path.lexists(mount.source):
            raise NotFound(
                f"mounts: {mount.source}: no such file or directory on the host",
                hint="create it first, or set create_mountpoint",
            )


def _provide_directory(mount: MountSpec) -> None:
    if os.path.lexists(mount.source):
        return
    check_sources([mount])
    try:
        os.makedirs(mount.source, mode=0o755)
    except OSError as error:
        raise Invalid(f"{mount.source} can't be made: {error.strerror}", option="volumes") from error


def _check_propagation(mount: MountSpec) -> None:
    """Refuse propagation that would propagate nothing. Raises Invalid."""
    kind = mount.propagation[mount.propagation.startswith("r") :]
    if kind not in _LINKED:
        return
    from .._kernel.mount_table import mount_of, read_mount_table

    point = mount_of(read_mount_table(), os.path.realpath(mount.source))
    if not any(tag.startswith("shared:") or kind == "slave" and tag.startswith("master:") for tag in point.tags):
        raise Invalid(
            f"{mount.propagation} of {mount.target}: {mount.source} is on {point.path}, no {_LINKED[kind]} mount",
            option="volumes",
            hint=f"mount --make-shared {point.path}",
        )
