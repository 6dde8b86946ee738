# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Bind mounts that give a container power over the host, or over the engine: refused or told."""

from __future__ import annotations

import os
import sys

from .._base.errors import Denied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._base.paths import Paths
    from .._base.spec import MountSpec

_WHOLE = {"/": "the whole host", "/dev": "the host's devices", "/sys": "the host's kernel settings"}
_SOCKETS = ("docker.sock", "containerd/containerd.sock", "podman/podman.sock", "crio/crio.sock")


def refuse_store(paths: Paths, mounts: Iterable[MountSpec]) -> None:
    """Refuse the engine's own directories as a source: a container there could change all others, and its mount would
    keep what is removed busy. Volumes may be bound by their path. Raises Denied."""
    volumes = os.path.realpath(f"{paths.root}/volumes")
    for mount in mounts:
        if mount.kind != "bind":
            continue
        source = os.path.realpath(mount.source)
        for own in (paths.root, paths.run):
            if _is_within(source, os.path.realpath(own)) and not _is_below(source, volumes):
                raise Denied(
                    f"mount {mount.source} at {mount.target}: {own} is the engine's own",
                    hint="use a volume, or a directory elsewhere",
                )


def warnings_about(paths: Paths, mounts: Iterable[MountSpec]) -> list[str]:
    """What the container can do to the host by its bind mounts."""
    found = []
    for mount in mounts:
        what = _power(paths, os.path.realpath(mount.source), mount.read_only) if mount.kind == "bind" else ""
        if what:
            found.append(f"mount {mount.source} at {mount.target}: the container gets {what}")
    return found


def _power(paths: Paths, source: str, read_only: bool) -> str:
    if _is_within(source, "/proc"):
        return "the host's processes"
    if any(source == f"{run}/{name}" for run in ("/run", "/var/run") for name in _SOCKETS):
        return "another engine's socket, which is root on the host"
    if read_only:
        return ""
    if source in _WHOLE:
        return f"{_WHOLE[source]}, writable"
    if any(_is_within(os.path.realpath(own), source) for own in (paths.root, paths.run)):
        return "the engine's own directories, writable"
    if any(_is_within(os.path.realpath(path), source) for path in (sys.executable, os.__file__) if path):
        return "the Python that the engine runs with, writable"
    return ""


def _is_within(path: str, top: str) -> bool:
    return path == top or _is_below(path, top)


def _is_below(path: str, top: str) -> bool:
    return path.startswith(top.rstrip("/") + "/")
