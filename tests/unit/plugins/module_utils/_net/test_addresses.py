# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Arithmetic on subnets, and leases in a database of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict, Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._net import addresses
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import ContainerRecord, NetworkRecord

NETWORK = NetworkRecord("bridge", "hull0", "10.88.0.0/16", "10.88.0.1")
TINY = NetworkRecord("tiny", "hull1", "10.99.0.0/29", "10.99.0.1")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(Paths(root=str(tmp_path), run=str(tmp_path)), create=True)
    assert opened is not None
    with opened.transaction():
        opened.put_network(NETWORK)
        opened.put_network(TINY)
    yield opened
    opened.close()


def lease(database: Database, network: NetworkRecord, container_id: str) -> str:
    with database.transaction():
        address = addresses.lease(database, network, container_id)
        if database.container(container_id) is None:
            record = ContainerRecord(
                id=container_id,
                name=container_id,
                image_id="sha256:" + 64 * "0",
                image_name="",
                created_ns=0,
                spec="{}",
                launch="{}",
                volumes=(),
            )
            database.put_container(record)
    return address


@pytest.mark.parametrize(
    ("subnet", "first", "last"),
    [
        ("10.88.0.0/16", "10.88.0.0", "10.88.255.255"),
        ("10.88.7.7/24", "10.88.7.0", "10.88.7.255"),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.3"),
    ],
)
def test_a_subnet_is_a_range(subnet: str, first: str, last: str) -> None:
    low, high = addresses.address_range(subnet)
    assert (addresses.to_text(low), addresses.to_text(high)) == (first, last)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("10.88.0.0/16", "10.88.3.0/24", True),
        ("10.88.3.0/24", "10.0.0.0/8", True),
        ("10.88.0.0/16", "10.89.0.0/16", False),
        ("10.88.0.0/16", "10.87.255.255/32", False),
    ],
)
def test_subnets_overlap_where_they_share_an_address(one: str, other: str, expected: bool) -> None:
    assert addresses.overlaps(one, other) is expected and addresses.overlaps(other, one) is expected


@pytest.mark.parametrize("subnet", ["10.88.0.0", "10.88.0.0/33", "10.88.0/16", "10.88.0.0/a", "::/0", "10.88.0.0/٣"])
def test_what_is_no_subnet_is_invalid(subnet: str) -> None:
    with pytest.raises(Invalid):
        addresses.address_range(subnet)


def test_the_first_container_gets_the_address_after_the_gateways(database: Database) -> None:
    assert lease(database, NETWORK, "a") == "10.88.0.2/16"


def test_a_container_keeps_its_address(database: Database) -> None:
    first = lease(database, NETWORK, "a")
    lease(database, NETWORK, "b")
    assert lease(database, NETWORK, "a") == first


def test_an_address_that_was_given_back_is_given_again(database: Database) -> None:
    for name in ("a", "b", "c"):
        lease(database, NETWORK, name)
    with database.transaction():
        database.delete_leases("b")
    assert lease(database, NETWORK, "d") == "10.88.0.3/16"


def test_networks_do_not_share_addresses(database: Database) -> None:
    assert (lease(database, NETWORK, "a"), lease(database, TINY, "b")) == ("10.88.0.2/16", "10.99.0.2/29")


def test_a_full_network_says_so_and_leases_nothing(database: Database) -> None:
    given = [lease(database, TINY, name) for name in "abcde"]
    assert given == [f"10.99.0.{number}/29" for number in range(2, 7)], "not the network's, gateway's, broadcast"
    with pytest.raises(Conflict, match="network tiny: all 5 addresses of 10.99.0.0/29 are in use"):
        lease(database, TINY, "f")
    assert len(database.leases("tiny")) == 5 and database.container("f") is None


def test_a_mac_address_is_local_unicast_and_follows_from_the_address() -> None:
    mac = addresses.mac_address("10.88.0.5")
    assert mac == "02:68:0a:58:00:05" == addresses.mac_address("10.88.0.5")
    assert int(mac[:2], 16) & 3 == 2


def test_a_link_name_fits_the_kernel_and_follows_from_the_id() -> None:
    assert addresses.link_name("0123456789abcdef" * 4) == "hv0123456789"
