# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a chain of nftables would do with one packet, found by following its rules. Pure: rules come in as bytes.

For telling people that a firewall stands in a container's way, without sending anything. A rule with a condition that
is not understood here (or that no packet could answer, such as a rate) does not count as fitting: neither its accept
nor its drop is believed.

Source: Linux include/uapi/linux/netfilter/{nf_tables,xt_conntrack}.h, net/netfilter/nft_*.c, nf_tables_core.c.
"""

from __future__ import annotations

from _socket import AF_INET, inet_pton
from _struct import Struct

from .._base.values import Value, replace
from .netlink import attributes, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Elements = Callable[[str], list["Element"]]
    Rules = Callable[[str], Iterable[bytes]]

# linux/netfilter.h and nf_tables.h: verdicts
DROP, ACCEPT = 0, 1
CONTINUE, _BREAK, _JUMP, _GOTO, _RETURN = -1, -2, -3, -4, -5
_MAX_DEPTH = 16  # NFT_JUMP_STACK_SIZE
_EQ, _NEQ, _LT, _LTE, _GT, _GTE = range(6)
_ETH_P_IP = 0x0800
_NFPROTO_IPV4 = 2
_TCP = 6
_ARPHRD_ETHER = 1
_CT_ESTABLISHED, _CT_NEW = 2, 8
_SOME_PORT = 40000
_IPS_DST_NAT = 1 << 5
_XT_STATE = 1
_XT_STATE_DNAT = 1 << 7
_XT_CONNTRACK = Struct("=HHH")  # match_flags, invert_flags, state_mask of xt_conntrack_mtinfo3
_XT_CONNTRACK_OFFSET = 146
_INTERVAL_END, _CATCH_ALL = 1, 2
_IFNAMSIZ = 16
_HOST32 = Struct("=I")
_HOST16 = Struct("=H")
_BE32 = Struct(">i")
_BE16 = Struct(">H")
_IPV4 = Struct(">BBHHHBBH4s4s")
_TCP_HEADER = Struct(">HHIIBBHHH")
_SILENT = frozenset("counter log limit quota connlimit last objref dynset notrack flow_offload dup".split())


class Packet(Value):
    """A packet of a connection that goes through the host: IPv4, TCP. `redirected`: by a published port."""

    enters: str
    leaves: str
    source: str
    destination: str
    port: int
    redirected: bool = False
    enters_index: int = 0
    leaves_index: int = 0
    answers: bool = False

    def answer(self) -> Packet:
        """The packet that comes back."""
        return replace(
            self,
            enters=self.leaves,
            leaves=self.enters,
            source=self.destination,
            destination=self.source,
            enters_index=self.leaves_index,
            leaves_index=self.enters_index,
            answers=True,
        )

    def network_header(self) -> bytes:
        """The IPv4 header."""
        addresses = (inet_pton(AF_INET, self.source), inet_pton(AF_INET, self.destination))
        return _IPV4.pack(0x45, 0, 60, 1, 0x4000, 63, 6, 0, *addresses)

    def transport_header(self) -> bytes:
        """The TCP header: SYN, or SYN and ACK."""
        if self.answers:
            return _TCP_HEADER.pack(self.port, _SOME_PORT, 1, 2, 0x50, 0x12, 65535, 0, 0)
        return _TCP_HEADER.pack(_SOME_PORT, self.port, 1, 0, 0x50, 2, 65535, 0, 0)

    @property
    def state(self) -> int:
        """What connection tracking says of it."""
        return _CT_ESTABLISHED if self.answers else _CT_NEW


class Element(Value):
    """An element of a set or map: `end` is the last key of a range, `verdict` and `target` those of a verdict map."""

    key: bytes
    flags: int
    end: bytes = b""
    value: bytes = b""
    verdict: int = CONTINUE
    target: str = ""


class _NoMatch(Exception):
    """A condition of the rule does not hold, or nobody here can say whether it does."""


class Walk:
    """One packet in one table: `rules` gives the expressions of each rule of a chain, `elements` those of a set."""

    def __init__(self, packet: Packet, rules: Rules, elements: Elements) -> None:
        self._packet = packet
        self._rules = rules
        self._elements = elements

    def verdict(self, chain: str, depth: int = 0) -> tuple[int, str]:
        """The verdict and the chain with the rule that says so; CONTINUE where no rule decides."""
        for rule in self._rules(chain) if depth < _MAX_DEPTH else ():
            code, target = self._apply(rule)
            if code in (_JUMP, _GOTO):
                found, where = self.verdict(target, depth + 1)
                if found != CONTINUE:
                    return found, where
                if code == _GOTO:
                    break
            elif code == _RETURN:
                break
            elif code not in (CONTINUE, _BREAK):
                return code & 0xFF, chain  # the rest is the number of a queue
        return CONTINUE, chain

    def _apply(self, expressions: bytes) -> tuple[int, str]:
        """The rule's verdict, and the chain that it jumps to."""
        registers = _Registers()
        try:
            for name, fields in _expressions(expressions):
                code, target = self._step(name, fields, registers)
                if code != CONTINUE:
                    return code, target
        except _NoMatch:
            pass
        return CONTINUE, ""

    def _step(self, name: str, fields: dict[int, bytes], registers: _Registers) -> tuple[int, str]:
        if name == "immediate":
            return _immediate(fields, registers)
        if name == "lookup":
            return self._lookup(fields, registers)
        if name in ("reject", "target"):
            refused = name == "reject" or read_text(fields.get(1, b"")) == "REJECT"
            return (DROP if refused else CONTINUE), ""
        if name in _LOADS:
            _LOADS[name](self._packet, fields, registers)
        elif name in _CONDITIONS:
            _CONDITIONS[name](fields, registers)
        elif name == "match":
            _check_match(self._packet, fields)
        elif name not in _SILENT:
            raise _NoMatch
        return CONTINUE, ""

    def _lookup(self, fields: dict[int, bytes], registers: _Registers) -> tuple[int, str]:
        found = _find(self._elements(read_text(fields[1])), registers.read(_number(fields[2])))
        inverted = bool(_number(fields.get(5, b"")) & 1)
        if (found is None) != inverted:
            raise _NoMatch
        if found is None or 3 not in fields:
            return CONTINUE, ""
        register = _number(fields[3])
        if register == 0:
            return found.verdict, found.target
        registers.write(register, found.value)
        return CONTINUE, ""


