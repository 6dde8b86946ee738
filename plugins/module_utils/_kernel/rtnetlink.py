# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Links, addresses and routes, as far as every container start needs them.

Whatever is rarer (facts about all links, repair, other link types) is pyroute2's in links.py. Everything here acts in
the network namespace that the thread was in when `Route` was made.

Source: rtnetlink(7), veth(4); Linux include/uapi/linux/{rtnetlink,if_link,if_addr,veth}.h, net/core/rtnetlink.c.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from _struct import Struct
from errno import ENODEV, ENOENT

from .._base.errors import Invalid, SyscallError
from .._base.values import Value
from .netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    attribute,
    attributes,
    nested,
    read_text,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .netlink import Message

# linux/rtnetlink.h
_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_HOST = 254
_RTN_UNICAST = 1
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
# linux/if_link.h, linux/veth.h, linux/if.h
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_NET_NS_PID = 19
_IFLA_IFALIAS = 20
_IFLA_AF_SPEC = 26
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5
_IFLA_BRPORT_MODE = 4
_VETH_INFO_PEER = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_IFF_UP = 1
# linux/if_addr.h
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_FLAGS = 8
_IFA_F_NODAD = 2

_LINK = Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags
_U32 = Struct("=I")


class Link(Value):
    """A link as the kernel shows it. `kind` is `bridge`, `veth` ... or empty; `alias` is ifalias."""

    index: int
    name: str
    kind: str
    alias: str
    mac: str
    mtu: int
    up: bool
    master: int  # index of the bridge it is a port of, or 0


class Address(Value):
    """An address on a link, with its prefix length: `10.88.0.1/16`."""

    index: int
    address: str


class Network(Value):
    """A destination in the main routing table, `10.88.0.0/16`, and the index of the link that it leaves by, or 0."""

    index: int
    destination: str


def pack_address(address: str) -> tuple[int, bytes]:
    """Family and bytes of an IPv4 or IPv6 address. Raises Invalid."""
    family = AF_INET6 if ":" in address else AF_INET
    try:
        return family, inet_pton(family, address)
    except (OSError, ValueError) as error:
        raise Invalid(f"{address!r} is not an IP address") from error


def pack_interface(interface: str) -> tuple[int, bytes, int]:
    """Family, bytes and prefix length of `address/prefix`; without a prefix it is a single host. Raises Invalid."""
    address, slash, prefix = interface.partition("/")
    family, packed = pack_address(address)
    longest = 8 * len(packed)
    if not slash:
        return family, packed, longest
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= longest):
        raise Invalid(f"{interface!r} is not an address with a prefix length", hint="write it like 10.88.0.5/16")
    return family, packed, int(prefix)


def pack_mac(mac: str) -> bytes:
    """Six bytes from `02:42:0a:58:00:05`. Raises Invalid."""
    try:
        packed = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6:
        raise Invalid(f"{mac!r} is not a MAC address")
    return packed


