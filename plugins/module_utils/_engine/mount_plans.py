# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From the mounts that a container has to what the launch code does. Pure but for the records of volumes and images."""

from __future__ import annotations

import os

from .._base.errors import NotFound
from .._base.values import replace
from .._runtime.launch_plan import MountPlan
from .volume_options import volume_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._base.paths import Paths
    from .._base.spec import MountSpec
    from .._store.database import Database
    from .volume_options import VolumeSource

_SAFE = ("nodev", "nosuid")
_MOUNT_WORDS = frozenset("ro rw suid nosuid dev nodev exec noexec noatime relatime strictatime nodiratime".split())


def plan_mounts(paths: Paths, database: Database, mounts: Iterable[MountSpec]) -> tuple[MountPlan, ...]:
    """The plans of effective mounts: every volume has its name, every image its id. Raises NotFound for one that went
    meanwhile, Invalid and Unsupported for a volume whose options mean nothing."""
    return tuple(_plan(paths, database, mount) for mount in mounts)


def _plan(paths: Paths, database: Database, mount: MountSpec) -> MountPlan:
    if mount.kind == "tmpfs":
        return _tmpfs(mount)
    if mount.kind == "image":
        return _image(paths, database, mount)
    if mount.kind == "volume":
        record = database.volume(mount.source)
        if record is None:
            raise NotFound(f"volume {mount.source}: was removed meanwhile", hint="run it again")
        source = volume_source(record.options, option=f"volume {record.name}")
        if source is not None:
            return _with_options(mount, source)
        return _bind(mount, paths.volume(mount.source))
    return _bind(mount, mount.source)


def _tmpfs(mount: MountSpec) -> MountPlan:
    data = [f"mode={mount.mode:o}"] + ([f"size={mount.size_bytes}"] if mount.size_bytes else [])
    data += [option for option in mount.options if "=" in option]
    words = [option for option in mount.options if "=" not in option]
    flags = [flag for flag in ("nosuid", "nodev", "noexec") if flag[2:] not in words]
    flags += [word for word in words if word.endswith("time")]
    return MountPlan("tmpfs", mount.target, "tmpfs", mount.read_only, tuple(flags), ",".join(data))


def _image(paths: Paths, database: Database, mount: MountSpec) -> MountPlan:
    record = database.image(mount.source)
    if record is None:
        raise NotFound(f"image {mount.source[:19]} for {mount.target}: was removed meanwhile", hint="run it again")
    layers = paths.stack(record.stack)
    return MountPlan("image", mount.target, mount.source, True, _SAFE, subpath=mount.subpath, layers=layers)


def _bind(mount: MountSpec, source: str, words: Iterable[str] = ()) -> MountPlan:
    return MountPlan(
        "bind",
        mount.target,
        source,
        mount.read_only or "ro" in words,
        ("rbind" if mount.recursive else "bind", *_SAFE, *(word for word in words if word in _MOUNT_WORDS - {"ro"})),
        propagation=mount.propagation,
        subpath=mount.subpath,
        read_only_recursive=mount.read_only_recursive,
    )


def _with_options(mount: MountSpec, source: VolumeSource) -> MountPlan:
    """A volume that is a directory of the host, with what is mounted below it only where `o` says rbind, or a file
    system of its own: a read-only one is read-only for every container, a read-only mount for this one."""
    if source.is_bind:
        recursive = mount.recursive and "rbind" in source.words
        return _bind(replace(mount, recursive=recursive), os.path.normpath(source.device), source.words)
    words = [word for word in source.words if word in _MOUNT_WORDS]
    data = [word for word in source.words if word == "ro" or word not in _MOUNT_WORDS]
    return MountPlan(
        "filesystem",
        mount.target,
        source.device,
        mount.read_only or "ro" in words,
        (*_SAFE, *(word for word in words if word != "ro")),
        ",".join(data),
        subpath=mount.subpath,
        filesystem=source.filesystem,
    )
