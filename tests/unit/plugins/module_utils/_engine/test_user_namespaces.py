# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which ids a container of `userns_mode: auto` gets."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.spec import MountSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.user_namespaces import check_mounts, take_range
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord

COUNT = (2147352575 - 1879048192 + 1) // 65536


def put(database, container_id):
    with database.transaction():
        first, count = take_range(database, container_id)
        database.put_container(ContainerRecord(container_id, container_id, "i", "i", 1, "{}", "{}", ()))
    return first, count


@pytest.fixture
def database(tmp_path):
    database = open_database(Paths(root=str(tmp_path)), create=True)
    yield database
    database.close()


def test_containers_whose_ids_point_to_the_same_range_get_neighbours_and_the_last_is_followed_by_the_first(database):
    last = COUNT - 1
    found = [put(database, f"{last:08x}{number:056x}") for number in range(3)]
    end = 1879048192 + last * 65536
    assert found == [(end, 65536), (1879048192, 65536), (1879048192 + 65536, 65536)]
    assert end + 65535 == 2147352575


def test_a_freed_range_is_given_again(database):
    first = put(database, "0" * 64)
    with database.transaction():
        database.delete_container("0" * 64)
    assert put(database, "0" * 63 + "1") == first


def test_when_all_are_taken_the_next_is_refused(database):
    with database.transaction():
        database.put_container(ContainerRecord("0" * 64, "a", "i", "i", 1, "{}", "{}", ()))
        for number in range(COUNT):
            database.put_id_range(1879048192 + number * 65536, "0" * 64)
    with pytest.raises(Conflict, match=f"all {COUNT} ranges"), database.transaction():
        take_range(database, "f" * 64)


@pytest.mark.parametrize("propagation", ["shared", "rshared"])
def test_a_shared_mount_is_refused(propagation):
    with pytest.raises(Invalid, match="userns_mode: auto does not go with the r?shared mount /t"):
        check_mounts([MountSpec("bind", "/t", "/s", propagation=propagation)])
