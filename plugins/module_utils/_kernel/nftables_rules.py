# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The rules of an engine's nftables table as data, and the expressions that they are made of. No I/O.

The table, in nft's words (one bridge `hull0` with 10.88.0.0/16; every further bridge adds its own lines)::

    table ip hull {
        map published     { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
        map published_any { type inet_proto . inet_service : ipv4_addr . inet_service; }
        chain guard       { type filter hook prerouting priority raw;       # before connection tracking
            iifname != "lo" ip daddr 127.0.0.0/8 drop                       # route_localnet is for replies only
            iifname "hull0" ip saddr != 10.88.0.0/16 drop }                 # no forged senders
        chain prerouting  { type nat hook prerouting priority dstnat;       # and the same as chain output
            fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @published
            fib daddr type local dnat ip to meta l4proto . th dport map @published_any }
        chain postrouting { type nat hook postrouting priority srcnat;
            oifname "hull0" ip saddr 127.0.0.0/8 masquerade                 # this host by its localhost
            oifname "hull0" ip saddr 10.88.0.0/16 ct status dnat masquerade # a container by a published port
            oifname != "hull0" ip saddr 10.88.0.0/16 masquerade }
        chain forward     { type filter hook forward priority filter;
            oifname "hull0" ct state established,related accept
            oifname "hull0" ct status dnat accept                           # published
            iifname "hull0" oifname "hull0" accept
            oifname "hull0" drop }
    }

Source: nft(8); Linux include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nft_*.c.
"""

from __future__ import annotations

from _socket import AF_INET, inet_pton
from _struct import Struct

from .._base.errors import Invalid
from .._base.values import Value
from .netlink import attribute, nested, text
from .rtnetlink import pack_interface

# linux/netfilter/nf_tables.h: attributes common to all expressions
_LIST_ELEM = 1
_EXPR_NAME = 1
_EXPR_DATA = 2
_DATA_VALUE = 1
_DATA_VERDICT = 2
_VERDICT_CODE = 1
_REG_VERDICT = 0
_REG32 = 8  # the first of sixteen registers of four bytes
_CMP_EQ = 0
_CMP_NEQ = 1
_META_IIFNAME = 6
_META_OIFNAME = 7
_META_L4PROTO = 16
_NETWORK_HEADER = 1
_TRANSPORT_HEADER = 2
_SADDR = 12  # offsets in the IPv4 header
_DADDR = 16
_DPORT = 2  # offset in the TCP, UDP, UDP-Lite, SCTP and DCCP headers
_CT_STATE = 0
_CT_STATUS = 2
_CT_ESTABLISHED_RELATED = 2 | 4
_IPS_DST_NAT = 1 << 5
_FIB_ADDRTYPE = 3
_FIB_DADDR = 2
_RTN_LOCAL = 2
_NAT_DNAT = 1
NFPROTO_IPV4 = 2
_DROP = 0
_ACCEPT = 1
_IFNAMSIZ = 16
# netfilter_ipv4.h
_HOOK_PREROUTING = 0
_HOOK_FORWARD = 2
_HOOK_OUTPUT = 3
_HOOK_POSTROUTING = 4

MAP_BY_ADDRESS = "published"
MAP_ANY_ADDRESS = "published_any"

BE32 = Struct(">I")
_HOST32 = Struct("=I")


class Chain(Value):
    """A base chain: `kind` is nft's chain type."""

    name: str
    kind: str
    hook: int
    priority: int


class Rule(Value):
    """A rule: its chain, what it is for (the comment that nft shows) and its expressions, encoded."""

    chain: str
    purpose: str
    expressions: bytes


CHAINS = (
    Chain("guard", "filter", _HOOK_PREROUTING, -300),
    Chain("prerouting", "nat", _HOOK_PREROUTING, -100),
    Chain("output", "nat", _HOOK_OUTPUT, -100),
    Chain("postrouting", "nat", _HOOK_POSTROUTING, 100),
    Chain("forward", "filter", _HOOK_FORWARD, 0),
)


def be32(kind: int, value: int) -> bytes:
    """A number as nfnetlink wants it: big endian."""
    return attribute(kind, BE32.pack(value & 0xFFFFFFFF))


def data(kind: int, value: bytes) -> bytes:
    """A value that is compared, loaded or stored."""
    return nested(kind, attribute(_DATA_VALUE, value))


def element(*attributes: bytes) -> bytes:
    """One element of a list."""
    return nested(_LIST_ELEM, *attributes)


def _expression(name: str, *attributes: bytes) -> bytes:
    return element(text(_EXPR_NAME, name), nested(_EXPR_DATA, *attributes))


def _meta(key: int, register: int = _REG32) -> bytes:
    return _expression("meta", be32(1, register), be32(2, key))


def _compare(value: bytes, operation: int = _CMP_EQ) -> bytes:
    return _expression("cmp", be32(1, _REG32), be32(2, operation), data(3, value))


def _payload(base: int, offset: int, length: int, register: int = _REG32) -> bytes:
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def _mask(mask: bytes) -> bytes:
    zero = b"\0" * len(mask)
    return _expression("bitwise", be32(1, _REG32), be32(2, _REG32), be32(3, len(mask)), data(4, mask), data(5, zero))


def _verdict(code: int) -> bytes:
    verdict = nested(2, nested(_DATA_VERDICT, be32(_VERDICT_CODE, code)))
    return _expression("immediate", be32(1, _REG_VERDICT), verdict)


def _interface(key: int, name: str, operation: int = _CMP_EQ) -> bytes:
    return _meta(key) + _compare(name.encode().ljust(_IFNAMSIZ, b"\0"), operation)


def _entering(name: str, operation: int = _CMP_EQ) -> bytes:
    return _interface(_META_IIFNAME, name, operation)


def _leaving(name: str, operation: int = _CMP_EQ) -> bytes:
    return _interface(_META_OIFNAME, name, operation)


def entering_any(prefix: str) -> bytes:
    """Accept what comes in by a link whose name begins so."""
    return _meta(_META_IIFNAME) + _compare(prefix.encode()) + _verdict(_ACCEPT)


def leaving_any(prefix: str) -> bytes:
    """Accept what goes out by a link whose name begins so."""
    return _meta(_META_OIFNAME) + _compare(prefix.encode()) + _verdict(_ACCEPT)


def _address_in(offset: int, subnet: str, operation: int = _CMP_EQ) -> bytes:
    family, packed, prefix = pack_interface(subnet)
    if family != AF_INET:
        raise Invalid(f"{subnet!r} is not an IPv4 subnet")
    mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    network = BE32.unpack(packed)[0] & mask
    return _payload(_NETWORK_HEADER, offset, 4) + _mask(BE32.pack(mask)) + _compare(BE32.pack(network), operation)


def _connection(key: int, bits: int) -> bytes:
    """Whether any of the bits of the connection's state or status is set; these are in the host's byte order."""
    load = _expression("ct", be32(1, _REG32), be32(2, key))
    return load + _mask(_HOST32.pack(bits)) + _compare(_HOST32.pack(0), _CMP_NEQ)


def _destination_is_local() -> bytes:
    load = _expression("fib", be32(1, _REG32), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_DADDR))
    return load + _compare(_HOST32.pack(_RTN_LOCAL))