class Route:
    """A routing socket of one network namespace. A context manager; every failure is a SyscallError.

    Nothing here is idempotent by itself: what exists already is EEXIST, what is missing ENODEV, and the caller decides.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_ROUTE)

    def __enter__(self) -> Route:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; again is harmless."""
        self._netlink.close()

    def link(self, name: str) -> Link | None:
        """The link of that name, or None."""
        body = (
            _LINK.pack(AF_UNSPEC, 0, 0, 0, 0)
            + text(_IFLA_IFNAME, name)
            + _u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        )
        try:
            return _read_link(self._netlink.ask(f"look up link {name}", _RTM_GETLINK, body))
        except SyscallError as error:
            if error.errno in (ENODEV, ENOENT):
                return None
            raise

    def link_index(self, name: str) -> int | None:
        """The index of the link of that name, or None."""
        found = self.link(name)
        return found.index if found else None

    def links(self) -> list[Link]:
        """All links."""
        body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
        return [_read_link(answer) for answer in self._netlink.dump("list links", _RTM_GETLINK, body)]

    def create_bridge(self, name: str, mac: str | None = None, mtu: int = 1500) -> None:
        """A bridge, down, without address. A fixed MAC keeps the bridge's from following its ports'."""
        body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + _u32(_IFLA_MTU, mtu)
        if mac:
            body += attribute(_IFLA_ADDRESS, pack_mac(mac))
        body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
        self._netlink.run(f"create bridge {name}", (_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body))

    def plug_veth(
        self,
        name: str,
        bridge_index: int,
        peer_name: str,
        pid: int,
        mac: str = "",
        mtu: int = 1500,
        *,
        netns_fd: int = -1,
        alias: str = "",
    ) -> None:
        """A veth pair: `name` here, up, a port of the bridge, with ifalias; its peer, down, in another namespace.

        The peer is born in the network namespace of process `pid`, or in that of `netns_fd` where one is given, and
        never exists here. The pair goes when either namespace goes. Half a pair never remains.
        """
        target = _u32(_IFLA_NET_NS_FD, netns_fd) if netns_fd >= 0 else _u32(_IFLA_NET_NS_PID, pid)
        peer = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFLA_IFNAME, peer_name) + _u32(_IFLA_MTU, mtu) + target
        if mac:
            peer += attribute(_IFLA_ADDRESS, pack_mac(mac))
        pair = (
            _LINK.pack(AF_UNSPEC, 0, 0, 0, 0)
            + text(_IFLA_IFNAME, name)
            + _u32(_IFLA_MTU, mtu)
            + _u32(_IFLA_MASTER, bridge_index)
            + nested(
                _IFLA_LINKINFO,
                text(_IFLA_INFO_KIND, "veth"),
                nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer)),
            )
        )
        # What the kernel takes only for a link that exists: the alias, no IPv6 address on the bridge's port, and
        # hairpin, without which no container reaches its own published port where br_netfilter is active.
        port = (
            _LINK.pack(AF_UNSPEC, 0, 0, _IFF_UP, _IFF_UP)
            + text(_IFLA_IFNAME, name)
            + nested(_IFLA_AF_SPEC, nested(AF_INET6, _u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)))
            + _hairpin()
        )
        if alias:
            port += text(_IFLA_IFALIAS, alias)
        what = f"plug veth {name} into bridge {bridge_index}"
        self._netlink.run(what, (_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, pair))
        try:
            self._netlink.run(what, (_RTM_NEWLINK, 0, port))
        except SyscallError:
            self.delete_link(name)
            raise

    def set_up(self, index: int) -> None:
        """Bring a link up; one that is up stays so."""
        self._netlink.run(f"bring link {index} up", _up(index))

    def set_alias(self, index: int, alias: str) -> None:
        """Set ifalias, the free text that tells whose a link is."""
        body = _LINK.pack(AF_UNSPEC, 0, index, 0, 0) + text(_IFLA_IFALIAS, alias)
        self._netlink.run(f"set alias of link {index}", (_RTM_SETLINK, 0, body))

    def plug(self, index: int, bridge_index: int) -> None:
        """Make a link that exists a port of a bridge, with hairpin as `plug_veth` has it."""
        port = _LINK.pack(AF_UNSPEC, 0, index, 0, 0)
        self._netlink.run(
            f"plug link {index} into bridge {bridge_index}",
            (_RTM_SETLINK, 0, port + _u32(_IFLA_MASTER, bridge_index)),
            (_RTM_NEWLINK, 0, port + _hairpin()),
        )

    def add_address(self, index: int, interface: str) -> None:
        """Give a link an address, as in `10.88.0.5/16`; EEXIST where it has it. IPv6 without duplicate detection."""
        self._netlink.run(f"add address {interface} to link {index}", _new_address(index, interface))

    def add_default_route(self, gateway: str) -> None:
        """The default route of the gateway's family; EEXIST where there is one."""
        self._netlink.run(f"add default route by {gateway}", _default_route(gateway))

    def connect(self, index: int, interface: str, gateway: str) -> None:
        """In a fresh namespace: loopback up, the link up with its address, and the default route, in one datagram."""
        requests = [_up(1), _new_address(index, interface), _up(index)]
        if gateway:
            requests.append(_default_route(gateway))
        self._netlink.run(f"connect link {index} as {interface} by {gateway or 'no gateway'}", *requests)

    def delete_link(self, link: str | int) -> None:
        """Delete a link by name or index; ENODEV where there is none. A veth's peer goes with it."""
        if isinstance(link, int):
            body = _LINK.pack(AF_UNSPEC, 0, link, 0, 0)
        else:
            body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFLA_IFNAME, link)
        self._netlink.run(f"delete link {link}", (_RTM_DELLINK, 0, body))

    def addresses(self, index: int = 0) -> list[Address]:
        """The IPv4 and IPv6 addresses of a link, or of all links."""
        body = _ADDRESS.pack(AF_UNSPEC, 0, 0, 0, index)
        found = [_read_address(answer) for answer in self._netlink.dump("list addresses", _RTM_GETADDR, body)]
        return [address for address in found if index in (0, address.index)]

    def routes(self) -> list[Network]:
        """The IPv4 destinations of the main table, default routes included as `0.0.0.0/0`."""
        body = _ROUTE.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        return [
            _read_route(answer)
            for answer in self._netlink.dump("list routes", _RTM_GETROUTE, body)
            if answer[4] == _RT_TABLE_MAIN and answer[0] == AF_INET
        ]


