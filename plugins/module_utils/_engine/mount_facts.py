# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's mounts in the shape of `docker inspect`: as they are, and as they were asked for. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .._base.paths import Paths
    from .._base.spec import MountSpec


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


def bind_facts(declared: Iterable[MountSpec]) -> list[str]:
    """`HostConfig.Binds`: what can be written as source:target:mode."""
    return [_bind(mount) for mount in declared if mount.source and mount.kind in ("bind", "volume")]


def _bind(mount: MountSpec) -> str:
    modes = ["ro" if mount.read_only else "rw"]
    if mount.kind == "bind" and mount.propagation != "rprivate":
        modes.append(mount.propagation)
    if not mount.copy_up:
        modes.append("nocopy")
    return f"{mount.source}:{mount.target}:{','.join(modes)}"


def tmpfs_facts(declared: Iterable[MountSpec]) -> dict[str, str]:
    """`HostConfig.Tmpfs`: target to options."""
    return {mount.target: ",".join(_tmpfs_words(mount)) for mount in declared if mount.kind == "tmpfs"}


def _tmpfs_words(mount: MountSpec) -> list[str]:
    words = ["ro"] if mount.read_only else []
    if mount.size_bytes:
        words.append(f"size={mount.size_bytes}")
    if mount.mode != 0o1777:
        words.append(f"mode={mount.mode:o}")
    return [*words, *mount.options]
