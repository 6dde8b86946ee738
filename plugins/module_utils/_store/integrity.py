# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Whether the database of records is whole, as SQLite says, and mending what can be mended without losing a record."""

from __future__ import annotations

import _sqlite3
import os

from .._base.errors import Damaged
from .._base.values import Value
from .database import BUSY_TIMEOUT_S, no_damage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths

_MOST = 20
_HARMLESS = (" index ", "is never used", "reelist")  # in what SQLite says of them


class Integrity(Value):
    """What is wrong. `orphans` are (table, row) of rows that speak of something that has no record."""

    errors: tuple[str, ...] = ()
    orphans: tuple[tuple[str, int], ...] = ()

    @property
    def is_rebuildable(self) -> bool:
        """Whether all records are whole, and only the indexes over them and the list of unused pages are wrong."""
        return bool(self.errors) and all(any(word in error for word in _HARMLESS) for error in self.errors)


def check_database(paths: Paths) -> Integrity:
    """Have SQLite look at all of the database; nothing is wrong where there is none. Changes nothing.

    Raises Timeout where another process keeps it locked, SyscallError where the file system lets nobody look.
    """
    if not os.path.exists(paths.database) or not os.path.getsize(paths.database):
        return Integrity()
    try:
        connection = _connect(paths)
    except _sqlite3.DatabaseError as error:
        return Integrity((str(error),))
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_MOST})").fetchall()
        lines = [line for row in rows for line in str(row[0]).splitlines()]
        errors = tuple(line for line in lines if line != "ok" and not line.startswith("***"))
        return Integrity(errors, () if errors else _orphans(connection))
    except _sqlite3.DatabaseError as error:
        if cause := no_damage(error, f"check {paths.database}", paths.root):
            raise cause from error
        return Integrity((str(error),))
    finally:
        connection.close()


def _connect(paths: Paths) -> Any:
    connection = _sqlite3.connect(paths.database, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.text_factory = _as_shown
    return connection


def _as_shown(data: bytes) -> str:
    return data.decode(errors="replace")


def _orphans(connection: Any) -> tuple[tuple[str, int], ...]:
    return tuple((row[0], row[1]) for row in connection.execute("PRAGMA foreign_key_check").fetchall())


def rebuild(paths: Paths) -> None:
    """Make all indexes, then the whole file, anew from the records, of which none changes.

    Raises Damaged, Timeout and SyscallError.
    """

    def rebuild_all(connection: Any) -> None:
        connection.execute("REINDEX")
        connection.execute("VACUUM")

    _change(paths, rebuild_all)


def delete_orphans(paths: Paths) -> None:
    """Delete the rows that speak of something that has no record."""

    def delete(connection: Any) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for table, row in _orphans(connection):
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
        connection.execute("COMMIT")

    _change(paths, delete)


def _change(paths: Paths, change: Any) -> None:
    connection = _connect(paths)
    try:
        change(connection)
    except _sqlite3.DatabaseError as error:
        if cause := no_damage(error, f"mend {paths.database}", paths.root):
            raise cause from error
        raise Damaged(f"mend {paths.database}: {error}", hint="restore it from a backup") from error
    finally:
        connection.close()
