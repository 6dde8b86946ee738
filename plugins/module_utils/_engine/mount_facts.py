# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's mounts in the shape of `docker inspect`: as they are, and as they were asked for. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .._base.paths import Paths
    from .._base.spec import ContainerSpec, MountSpec


def mount_facts(paths: Paths, effective: Iterable[MountSpec], declared: Iterable[MountSpec]) -> list[dict[str, Any]]:
    """`Mounts`: an effective mount has the name of its volume, the id of its image."""
    names = {mount.target: mount.source for mount in declared}
    return [_facts(paths, mount, names.get(mount.target, "")) for mount in effective]


def _facts(paths: Paths, mount: MountSpec, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "Type": mount.kind,
        "Source": paths.volume(mount.source) if mount.kind == "volume" else mount.source,
        "Destination": mount.target,
        "Mode": "ro" if mount.read_only else "",
        "RW": not mount.read_only,
        "Propagation": mount.propagation if mount.kind == "bind" else "",
    }
    if mount.kind == "volume":
        facts.update(Name=mount.source, Driver="local")
    if mount.kind == "image":
        facts["Name"] = name or mount.source
    if mount.subpath:
        facts["Subpath"] = mount.subpath
    if mount.volume_labels:
        facts["Labels"] = dict(mount.volume_labels)
    return facts


def declared_mounts(spec: ContainerSpec) -> dict[str, Any]:
    """`HostConfig.Binds`, `.Mounts` and `.Tmpfs`: what can be written as source:target:mode, and the rest.

    What the task gave in the long form alone is shown in that.
    """
    only_long = "mounts" in spec.given and "volumes" not in spec.given
    only_long_tmpfs = "mounts" in spec.given and "tmpfs" not in spec.given
    binds, mounts, tmpfs = [], [], {}
    for mount in spec.mounts:
        if mount.kind == "tmpfs" and not only_long_tmpfs:
            tmpfs[mount.target] = ",".join(_tmpfs_words(mount))
        elif only_long or mount.subpath or mount.kind in ("tmpfs", "image"):
            mounts.append(_long_form(mount))
        elif mount.source:
            binds.append(_bind(mount))
    return {"Binds": binds or None, "Mounts": mounts or None, "Tmpfs": tmpfs}


def _bind(mount: MountSpec) -> str:
    modes = ["ro" if mount.read_only else "rw"]
    if mount.kind == "bind" and mount.propagation != "rprivate":
        modes.append(mount.propagation)
    if not mount.copy_up:
        modes.append("nocopy")
    return f"{mount.source}:{mount.target}:{','.join(modes)}"


def _tmpfs_words(mount: MountSpec) -> list[str]:
    words = ["ro"] if mount.read_only else []
    if mount.size_bytes:
        words.append(f"size={mount.size_bytes}")
    if mount.mode != 0o1777:
        words.append(f"mode={mount.mode:o}")
    return [*words, *mount.options]


def _long_form(mount: MountSpec) -> dict[str, Any]:
    facts: dict[str, Any] = {"Type": mount.kind, "Target": mount.target}
    if mount.source:
        facts["Source"] = mount.source
    if mount.read_only:
        facts["ReadOnly"] = True
    if mount.kind == "bind":
        facts["BindOptions"] = {
            "Propagation": mount.propagation,
            "NonRecursive": not mount.recursive,
            "CreateMountpoint": mount.create_source,
            "ReadOnlyNonRecursive": not mount.read_only_recursive,
        }
    elif mount.kind == "tmpfs":
        facts["TmpfsOptions"] = {"SizeBytes": mount.size_bytes, "Mode": mount.mode}
    elif mount.kind == "volume":
        facts["VolumeOptions"] = {
            "NoCopy": not mount.copy_up,
            "Labels": dict(mount.volume_labels),
            "DriverConfig": {"Name": "local", "Options": dict(mount.volume_options)},
            "Subpath": mount.subpath,
        }
    elif mount.subpath:
        facts["ImageOptions"] = {"Subpath": mount.subpath}
    return facts
