# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Forget tracked UDP flows to a host port when what the port leads to changes.

Address translation is decided with a flow's first packet. A client that keeps sending UDP from one port stays with that
decision for as long as it sends: to nothing, if it began before the port was published, or to a dead container. TCP
needs none of this, its next connection is a new flow.

Source: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/{nf_conntrack_netlink.c,nf_internals.h}.
"""

from __future__ import annotations

from _socket import AF_INET, inet_ntop
from _struct import Struct
from errno import EAFNOSUPPORT, EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT

from .._base.errors import SyscallError
from .netlink import attribute, attributes, nested
from .nftables_rules import NFPROTO_IPV4
from .rtnetlink import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.ports import PortPlan
    from .netlink import Netlink

_SUBSYS_CTNETLINK = 1
_GET, _DELETE = _SUBSYS_CTNETLINK << 8 | 1, _SUBSYS_CTNETLINK << 8 | 2
_TUPLE_ORIG, _ID, _FILTER = 1, 12, 25
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_DST = 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5
_UDP = 17
_HEADER = Struct(">BBH")
_PORT = Struct(">H")
_HOST32 = Struct("=I")
_ANY = ("", "0.0.0.0")
_NO_CONNTRACK = (EAFNOSUPPORT, EOPNOTSUPP, EPROTONOSUPPORT)


def forget_udp_flows(netlink: Netlink, port: PortPlan) -> int:
    """Delete the flows to a UDP port of this host from connection tracking; how many they were.

    `netlink` is a netfilter socket. Flows through this host to others are left alone. A kernel that can't list flows
    is no error: they run out by themselves when the client pauses.
    """
    if port.protocol != "udp":
        return 0
    what = f"forget flows to {port.host_address}:{port.host_port}/udp"
    found = _flows(netlink, what, port.host_port)
    if not found:
        return 0
    own = _own_addresses() if port.host_address in _ANY else {port.host_address}
    forgotten = 0
    for destination, body in found:
        if destination not in own and not (port.host_address in _ANY and destination.startswith("127.")):
            continue
        try:
            netlink.run(what, (_DELETE, 0, body))
            forgotten += 1
        except SyscallError as error:
            if error.errno != ENOENT:  # run out meanwhile
                raise
    return forgotten


def _own_addresses() -> set[str]:
    with Route() as route:
        return {address.address.partition("/")[0] for address in route.addresses()}


def _flows(netlink: Netlink, what: str, host_port: int) -> list[tuple[str, bytes]]:
    """Original destination and the body of a deletion, for each UDP flow to that port number at any address."""
    header = _HEADER.pack(NFPROTO_IPV4, 0, 0)
    protocol = attribute(_PROTO_NUM, bytes((_UDP,))) + attribute(_PROTO_DST_PORT, _PORT.pack(host_port))
    wanted = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, protocol))
    flags = nested(_FILTER, _flags(_FILTER_ORIG_FLAGS, _BY_PROTOCOL_AND_PORT), _flags(_FILTER_REPLY_FLAGS, 0))
    try:
        answers = netlink.dump(what, _GET, header + wanted + flags)
    except SyscallError as error:
        if error.errno in _NO_CONNTRACK:
            return []
        if error.errno != EINVAL:
            raise
        answers = netlink.dump(what, _GET, header)  # older than 5.8: all flows, filtered here
    return [flow for flow in (_matching(answer, host_port) for answer in answers) if flow is not None]


def _flags(kind: int, flags: int) -> bytes:
    return attribute(kind, _HOST32.pack(flags))


def _matching(answer: bytes, host_port: int) -> tuple[str, bytes] | None:
    flow = dict(attributes(answer, _HEADER.size))
    original = dict(attributes(flow.get(_TUPLE_ORIG, b"")))
    protocol = dict(attributes(original.get(_TUPLE_PROTO, b"")))
    if protocol.get(_PROTO_NUM) != bytes((_UDP,)) or protocol.get(_PROTO_DST_PORT) != _PORT.pack(host_port):
        return None
    destination = inet_ntop(AF_INET, dict(attributes(original[_TUPLE_IP]))[_IP_DST])
    body = _HEADER.pack(NFPROTO_IPV4, 0, 0) + nested(_TUPLE_ORIG, flow[_TUPLE_ORIG])
    if _ID in flow:  # so that a flow that took its place is not meant
        body += attribute(_ID, flow[_ID])
    return destination, body
