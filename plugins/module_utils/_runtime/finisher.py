# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The last act of a container that is to be removed at its exit, when nobody waits for it.

A monitor keeps no records and loads no SQLite. It executes this file from the launch code as a process of its own,
which lives for some 30 ms. Killed on the way, it leaves a stopped container that the next operation on it removes.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.paths import Paths
from .._store.database import open_database
from .._store.locks import lock
from .._store.removal import remove_container
from .launch_plan import plan_from_record
from .reconcile import reconcile
from .state import observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.database import Database


def finish(paths: Paths, database: Database, container_id: str) -> bool:
    """Remove the container if it is there and stopped, with its anonymous volumes. Whether it was removed."""
    record = database.container(container_id)
    if record is None:
        return False
    with lock(paths, "container", record.name):
        if observe(paths, container_id).is_up:
            return False
        document = parse(record.launch, source=f"the record of container {record.name}")
        reconcile(paths, plan_from_record(document["plan"]))
        remove_container(paths, database, record, volumes=True)
    return True


def main(argv: list[str]) -> None:
    """Entry point: root, run and configuration directory, and the container's id."""
    root, run, config, container_id = argv
    paths = Paths(root, run, config)
    database = open_database(paths, create=False)
    if database is not None:
        finish(paths, database, container_id)
        database.close()
