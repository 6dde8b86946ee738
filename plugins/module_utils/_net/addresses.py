# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Addresses of containers in a network: arithmetic on subnets, leases, and the names that follow from them.

A lease lasts from a container's creation to its removal, so a container keeps its address through stops and reboots.
No I/O but the database's; `ipaddress` is not used because importing it takes longer than plugging a container in.
"""

from __future__ import annotations

from _socket import AF_INET, inet_ntop, inet_pton

from .._base.errors import Conflict, Invalid
from .._store.records import LeaseRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.database import Database
    from .._store.records import NetworkRecord

_LINK_PREFIX = "hv"
_LINK_DIGITS = 10


def to_number(address: str) -> int:
    """An IPv4 address as a number. Raises Invalid."""
    try:
        return int.from_bytes(inet_pton(AF_INET, address), "big")
    except (OSError, ValueError) as error:
        raise Invalid(f"{address!r} is not an IPv4 address") from error


def to_text(number: int) -> str:
    """A number as an IPv4 address."""
    return inet_ntop(AF_INET, number.to_bytes(4, "big"))


def prefix_length(subnet: str) -> int:
    """The prefix length of `10.88.0.0/16`. Raises Invalid."""
    prefix = subnet.partition("/")[2]
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= 32):
        raise Invalid(f"{subnet!r} is not a subnet", hint="write it like 10.88.0.0/16")
    return int(prefix)


def address_range(subnet: str) -> tuple[int, int]:
    """The first and last address of a subnet as numbers; of `10.88.0.5/16` those of the subnet around it."""
    host_bits = 32 - prefix_length(subnet)
    first = to_number(subnet.partition("/")[0]) >> host_bits << host_bits
    return first, first | ((1 << host_bits) - 1)


def overlaps(one: str, other: str) -> bool:
    """Whether two subnets have an address in common."""
    first, last = address_range(one)
    other_first, other_last = address_range(other)
    return first <= other_last and other_first <= last


def lease(database: Database, network: NetworkRecord, container_id: str) -> str:
    """The container's address with the network's prefix length, `10.88.0.5/16`; the lowest free one if it has none.

    Runs inside the caller's transaction, so that the lease and the container's record appear together. The address is
    never the network's, the gateway's or the broadcast address. Raises Conflict where all addresses are leased.
    """
    prefix = prefix_length(network.subnet)
    held = database.lease_of(network.name, container_id)
    if held is not None:
        return f"{held.address}/{prefix}"
    address = _lowest_free(network, {to_number(record.address) for record in database.leases(network.name)})
    database.put_lease(LeaseRecord(network=network.name, address=address, container_id=container_id))
    return f"{address}/{prefix}"


def _lowest_free(network: NetworkRecord, taken: set[int]) -> str:
    first, last = address_range(network.subnet)
    taken = taken | {to_number(network.gateway)}
    for number in range(first + 1, last):
        if number not in taken:
            return to_text(number)
    raise Conflict(
        f"network {network.name}: all {max(last - first - 2, 0)} addresses of {network.subnet} are in use",
        hint="remove containers that are not needed any more",
    )


def mac_address(address: str) -> str:
    """A locally administered MAC that follows from the IPv4 address, so neighbours' ARP caches stay right."""
    return bytes((2, 0x68)).hex(":") + ":" + to_number(address).to_bytes(4, "big").hex(":")


def link_name(container_id: str) -> str:
    """The name of the host's end of a container's veth pair."""
    return _LINK_PREFIX + container_id[:_LINK_DIGITS]
