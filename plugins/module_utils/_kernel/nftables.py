# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The engine's nftables table and its published ports, spoken to the kernel directly: no nft binary, no library.

One table per engine instance, family `ip`, named `hull` or `hull-<instance>`; its rules are in nftables_rules.py. Only
that table is touched, and only where it bears our mark. A published port is one element of a map, so adding and
removing one costs the same with one port and with ten thousand.

Source: Linux include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h, net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

from _socket import AF_INET, inet_ntop
from _struct import Struct
from errno import EAFNOSUPPORT, EBUSY, EEXIST, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT
from zlib import crc32

from .._base.errors import Conflict, Invalid, SyscallError, Unsupported
from .._base.ports import PortPlan
from .netlink import (
    NETLINK_NETFILTER,
    NLM_F_APPEND,
    NLM_F_CREATE,
    Netlink,
    attribute,
    attributes,
    nested,
    read_text,
    text,
)
from .nftables_rules import (
    CHAINS,
    MAP_ANY_ADDRESS,
    MAP_BY_ADDRESS,
    NFPROTO_IPV4,
    be32,
    data,
    element,
    pack_ipv4,
    rules,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .netlink import Message
    from .nftables_rules import Chain, Rule

# linux/netfilter/nfnetlink.h
_SUBSYS_NFTABLES = 10
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
# linux/netfilter/nf_tables.h
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN = 3
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_TABLE_NAME, _TABLE_USERDATA = 1, 6
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 4, 7
_SET_MAP = 8
_ELEMENTS = 3
_ELEMENT_KEY, _ELEMENT_DATA = 1, 2
# nft(8)'s numbers of data types, six bits each in a concatenation; only `nft list` reads them
_TYPE_ADDRESS, _TYPE_PROTOCOL, _TYPE_SERVICE = 7, 12, 13

_GENERIC = Struct(">BBH")  # family, version, resource
_PORT = Struct(">Hxx")
_BATCH_BODY = _GENERIC.pack(0, 0, _SUBSYS_NFTABLES)
_MAP_IDS = {MAP_BY_ADDRESS: 1, MAP_ANY_ADDRESS: 2}
_MARK = "hull.engine"
_ANY = "0.0.0.0"
_PROTOCOLS = {"tcp": 6, "udp": 17}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}
ABSENT = (EAFNOSUPPORT, EOPNOTSUPP, EPROTONOSUPPORT)
_CURE = "load the modules nf_tables, nft_chain_nat, nft_masq, nft_fib_ipv4 and nft_ct, or use network_mode none or host"


class Published(PortPlan):
    """A published port as the kernel has it, and the container's address that it leads to."""

    address: str


