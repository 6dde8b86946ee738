# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._store import database as database_module
from ansible_collections.hull.engine.plugins.module_utils._store import records
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database

IMAGE = records.ImageRecord(
    "sha256:" + "a" * 64, "{}", "{}", "sha256:" + "b" * 64, ("sha256:1", "sha256:2"), 5, 7, ("layers/1", "layers/2")
)
CONTAINER = records.ContainerRecord("c" * 64, "web", IMAGE.id, "debian:12", 9, "{}", "{}", ("data",))


@pytest.fixture
def paths(tmp_path):
    return Paths(root=str(tmp_path / "root"))


@pytest.fixture
def database(paths):
    database = open_database(paths, create=True)
    yield database
    database.close()


def test_looking_for_records_where_there_are_none_writes_nothing(paths):
    assert open_database(paths, create=False) is None
    assert not os.path.exists(paths.root)


def test_directory_and_file_are_private(paths, database):
    assert stat.S_IMODE(os.stat(paths.root).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(paths.database).st_mode) == 0o600


def test_an_image_comes_back_as_it_was_put(database):
    with database.transaction():
        database.put_image(IMAGE)
        database.put_tag("docker.io/library/debian:12", IMAGE.id, IMAGE.manifest_digest)
    assert database.image(IMAGE.id) == IMAGE
    assert database.images_by_prefix("aaaa") == [IMAGE]
    assert database.images_by_prefix("ab") == []
    assert database.tag("docker.io/library/debian:12").image_id == IMAGE.id


def test_deleting_an_image_deletes_its_tags_and_frees_its_layers(database):
    with database.transaction():
        database.put_image(IMAGE)
        database.put_tag("x:1", IMAGE.id)
        for diff_id in IMAGE.layers:
            database.put_layer(records.LayerRecord(diff_id, 1, 1))
    assert database.layers_unused() == []
    with database.transaction():
        database.delete_image(IMAGE.id)
    assert database.tags() == []
    assert [layer.diff_id for layer in database.layers_unused()] == ["sha256:1", "sha256:2"]


def test_a_name_is_given_once(database):
    with database.transaction():
        database.put_container(CONTAINER)
    with pytest.raises(errors.Conflict, match="web: the name is taken"), database.transaction():
        database.put_container(records.ContainerRecord("d" * 64, "web", "i", "n", 1, "{}", "{}"))
    assert database.containers() == [CONTAINER]


def test_deleting_a_container_frees_its_lease_and_its_volume(database):
    with database.transaction():
        database.put_lease(records.LeaseRecord("bridge", "10.88.0.2", CONTAINER.id))
        database.put_container(CONTAINER)
    assert database.volume_users("data") == [CONTAINER.id]
    assert database.lease_of("bridge", CONTAINER.id).address == "10.88.0.2"
    with database.transaction():
        database.delete_container(CONTAINER.id)
    assert database.leases("bridge") == []
    assert database.volume_users("data") == []


def test_an_exception_undoes_the_whole_transaction(database):
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.put_container(CONTAINER)
        1 / 0  # noqa: B018
    assert database.containers() == []


def test_a_change_outside_of_a_transaction_is_refused(database):
    with pytest.raises(RuntimeError):
        database.put_container(CONTAINER)


def test_a_file_that_is_no_database_is_named(paths):
    os.makedirs(paths.root)
    with open(paths.database, "w") as file:
        file.write("not a database, but long enough to be looked at" * 100)
    with pytest.raises(errors.Damaged, match=r"hull\.db"):
        open_database(paths, create=False)


def test_a_newer_version_is_refused_and_left_alone(paths, database):
    witness = sqlite3.connect(paths.database)
    witness.execute("PRAGMA user_version = 99")
    witness.close()
    with pytest.raises(errors.Conflict, match="99"):
        open_database(paths, create=True)


def test_a_range_of_ids_is_one_containers_until_that_is_deleted(database):
    with database.transaction():
        database.put_id_range(1000, CONTAINER.id)
        database.put_container(CONTAINER)
    assert database.id_ranges() == {1000: CONTAINER.id}
    with pytest.raises(errors.Conflict, match="1000 is taken"), database.transaction():
        database.put_id_range(1000, CONTAINER.id)
    with database.transaction():
        database.delete_container(CONTAINER.id)
    assert database.id_ranges() == {}


