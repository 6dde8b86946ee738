# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Removing what is stopped: first the records in one transaction, then the files by way of the trash.

A killed removal leaves either everything or files in the trash, which the next `empty_trash` deletes. Also runs as the
last act of a monitor whose container was to be removed at its exit, so it needs nothing above this layer.
"""

from __future__ import annotations

import os
from errno import EBUSY, ENOSPC

from .._base.errors import Conflict, SyscallError
from .files import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._base.paths import Paths
    from .database import Database
    from .records import ContainerRecord


def bury(paths: Paths, directory: str) -> str:
    """Move a directory of the store to the trash, so that its name is free at once. The grave's path; "" if gone."""
    os.makedirs(paths.trash, mode=0o700, exist_ok=True)
    grave = f"{paths.trash}/{os.path.basename(directory)[:32]}-{os.urandom(4).hex()}"
    try:
        os.rename(directory, grave)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno != EBUSY or not _detach_below(directory):
            raise
        os.rename(directory, grave)
    return grave


def empty_graves(graves: list[str]) -> None:
    """Delete what was buried. Where that is interrupted, the next `empty_trash` does the rest.

    What somebody has mounted in there is detached, never deleted.
    """
    for grave in filter(None, graves):
        try:
            remove_tree(grave)
        except Conflict:
            if not _detach_below(grave):
                raise
            remove_tree(grave)


def _detach_below(directory: str) -> bool:
    """Take what is mounted on a directory and below it out of the mount table, however busy. Whether there was any."""
    from .._kernel.mount_table import mounts_below, read_mount_table
    from .._kernel.mounts import detach

    points = mounts_below(read_mount_table(), directory)
    for point in points:
        detach(point)
    return bool(points)


def remove_container(paths: Paths, database: Database, record: ContainerRecord, *, volumes: bool) -> None:
    """Forget a stopped container and delete its files; with `volumes` its anonymous volumes too, if nobody else's."""
    empty_graves(forget_container(paths, database, record, volumes=volumes))


def forget_container(paths: Paths, database: Database, record: ContainerRecord, *, volumes: bool) -> list[str]:
    """The first part of `remove_container`, after which the container's name is free. `empty_graves` is the second."""

    def forget(graves: list[str]) -> None:
        with database.transaction():
            database.delete_container(record.id)
            orphans = [name for name in record.volumes if volumes and _is_orphan(database, name)]
            for name in orphans:
                database.delete_volume(name)
            graves += [bury(paths, os.path.dirname(paths.volume(name))) for name in orphans]
            graves.append(bury(paths, paths.container(record.id)))

    graves = _forget(forget)
    remove_tree(paths.container_run(record.id))
    return graves


def _forget(forget: Callable[[list[str]], None]) -> list[str]:
    """Do the transaction; the graves that it dug. On a full disk it fails at its end, and the files are deleted first:
    they may be what fills it, and their removal is what was asked for."""
    graves: list[str] = []
    try:
        forget(graves)
    except SyscallError as error:
        if error.errno != ENOSPC or not any(graves):
            raise
        empty_graves(graves)
        graves = []
        forget(graves)
    return graves


def _is_orphan(database: Database, name: str) -> bool:
    volume = database.volume(name)
    return volume is not None and volume.anonymous and not database.volume_users(name)


def remove_volume(paths: Paths, database: Database, name: str) -> None:
    """Forget a volume and delete its content. Raises Conflict while a container, running or not, uses it."""

    def forget(graves: list[str]) -> None:
        with database.transaction():
            users = ", ".join(container_id[:12] for container_id in database.volume_users(name))
            if users:
                raise Conflict(
                    f"remove volume {name}: in use by container {users}", hint="remove those containers first"
                )
            database.delete_volume(name)
            graves.append(bury(paths, os.path.dirname(paths.volume(name))))

    empty_graves(_forget(forget))