class Nft:
    """A socket to nf_tables in the network namespace that the thread was in when this was made. A context manager.

    Every change is atomic. A kernel without what the table needs is Unsupported, other refusals are SyscallError.
    """

    def __init__(self) -> None:
        try:
            self._netlink = Netlink(NETLINK_NETFILTER)
        except SyscallError as error:
            if error.errno in ABSENT:
                raise Unsupported("nftables: this kernel has no netfilter netlink", hint=_CURE) from error
            raise

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; again is harmless."""
        self._netlink.close()

    def ensure_table(self, table: str, bridges: Iterable[tuple[str, str]]) -> bool:
        """The table with its rules for exactly these bridges, given as (name, subnet). True where it had to be written.

        Published ports of a table that is there stay. Where all is as it should be, this only reads. Raises Conflict
        for a table of that name that is not ours.
        """
        wanted = rules(tuple(bridges), _MAP_IDS)
        comments = [(rule.chain, comment) for rule, comment in zip(wanted, _comments(wanted))]
        found = self._rule_comments(table)
        if _are_same(found, comments):
            return False
        self._check_ours(table, found)
        what = f"write nftables table ip {table}"
        requests = [_new_table(table)]
        requests += [_new_map(table, name) for name in _MAP_IDS]
        requests += [_new_chain(table, chain) for chain in CHAINS]
        requests.append(_request(_DELRULE, 0, text(_RULE_TABLE, table)))
        requests += [_new_rule(table, rule, comment) for rule, (_chain, comment) in zip(wanted, comments)]
        try:
            self._commit(what, requests)
        except SyscallError as error:
            if error.errno == ENOENT:  # a type of chain or expression; all objects named are made in this batch
                raise Unsupported(f"{what}: this kernel lacks a part of nftables", hint=_CURE) from error
            raise
        return True

    def has_rules(self, table: str, bridges: Iterable[tuple[str, str]]) -> bool:
        """Whether the table has the rules for exactly these bridges, so that `ensure_table` would only read."""
        wanted = rules(tuple(bridges), _MAP_IDS)
        comments = [(rule.chain, comment) for rule, comment in zip(wanted, _comments(wanted))]
        return _are_same(self._rule_comments(table), comments)

    def publish(self, table: str, port: PortPlan, address: str) -> None:
        """Lead a host's port to a container's address. What the port led to before, if anything, is replaced.

        Who publishes holds the port itself (`_net/ports.py: reserve`), so an older target is a dead container's.
        """
        what = f"publish {describe(port)} to {address}"
        try:
            self._commit(what, [_element(_NEWSETELEM, NLM_F_CREATE, table, port, address)])
        except SyscallError as error:
            if error.errno == ENOENT:
                raise _no_table(what, table) from error
            if error.errno not in (EBUSY, EEXIST):
                raise
            removal = _element(_DELSETELEM, 0, table, port, None)
            self._commit(what, [removal, _element(_NEWSETELEM, NLM_F_CREATE, table, port, address)])
        self._forget_flows(port)

    def publish_all(self, table: str, ports: Iterable[PortPlan], address: str) -> None:
        """Publish the ports, all or none."""
        done: list[PortPlan] = []
        try:
            for port in ports:
                self.publish(table, port, address)
                done.append(port)
        except Exception:
            for port in done:
                self.unpublish(table, port, address)
            raise

    def unpublish(self, table: str, port: PortPlan, address: str) -> bool:
        """Undo `publish`; False where the port does not lead to that address (any more), which is left alone."""
        what = f"unpublish {describe(port)} of {address}"
        try:
            current = self._published_one(what, table, port)
            if current is None or (current.address, current.container_port) != (address, port.container_port):
                return False
            self._commit(what, [_element(_DELSETELEM, 0, table, port, None)])
        except SyscallError as error:
            if error.errno == ENOENT:
                return False
            raise
        self._forget_flows(port)
        return True

    def _forget_flows(self, port: PortPlan) -> None:
        if port.protocol == "udp":
            from .conntrack import forget_udp_flows

            forget_udp_flows(self._netlink, port)

    def published(self, table: str) -> list[Published]:
        """All published ports of a table; none where there is no such table."""
        found: list[Published] = []
        for name in _MAP_IDS:
            body = _generic() + text(1, table) + text(2, name)
            try:
                answers = self._netlink.dump(f"list published ports of {table}", _type(_GETSETELEM), body)
            except SyscallError as error:
                if error.errno in (ENOENT, *ABSENT):
                    continue
                raise
            for answer in answers:
                found += _read_elements(answer, name)
        return found

    def has_table(self, table: str) -> bool:
        """Whether there is a table of that name in family ip, ours or not."""
        return self._table_mark(table) is not None

    def is_own_table(self, table: str) -> bool:
        """Whether there is a table of that name, and it is ours."""
        try:
            self._check_ours(table, self._rule_comments(table))
        except Conflict:
            return False
        return self.has_table(table)

    def delete_table(self, table: str) -> bool:
        """Delete our table and everything in it; False where there is none. Conflict where it is not ours."""
        if not self.has_table(table):
            return False
        self._check_ours(table, self._rule_comments(table))
        try:
            self._commit(f"delete nftables table ip {table}", [_request(_DELTABLE, 0, text(_TABLE_NAME, table))])
        except SyscallError as error:
            if error.errno == ENOENT:
                return False
            raise
        return True

    def _published_one(self, what: str, table: str, port: PortPlan) -> Published | None:
        name, key = _key(port)
        wanted = nested(_ELEMENTS, element(data(_ELEMENT_KEY, key)))
        body = _generic() + text(1, table) + text(2, name) + wanted
        found = _read_elements(self._netlink.ask(what, _type(_GETSETELEM), body), name)
        return found[0] if found else None

    def _rule_comments(self, table: str) -> list[tuple[str, str]]:
        """Chain and comment of each rule of the table."""
        found = []
        try:
            answers = self._netlink.dump(
                f"list rules of {table}", _type(_GETRULE), _generic() + text(_RULE_TABLE, table)
            )
        except SyscallError as error:
            if error.errno == ENOENT:
                return []
            if error.errno in ABSENT:
                raise Unsupported("nftables: this kernel has no nf_tables", hint=_CURE) from error
            raise
        for answer in answers:
            rule = dict(attributes(answer, _GENERIC.size))
            if read_text(rule.get(_RULE_TABLE, b"")) == table:
                found.append((read_text(rule.get(_RULE_CHAIN, b"")), read_comment(rule.get(_RULE_USERDATA, b""))))
        return found

    def _table_mark(self, table: str) -> str | None:
        """The comment of a table, None where there is no such table."""
        body = _generic() + text(_TABLE_NAME, table)
        try:
            answer = self._netlink.ask(f"look up nftables table {table}", _type(_GETTABLE), body)
        except SyscallError as error:
            if error.errno in (ENOENT, *ABSENT):
                return None
            raise
        return read_comment(dict(attributes(answer, _GENERIC.size)).get(_TABLE_USERDATA, b""))

    def _check_ours(self, table: str, comments: list[tuple[str, str]]) -> None:
        """Conflict unless there is no such table or it bears our mark; kernels before 5.10 mark only the rules."""
        mark = self._table_mark(table)
        if mark is None or mark == _MARK:
            return
        if not mark and comments and all(comment.startswith(_MARK) for _chain, comment in comments):
            return
        raise Conflict(
            f"nftables table ip {table} exists and is not this engine's",
            hint=f"remove it with 'nft delete table ip {table}' if nothing needs it",
        )

    def _commit(self, what: str, requests: list[Message]) -> None:
        try:
            self._netlink.commit(what, (_BATCH_BEGIN, 0, _BATCH_BODY), requests, (_BATCH_END, 0, _BATCH_BODY))
        except SyscallError as error:
            if error.errno in ABSENT:
                raise Unsupported(f"{what}: this kernel lacks a part of nftables", hint=_CURE) from error
            raise


def describe(port: PortPlan) -> str:
    """A port for people: `0.0.0.0:8080/tcp`."""
    return f"{port.host_address}:{port.host_port}/{port.protocol}"


def _no_table(what: str, table: str) -> Conflict:
    return Conflict(f"{what}: nftables table ip {table} is gone", hint="start any container on the bridge to repair it")


def _are_same(found: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> bool:
    """Whether these are the same chains and comments of rules; the order within a chain counts, sorting is stable."""
    return sorted(found, key=_chain_of) == sorted(wanted, key=_chain_of)


def _chain_of(rule: tuple[str, str]) -> str:
    return rule[0]


def _type(message: int) -> int:
    return _SUBSYS_NFTABLES << 8 | message


def _generic() -> bytes:
    return _GENERIC.pack(NFPROTO_IPV4, 0, 0)


def _request(message: int, flags: int, *parts: bytes) -> Message:
    return _type(message), flags, _generic() + b"".join(parts)


def commented(kind: int, words: str) -> bytes:
    """A comment as nft keeps it in user data: type 0, length, text with NUL."""
    payload = words.encode() + b"\0"
    return attribute(kind, bytes((0, len(payload))) + payload)


def read_comment(userdata: bytes) -> str:
    """The comment in a table's or rule's user data, empty where there is none."""
    while len(userdata) >= 2:
        kind, length = userdata[0], userdata[1]
        if kind == 0:
            return read_text(userdata[2 : 2 + length])
        userdata = userdata[2 + length :]
    return ""


def _comments(wanted: list[Rule]) -> list[str]:
    """A comment for each rule that changes with any change of the rule, so reading comments tells what is there."""
    return [f"{_MARK} {crc32(rule.expressions):08x}: {rule.purpose}" for rule in wanted]


def _new_table(table: str) -> Message:
    return _request(_NEWTABLE, NLM_F_CREATE, text(_TABLE_NAME, table), commented(_TABLE_USERDATA, _MARK))


def _new_map(table: str, name: str) -> Message:
    key_types = (
        (_TYPE_PROTOCOL, _TYPE_ADDRESS, _TYPE_SERVICE) if name == MAP_BY_ADDRESS else (_TYPE_PROTOCOL, _TYPE_SERVICE)
    )
    target_types = (_TYPE_ADDRESS, _TYPE_SERVICE)
    return _request(
        _NEWSET,
        NLM_F_CREATE,
        text(1, table),
        text(2, name),
        be32(3, _SET_MAP),
        be32(4, _concatenation(key_types)),
        be32(5, 4 * len(key_types)),
        be32(6, _concatenation(target_types)),
        be32(7, 4 * len(target_types)),
        be32(10, _MAP_IDS[name]),
    )


def _concatenation(types: tuple[int, ...]) -> int:
    number = 0
    for kind in types:
        number = number << 6 | kind
    return number


def _new_chain(table: str, chain: Chain) -> Message:
    hook = nested(4, be32(1, chain.hook), be32(2, chain.priority))
    return _request(_NEWCHAIN, NLM_F_CREATE, text(1, table), text(3, chain.name), hook, be32(5, 1), text(7, chain.kind))


def _new_rule(table: str, rule: Rule, comment: str) -> Message:
    return _request(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        text(_RULE_TABLE, table),
        text(_RULE_CHAIN, rule.chain),
        nested(_RULE_EXPRESSIONS, rule.expressions),
        commented(_RULE_USERDATA, comment),
    )


def _key(port: PortPlan) -> tuple[str, bytes]:
    """The map that a port belongs to and its key there."""
    number = _PROTOCOLS.get(port.protocol)
    if number is None:
        raise Invalid(f"protocol {port.protocol!r} can't be published", hint=f"use one of {', '.join(_PROTOCOLS)}")
    protocol, host_port = bytes((number, 0, 0, 0)), _PORT.pack(port.host_port)
    if port.host_address in ("", _ANY):
        return MAP_ANY_ADDRESS, protocol + host_port
    return MAP_BY_ADDRESS, protocol + pack_ipv4(port.host_address) + host_port


def _element(message: int, flags: int, table: str, port: PortPlan, address: str | None) -> Message:
    name, key = _key(port)
    parts = [data(_ELEMENT_KEY, key)]
    if address is not None:
        parts.append(data(_ELEMENT_DATA, pack_ipv4(address) + _PORT.pack(port.container_port)))
    return _request(message, flags, text(1, table), text(2, name), nested(_ELEMENTS, element(*parts)))


def _read_elements(answer: bytes, name: str) -> list[Published]:
    listed = dict(attributes(answer, _GENERIC.size)).get(_ELEMENTS, b"")
    return [_read_element(dict(attributes(content)), name) for _kind, content in attributes(listed)]


def _read_element(found: dict[int, bytes], name: str) -> Published:
    key = dict(attributes(found[_ELEMENT_KEY]))[1]
    target = dict(attributes(found[_ELEMENT_DATA]))[1]
    host_address = inet_ntop(AF_INET, key[4:8]) if name == MAP_BY_ADDRESS else _ANY
    return Published(
        host_address=host_address,
        host_port=_PORT.unpack(key[-4:])[0],
        container_port=_PORT.unpack(target[4:8])[0],
        protocol=_PROTOCOL_NAMES.get(key[0], str(key[0])),
        address=inet_ntop(AF_INET, target[:4]),
    )