def test_a_range_of_ids_is_not_kept_without_its_container(database):
    with pytest.raises(sqlite3.IntegrityError), database.transaction():
        database.put_id_range(1000, CONTAINER.id)
    assert database.id_ranges() == {}


def _version_1(paths):
    """A database as the first version made it, with two images."""
    os.makedirs(paths.root, mode=0o700)
    connection = sqlite3.connect(paths.database)
    connection.executescript(
        """
        CREATE TABLE images (
            id TEXT PRIMARY KEY, config TEXT NOT NULL, manifest TEXT NOT NULL, manifest_digest TEXT NOT NULL,
            layers TEXT NOT NULL, size_bytes INTEGER NOT NULL, created_ns INTEGER NOT NULL);
        CREATE TABLE image_layers (
            image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, diff_id TEXT NOT NULL,
            PRIMARY KEY (image_id, diff_id));
        INSERT INTO images VALUES ('sha256:aa', '{}', '{}', 'sha256:bb', '["sha256:11","sha256:22"]', 5, 7);
        INSERT INTO images VALUES ('sha256:cc', '{}', '{}', 'sha256:dd', '[]', 0, 8);
        PRAGMA user_version = 1;
        """
    )
    connection.commit()
    connection.close()


def test_records_of_the_first_version_are_brought_up_to_date(paths):
    _version_1(paths)
    for _ in range(2):
        database = open_database(paths, create=False)
        assert database.image("sha256:aa").stack == ("layers/11", "layers/22")
        assert database.image("sha256:cc").stack == ()
        assert database.blobs() == []
        database.close()


def test_a_blob_knows_its_layer_and_where_it_is(database):
    blob = records.BlobRecord("sha256:b", "sha256:1", "application/vnd.oci.image.layer.v1.tar+gzip", 9)
    with database.transaction():
        database.put_image(IMAGE)
        database.put_blob(blob)
        for repository in ("a.example/x", "b.example/y", "a.example/x"):
            database.put_blob_place(blob.digest, repository)
    assert database.blob("sha256:b") == blob and database.blobs_of("sha256:1") == [blob]
    assert database.blob_places("sha256:b") == ["b.example/y", "a.example/x"]
    assert database.blobs_unused() == []
    with database.transaction():
        database.delete_image(IMAGE.id)
    assert database.blobs_unused() == [blob]
    with database.transaction():
        database.delete_blob(blob.digest)
    assert database.blob_places("sha256:b") == []


@pytest.fixture
def locked(paths, monkeypatch):
    """The records, which another process keeps to itself."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    open_database(paths, create=True).close()
    connection = sqlite3.connect(paths.database, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN IMMEDIATE")
    yield paths
    connection.close()


def test_records_that_another_process_keeps_locked_are_not_damaged(locked):
    with pytest.raises(errors.Timeout, match="another process has had the records locked"):
        open_database(locked, create=False)


def test_a_writer_that_never_ends_is_no_damage(paths, monkeypatch):
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    first, second = (open_database(paths, create=True) for _ in range(2))
    with first.transaction():
        with pytest.raises(errors.Timeout, match="write the records: another process"), second.transaction():
            pass
        assert second.containers() == []
    first.close()
    second.close()


def test_processes_that_make_the_records_at_the_same_time_wait_for_one_another(tmp_path):
    for number in range(20):
        paths = Paths(root=str(tmp_path / str(number)))
        barrier = multiprocessing.Barrier(8)
        processes = [multiprocessing.Process(target=_make, args=(paths, barrier)) for _ in range(8)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 8


def _make(paths, barrier):
    barrier.wait()
    open_database(paths, create=True).close()


def test_a_record_of_bytes_that_are_no_text_hides_no_other(paths, database):
    with database.transaction():
        database.put_volume(records.VolumeRecord("good", 1))
        database.put_volume(records.VolumeRecord("bad", 2))
    connection = sqlite3.connect(paths.database)
    connection.execute("UPDATE volumes SET driver = CAST(x'6cf36f' AS TEXT) WHERE name = 'bad'")
    connection.commit()
    connection.close()
    assert {record.name: record.driver for record in database.volumes()} == {"good": "local", "bad": "\ufffd"}
