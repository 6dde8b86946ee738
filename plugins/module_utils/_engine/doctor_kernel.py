# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A doctor's look at cgroups and mounts that no container accounts for."""

from __future__ import annotations

import os
from functools import partial

from .._base.errors import Conflict
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import Cgroup
from .doctor_run import is_spawner_there
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._base.paths import Paths
    from .doctor_view import View

_INNER = ("containers", "layers", "settled", "blobs", "tmp", "trash", "locks", "lost")


def look_at_cgroups(view: View) -> Iterator[Finding]:
    """Cgroups of containers that are not there, below any parent; `doctor_containers` has those of recorded ones."""
    for container_id, paths in view.cgroups.items():
        patient = view.patients.get(container_id)
        if container_id in view.strangers or (patient is not None and patient.is_busy):
            continue
        known = patient.plan.cgroup if patient is not None and patient.plan is not None else ""
        for path in paths:
            if path != known and _is_ours(view, container_id, path):
                yield _leaked(view, path)
    yield from _empty_parents(view)


def _is_ours(view: View, container_id: str, path: str) -> bool:
    """By the engine's own cgroup that it lies in, or as that of a container which this engine has or had."""
    in_own = view.is_own_cgroup(os.path.dirname(path))
    return in_own or container_id in view.patients or os.path.isdir(view.paths.container(container_id))


def _leaked(view: View, path: str) -> Finding:
    pids = Cgroup(view.host, path).pids()
    if pids:
        processes = " ".join(map(str, pids[:10]))
        what = f"no container has this cgroup, but processes {processes} live in it"
        return Finding("cgroup", path, what, f"kill -KILL {processes}, if nobody needs them")
    return Finding("cgroup", path, "no container has this cgroup", "remove it", partial(_remove, path))


def _remove(path: str) -> None:
    cgroup = Cgroup(detect(), path)
    if cgroup.pids():
        raise Conflict(f"remove cgroup {path}: processes live in it by now")
    cgroup.remove()


def _empty_parents(view: View) -> Iterator[Finding]:
    """The engine's cgroup with its supervisor's, where a spawner was killed: one that ends by itself removes them."""
    from .._kernel.cgroup_search import find_cgroups
    from .._kernel.cgroups import remove_if_empty

    for path in filter(view.is_own_cgroup, find_cgroups(view.host, lambda name: name == view.paths.cgroup)):
        below = [found for paths in view.cgroups.values() for found in paths if found.startswith(f"{path}/")]
        if not below and not Cgroup(view.host, f"{path}/supervisor").pids() and not is_spawner_there(view.paths):
            yield Finding(
                "cgroup",
                path,
                "nothing is in it, and no spawner runs",
                "remove it",
                partial(remove_if_empty, detect(), path),
            )


def look_at_mounts(paths: Paths) -> Iterator[Finding]:
    """Mounts in the engine's own directories: it makes none there. Volumes, and whole directories, may be mounted."""
    from .._kernel.mount_table import is_below, read_mount_table

    root, run = os.path.realpath(paths.root), os.path.realpath(paths.run)
    places = [*(f"{root}/{name}" for name in _INNER), run]
    points = dict.fromkeys(point.path for point in reversed(read_mount_table()))
    for point in points:
        if any(point != place and is_below(point, place) for place in places):
            what = "something is mounted there, which the engine never does"
            yield Finding("mount", point, what, "take it out of the mount table", partial(_detach, point))


def _detach(point: str) -> None:
    """Detach all mounts at a place, one lies on the other. Nothing there is well."""
    from .._kernel.mount_table import read_mount_table
    from .._kernel.mounts import detach

    for found in read_mount_table():
        if found.path == point:
            detach(point)
