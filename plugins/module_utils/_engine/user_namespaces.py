# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`userns_mode: auto`: whether this host can do it, and which of the host's ids a container gets.

A range is a container's from its creation to its removal, recorded beside it. Nothing on disk bears its ids: layers,
the writable layer, volumes and bind mounts are idmapped, so an id there means the same as inside.
"""

from __future__ import annotations

import os

from .._base.errors import Conflict, Invalid, Unsupported
from .isolation import ID_COUNT, ID_POOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._base.paths import Paths
    from .._base.spec import MountSpec
    from .._store.database import Database

_OVERLAY_SINCE = (5, 19)


def check_host(paths: Paths) -> None:
    """Try, in forked children, what such a container needs; takes about 5 ms. Raises Unsupported with the cure."""
    from .._kernel import probes

    cure = "use userns_mode host"
    if not probes.works(probes.try_user_namespace):
        raise Unsupported(
            "userns_mode: auto: this host makes no user namespaces",
            hint=f"allow them (sysctl user.max_user_namespaces, a kernel with CONFIG_USER_NS, no chroot), or {cure}",
        )
    if probes.release_numbers(os.uname().release) < _OVERLAY_SINCE:
        raise Unsupported("userns_mode: auto: it needs Linux 5.19 or newer", hint=cure)
    if not probes.works(lambda: probes.try_idmapped_mount(paths.root)):
        raise Unsupported(
            f"userns_mode: auto: the file system of {paths.root} can't be idmapped",
            hint=f"have the state directory on ext4, xfs or btrfs, or {cure}",
        )


def check_mounts(mounts: Iterable[MountSpec]) -> None:
    """Refuse a mount by which root in the container could mount on the host: a shared one. Raises Invalid."""
    for mount in mounts:
        if mount.propagation in ("shared", "rshared"):
            raise Invalid(
                f"auto does not go with the {mount.propagation} mount {mount.target}",
                option="userns_mode",
                hint="use host, or propagation rslave",
            )


def take_range(database: Database, container_id: str) -> tuple[int, int]:
    """(first host id, how many) for a new container, recorded. Runs inside the caller's transaction.

    The search for a free one begins where the container's random id points: so another engine's containers on this host
    most likely have other ids, and those of a removed container are not given away at once. Raises Conflict where all
    are taken.
    """
    taken = database.id_ranges()
    start = int(container_id[:8], 16) % len(ID_POOL)
    for offset in range(len(ID_POOL)):
        first = ID_POOL[(start + offset) % len(ID_POOL)]
        if first not in taken:
            database.put_id_range(first, container_id)
            return first, ID_COUNT
    raise Conflict(
        f"userns_mode: auto: all {len(ID_POOL)} ranges of ids are in use",
        hint="remove containers that are not needed any more",
    )