class _Registers:
    """The 64 bytes that expressions hand on, named by four or by sixteen bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray(64)

    @staticmethod
    def _offset(register: int) -> int:
        return (register - 8) * 4 if register >= 8 else (register - 1) * 16

    def write(self, register: int, value: bytes) -> None:
        start = self._offset(register)
        padded = value + b"\0" * (-len(value) % 4)
        self._bytes[start : start + len(padded)] = padded

    def read(self, register: int, length: int = 64) -> bytes:
        start = self._offset(register)
        return bytes(self._bytes[start : start + length])


def _expressions(rule: bytes) -> Iterator[tuple[str, dict[int, bytes]]]:
    for _kind, expression in attributes(rule):
        parts = dict(attributes(expression))
        yield read_text(parts.get(1, b"")), dict(attributes(parts.get(2, b"")))


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, "big")


def read_verdict(data: bytes) -> tuple[int, str]:
    """Code and chain of a verdict (NFTA_DATA_VERDICT)."""
    fields = dict(attributes(data))
    return _BE32.unpack(fields[1])[0], read_text(fields.get(2, b""))


def _immediate(fields: dict[int, bytes], registers: _Registers) -> tuple[int, str]:
    data = dict(attributes(fields[2]))
    if 2 in data:
        return read_verdict(data[2])
    registers.write(_number(fields[1]), data.get(1, b""))
    return CONTINUE, ""


def _load_meta(packet: Packet, fields: dict[int, bytes], registers: _Registers) -> None:
    if 3 in fields:  # meta mark set ...
        return
    values = {
        1: _BE16.pack(_ETH_P_IP),
        3: _HOST32.pack(0),  # mark
        4: _HOST32.pack(packet.enters_index),
        5: _HOST32.pack(packet.leaves_index),
        6: packet.enters.encode().ljust(_IFNAMSIZ, b"\0"),
        7: packet.leaves.encode().ljust(_IFNAMSIZ, b"\0"),
        8: _HOST16.pack(_ARPHRD_ETHER),
        9: _HOST16.pack(_ARPHRD_ETHER),
        15: bytes((_NFPROTO_IPV4,)),
        16: bytes((_TCP,)),
        19: bytes(1),  # pkttype: to this host
    }
    _load(values, fields, registers)


def _load_ct(packet: Packet, fields: dict[int, bytes], registers: _Registers) -> None:
    if 4 in fields:  # ct mark set ...
        return
    values = {
        0: _HOST32.pack(packet.state),
        1: bytes((packet.answers,)),  # the direction
        2: _HOST32.pack(_IPS_DST_NAT if packet.redirected else 0),
        3: _HOST32.pack(0),  # mark
    }
    _load(values, fields, registers)


def _load(values: dict[int, bytes], fields: dict[int, bytes], registers: _Registers) -> None:
    value = values.get(_number(fields[2]))
    if value is None:
        raise _NoMatch
    registers.write(_number(fields[1]), value)


def _load_payload(packet: Packet, fields: dict[int, bytes], registers: _Registers) -> None:
    if 5 in fields:  # a field is written
        return
    header = {1: packet.network_header, 2: packet.transport_header}.get(_number(fields[2]))
    offset, length = _number(fields[3]), _number(fields[4])
    value = header()[offset : offset + length] if header is not None else b""
    if len(value) != length:
        raise _NoMatch
    registers.write(_number(fields[1]), value)


def _value(data: bytes) -> bytes:
    return dict(attributes(data)).get(1, b"")


def _check_compare(fields: dict[int, bytes], registers: _Registers) -> None:
    wanted = _value(fields[3])
    if not _compares(registers.read(_number(fields[1]), len(wanted)), _number(fields[2]), wanted):
        raise _NoMatch


def _compares(found: bytes, operation: int, wanted: bytes) -> bool:
    """Byte by byte, as the kernel does it: numbers that are ordered come in network order."""
    if operation == _EQ:
        return found == wanted
    if operation == _NEQ:
        return found != wanted
    if operation in (_LT, _LTE):
        return found < wanted or (operation == _LTE and found == wanted)
    return found > wanted or (operation == _GTE and found == wanted)


def _check_range(fields: dict[int, bytes], registers: _Registers) -> None:
    first, last = _value(fields[3]), _value(fields[4])
    inside = first <= registers.read(_number(fields[1]), len(first)) <= last
    if inside != (_number(fields[2]) == _EQ):
        raise _NoMatch


def _mask(fields: dict[int, bytes], registers: _Registers) -> None:
    if _number(fields.get(6, b"")):  # a shift
        raise _NoMatch
    length = _number(fields[3])
    found = registers.read(_number(fields[1]), length)
    masked = bytes(byte & mask ^ flip for byte, mask, flip in zip(found, _value(fields[4]), _value(fields[5])))
    registers.write(_number(fields[2]), masked)


def _check_match(packet: Packet, fields: dict[int, bytes]) -> None:
    """A condition of iptables that nftables has no words for."""
    name = read_text(fields.get(1, b""))
    if name == "comment":
        return
    if name != "conntrack" or _number(fields.get(2, b"")) < 2:
        raise _NoMatch
    flags, inverted, states = _XT_CONNTRACK.unpack_from(fields[3], _XT_CONNTRACK_OFFSET)
    ours = packet.state | (_XT_STATE_DNAT if packet.redirected else 0)
    if flags != _XT_STATE or bool(states & ours) == bool(inverted & _XT_STATE):
        raise _NoMatch


def _find(elements: list[Element], register: bytes) -> Element | None:
    """The element that has the key: itself, within a concatenation's ranges, or between the two ends of a range."""
    for element in elements:
        if not element.flags & (_INTERVAL_END | _CATCH_ALL) and _has(element, register):
            return element
    if any(element.flags & _INTERVAL_END for element in elements):
        below = [element for element in elements if element.key <= register[: len(element.key)]]
        nearest = max(below, key=lambda element: (element.key, not element.flags & _INTERVAL_END), default=None)
        if nearest is not None and not nearest.flags & (_INTERVAL_END | _CATCH_ALL):
            return nearest
    return next((element for element in elements if element.flags & _CATCH_ALL), None)


def _has(element: Element, register: bytes) -> bool:
    first, last = element.key, element.end or element.key
    found = register[: len(first)]
    return all(
        first[start : start + 4] <= found[start : start + 4] <= last[start : start + 4]
        for start in range(0, len(first), 4)
    )


_LOADS = {"meta": _load_meta, "ct": _load_ct, "payload": _load_payload}
_CONDITIONS = {"cmp": _check_compare, "range": _check_range, "bitwise": _mask}