def _redirect(map_name: str, map_id: int, *, by_address: bool) -> bytes:
    """To the address and port that the map has for this protocol, address (if asked) and port; else go on."""
    key = [_meta(_META_L4PROTO, _REG32)]
    if by_address:
        key.append(_payload(_NETWORK_HEADER, _DADDR, 4, _REG32 + len(key)))
    key.append(_payload(_TRANSPORT_HEADER, _DPORT, 2, _REG32 + len(key)))
    lookup = _expression("lookup", text(1, map_name), be32(2, _REG32), be32(3, _REG32), be32(4, map_id))
    nat = _expression("nat", be32(1, _NAT_DNAT), be32(2, NFPROTO_IPV4), be32(3, _REG32), be32(5, _REG32 + 1))
    return b"".join(key) + lookup + nat


def rules(bridges: tuple[tuple[str, str], ...], maps: dict[str, int]) -> list[Rule]:
    """All rules for bridges given as (name, subnet). `maps` has the batch's ids of the two maps by name."""
    found = [Rule("guard", "loopback addresses stay here", _forged_loopback())]
    for chain in ("prerouting", "output"):
        for name, by_address in ((MAP_BY_ADDRESS, True), (MAP_ANY_ADDRESS, False)):
            redirect = _destination_is_local() + _redirect(name, maps[name], by_address=by_address)
            found.append(Rule(chain, "published ports", redirect))
    for bridge, subnet in bridges:
        found += _bridge_rules(bridge, subnet)
    return found


def _forged_loopback() -> bytes:
    return _entering("lo", _CMP_NEQ) + _address_in(_DADDR, "127.0.0.0/8") + _verdict(_DROP)


def _bridge_rules(bridge: str, subnet: str) -> list[Rule]:
    inside, outside = _leaving(bridge), _leaving(bridge, _CMP_NEQ)
    from_subnet = _address_in(_SADDR, subnet)
    masquerade = _expression("masq")
    published = _connection(_CT_STATUS, _IPS_DST_NAT)
    accept, drop = _verdict(_ACCEPT), _verdict(_DROP)
    forged = _entering(bridge) + _address_in(_SADDR, subnet, _CMP_NEQ)
    return [
        Rule("guard", "forged senders", forged + drop),
        Rule("postrouting", "localhost", inside + _address_in(_SADDR, "127.0.0.0/8") + masquerade),
        Rule("postrouting", "container by published port", inside + from_subnet + published + masquerade),
        Rule("postrouting", "outward", outside + from_subnet + masquerade),
        Rule("forward", "answers", inside + _connection(_CT_STATE, _CT_ESTABLISHED_RELATED) + accept),
        Rule("forward", "published ports", inside + published + accept),
        Rule("forward", "between containers", _entering(bridge) + inside + accept),
        Rule("forward", "unpublished", inside + drop),
    ]


def pack_ipv4(address: str) -> bytes:
    """The four bytes of an IPv4 address. Raises Invalid."""
    try:
        return inet_pton(AF_INET, address)
    except (OSError, ValueError) as error:
        raise Invalid(
            f"{address!r} is not an IPv4 address", hint="ports are published on IPv4 addresses only"
        ) from error