def _u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def _hairpin() -> bytes:
    """A bridge's port may send a frame back to where it came from."""
    mode = nested(_IFLA_INFO_SLAVE_DATA, _u8(_IFLA_BRPORT_MODE, 1))
    return nested(_IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge"), mode)


def _up(index: int) -> Message:
    return _RTM_NEWLINK, 0, _LINK.pack(AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)


def _new_address(index: int, interface: str) -> Message:
    family, packed, prefix = pack_interface(interface)
    scope = _RT_SCOPE_HOST if family == AF_INET and packed[0] == 127 else _RT_SCOPE_UNIVERSE
    body = (
        _ADDRESS.pack(family, prefix, 0, scope, index) + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    )
    if family == AF_INET and prefix < 31 and scope == _RT_SCOPE_UNIVERSE:
        host_bits = (1 << (32 - prefix)) - 1
        broadcast = (int.from_bytes(packed, "big") | host_bits).to_bytes(4, "big")
        body += attribute(_IFA_BROADCAST, broadcast)
    if family == AF_INET6:
        body += _u32(_IFA_FLAGS, _IFA_F_NODAD)
    return _RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body


def _default_route(gateway: str) -> Message:
    family, packed = pack_address(gateway)
    body = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    return _RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body + attribute(_RTA_GATEWAY, packed)


def _read_link(body: bytes) -> Link:
    _family, _type, index, flags, _change = _LINK.unpack_from(body)
    found = dict(attributes(body, _LINK.size))
    info = dict(attributes(found.get(_IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=read_text(found.get(_IFLA_IFNAME, b"")),
        kind=read_text(info.get(_IFLA_INFO_KIND, b"")),
        alias=read_text(found.get(_IFLA_IFALIAS, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_read_u32(found.get(_IFLA_MTU)),
        up=bool(flags & _IFF_UP),
        master=_read_u32(found.get(_IFLA_MASTER)),
    )


def _read_address(body: bytes) -> Address:
    family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(body)
    found = dict(attributes(body, _ADDRESS.size))
    packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    return Address(index=index, address=f"{inet_ntop(family, packed)}/{prefix}")


def _read_route(body: bytes) -> Network:
    found = dict(attributes(body, _ROUTE.size))
    destination = inet_ntop(AF_INET, found.get(_RTA_DST, b"\0\0\0\0"))
    return Network(index=_read_u32(found.get(_RTA_OIF)), destination=f"{destination}/{body[1]}")


def _read_u32(payload: bytes | None) -> int:
    return int(_U32.unpack(payload)[0]) if payload else 0
