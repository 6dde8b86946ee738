# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import sqlite3

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Timeout
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store import integrity
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database
from ansible_collections.hull.engine.plugins.module_utils._store.integrity import (
    check_database,
    delete_orphans,
    rebuild,
)
from ansible_collections.hull.engine.plugins.module_utils._store.records import VolumeRecord


@pytest.fixture
def paths(tmp_path):
    paths = Paths(root=str(tmp_path / "root"))
    database = open_database(paths, create=True)
    assert database is not None
    with database.transaction():
        for number in range(20):
            database.put_volume(VolumeRecord(f"volume{number}", number))
    database.close()
    return paths


def _execute(paths, *statements):
    connection = sqlite3.connect(paths.database, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_whole_database_and_none_at_all_are_well(paths, tmp_path):
    for some in (paths, Paths(root=str(tmp_path / "nothing"))):
        found = check_database(some)
        assert found.errors == () and found.orphans == () and not found.is_rebuildable


def test_an_index_that_does_not_fit_is_rebuilt_and_no_record_is_lost(paths):
    _execute(paths, "CREATE INDEX extra ON volumes (created_ns)")
    _execute(
        paths,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX extra ON volumes (driver)' WHERE name = 'extra'",
    )
    assert check_database(paths).is_rebuildable
    rebuild(paths)
    assert check_database(paths).errors == ()
    database = open_database(paths, create=False)
    assert database is not None and len(database.volumes()) == 20
    database.close()


def test_pages_that_nothing_has_are_given_back_and_no_record_is_lost(paths):
    _execute(paths, "CREATE TABLE extra (text TEXT)", f"INSERT INTO extra VALUES ('{'x' * 50000}')")
    _execute(paths, "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = 'extra'")
    assert check_database(paths).is_rebuildable
    rebuild(paths)
    assert check_database(paths).errors == ()
    database = open_database(paths, create=False)
    assert database is not None and len(database.volumes()) == 20
    database.close()


def test_rows_that_speak_of_nothing_are_found_and_deleted_and_others_stay(paths):
    _execute(
        paths,
        "INSERT INTO leases VALUES ('bridge', '10.0.0.2', 'gone')",
        "INSERT INTO container_volumes VALUES ('gone', 'volume1')",
    )
    assert sorted(table for table, _row in check_database(paths).orphans) == ["container_volumes", "leases"]
    delete_orphans(paths)
    assert check_database(paths).orphans == ()
    database = open_database(paths, create=False)
    assert database is not None and len(database.volumes()) == 20
    database.close()


@pytest.mark.parametrize("offset", [0, 8192], ids=["header", "page"])
def test_damage_in_the_records_themselves_is_not_taken_for_an_index(paths, offset):
    with open(paths.database, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 4096)
    found = check_database(paths)
    assert found.errors and not found.is_rebuildable


def test_a_database_that_another_process_keeps_locked_is_not_damaged(paths, monkeypatch):
    monkeypatch.setattr(integrity, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(paths.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Timeout, match="mend .*: another process"):
        rebuild(paths)
    other.execute("COMMIT")
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Timeout, match="check .*: another process"):
        check_database(paths)
    other.close()
    assert check_database(paths).errors == ()


def test_an_error_that_sqlite_tells_in_bytes_that_are_no_text_is_an_error(paths):
    _execute(
        paths,
        "CREATE INDEX other ON volumes (created_ns)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET name = CAST(x'6f74e9' AS TEXT),"
        " sql = CAST('CREATE INDEX ' || x'6f74e9' || ' ON volumes (driver)' AS TEXT) WHERE name = 'other'",
    )
    assert check_database(paths).errors
