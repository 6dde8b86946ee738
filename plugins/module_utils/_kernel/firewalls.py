# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Chains of other programs at nftables' forward hook: whether they let a container's packet through, and a way for it.

An accept in one table does not overrule a drop in another, so the engine's own table can't help against firewalld,
ufw, Docker's FORWARD policy or an administrator's own chain. They are read here from the kernel, whoever wrote them
(iptables of today writes nftables too). Only `open_way` and `close_ways` write, and only rules that bear our mark.

Source: Linux include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c; nft(8), "Base chains".
"""

from __future__ import annotations

from _struct import Struct
from errno import EACCES, ENOENT, EPERM

from .._base.errors import Denied, SyscallError
from .._base.values import Value
from .netlink import NETLINK_NETFILTER, NLM_F_CREATE, Netlink, attribute, attributes, nested, read_text, text
from .nftables import ABSENT, commented, read_comment
from .nftables_rules import BE32, entering_any, leaving_any
from .packet_walk import CONTINUE, DROP, Element, Walk, read_verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .packet_walk import Packet

WAY_MARK = "hull.engine: containers pass"
_BRIDGES = "hull"  # how the names of all our bridges begin
_SUBSYS = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_GETCHAIN, _NEWRULE, _GETRULE, _DELRULE, _GETSETELEM = 4, 6, 7, 8, 13
_NFPROTO_UNSPEC, _NFPROTO_INET, _NFPROTO_IPV4 = 0, 1, 2
_FAMILIES = {_NFPROTO_INET: "inet", _NFPROTO_IPV4: "ip"}
_HOOK_FORWARD = 2
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 3, 4, 7
_ELEMENTS = 3
_ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_FLAGS, _ELEMENT_KEY_END = 1, 2, 3, 10
_GENERIC = Struct(">BBH")


class Chain(Value):
    """A chain. `hook` is -1 where it is none that the kernel calls; `drops`: by its policy."""

    family: int
    table: str
    name: str
    hook: int
    kind: str
    drops: bool

    def __str__(self) -> str:
        return f"{_FAMILIES.get(self.family, self.family)} {self.table} {self.name}"


class Obstacle(Value):
    """A chain at the forward hook that drops a packet. `decides`: the chain whose rule does so, empty for the policy.

    `manager` is who writes that table: firewalld, ufw, docker, iptables or nftables.
    """

    chain: Chain
    manager: str
    decides: str = ""

    def __str__(self) -> str:
        if not self.decides:
            return f"chain {self.chain} drops by its policy"
        inside = f"chain {self.decides} of " if self.decides != self.chain.name else ""
        return f"a rule of {inside}chain {self.chain} drops"


class Firewalls:
    """A socket to nf_tables in the network namespace that the thread was in when this was made. A context manager.

    Where the kernel has no nf_tables there are no chains.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER)

    def __enter__(self) -> Firewalls:
        return self

    def __exit__(self, *_details: object) -> None:
        self._netlink.close()

    def chains(self) -> list[Chain]:
        """The chains of all tables that IPv4 packets can meet."""
        found = (_read_chain(answer) for answer in self._dump("list nftables chains", _GETCHAIN, _NFPROTO_UNSPEC))
        return [chain for chain in found if chain.family in _FAMILIES]

    def obstacles(self, packet: Packet) -> list[Obstacle]:
        """Who drops the packet as it is forwarded, or its answer; in no order. All have to let them through."""
        chains = self.chains()
        found = []
        for chain in chains:
            if chain.hook == _HOOK_FORWARD and chain.kind == "filter":
                for one in (packet, packet.answer()):
                    verdict, decides = self._walk(chain, one).verdict(chain.name)
                    if verdict == DROP or (verdict == CONTINUE and chain.drops):
                        decides = decides if verdict == DROP else ""
                        found.append(Obstacle(chain, manager_of(chain, chains), decides))
                        break
        return found

    def open_way(self, chain: Chain) -> None:
        """Let what our bridges send and get through a chain, before all its rules. Not idempotent: see `ways`."""
        for condition in (leaving_any(_BRIDGES), entering_any(_BRIDGES)):  # the second comes to stand first
            body = (
                _GENERIC.pack(chain.family, 0, 0)
                + text(_RULE_TABLE, chain.table)
                + text(_RULE_CHAIN, chain.name)
                + nested(_RULE_EXPRESSIONS, condition)
                + commented(_RULE_USERDATA, WAY_MARK)
            )
            self._commit(f"insert rule into nftables chain {chain}", (_SUBSYS | _NEWRULE, NLM_F_CREATE, body), chain)

    def ways(self) -> list[tuple[Chain, int]]:
        """Our rules in chains of others: chain and handle."""
        found = []
        for answer in self._dump("list nftables rules", _GETRULE, _NFPROTO_UNSPEC):
            rule = dict(attributes(answer, _GENERIC.size))
            if read_comment(rule.get(_RULE_USERDATA, b"")) == WAY_MARK:
                table, name = read_text(rule[_RULE_TABLE]), read_text(rule[_RULE_CHAIN])
                handle = int.from_bytes(rule[_RULE_HANDLE], "big")
                found.append((Chain(answer[0], table, name, -1, "", False), handle))
        return found

    def close_ways(self) -> list[Chain]:
        """Remove what `open_way` inserted, everywhere; the chains that had it. Idempotent."""
        found = self.ways()
        for chain, handle in found:
            body = (
                _GENERIC.pack(chain.family, 0, 0)
                + text(_RULE_TABLE, chain.table)
                + text(_RULE_CHAIN, chain.name)
                + attribute(_RULE_HANDLE, handle.to_bytes(8, "big"))
            )
            self._commit(f"delete rule of nftables chain {chain}", (_SUBSYS | _DELRULE, 0, body), chain)
        return list(dict.fromkeys(chain for chain, _handle in found))

    def _walk(self, chain: Chain, packet: Packet) -> Walk:
        def rules(name: str) -> Iterator[bytes]:
            body = text(_RULE_TABLE, chain.table) + text(_RULE_CHAIN, name)
            for answer in self._dump(f"list rules of chain {chain}", _GETRULE, chain.family, body):
                rule = dict(attributes(answer, _GENERIC.size))
                if read_text(rule.get(_RULE_CHAIN, b"")) == name and read_text(rule[_RULE_TABLE]) == chain.table:
                    yield rule.get(_RULE_EXPRESSIONS, b"")

        def elements(name: str) -> list[Element]:
            body = text(1, chain.table) + text(2, name)
            answers = self._dump(f"list set {name} of {chain.table}", _GETSETELEM, chain.family, body)
            return [element for answer in answers for element in _read_elements(answer)]

        return Walk(packet, rules, elements)

    def _dump(self, what: str, kind: int, family: int, body: bytes = b"") -> list[bytes]:
        """Nothing where what was asked for went meanwhile, and for who may not look."""
        try:
            return self._netlink.dump(what, _SUBSYS | kind, _GENERIC.pack(family, 0, 0) + body)
        except SyscallError as error:
            if error.errno in (ENOENT, EPERM, *ABSENT):
                return []
            raise

    def _commit(self, what: str, request: tuple[int, int, bytes], chain: Chain) -> None:
        batch = _GENERIC.pack(0, 0, 10)
        try:
            self._netlink.commit(what, (_BATCH_BEGIN, 0, batch), [request], (_BATCH_END, 0, batch))
        except SyscallError as error:
            if error.errno == ENOENT:  # it went meanwhile, and what it dropped passes
                return
            if error.errno in (EPERM, EACCES):
                hint = f"table {chain.table} belongs to a program that holds it: tell that program, or run as root"
                raise Denied(f"{what}: {error.message.rpartition(': ')[2]}", hint=hint) from error
            raise


def manager_of(chain: Chain, chains: list[Chain]) -> str:
    """Who writes the table of a chain, by the names of its chains."""
    names = {other.name for other in chains if (other.family, other.table) == (chain.family, chain.table)}
    if chain.table == "firewalld":
        return "firewalld"
    if any(name.startswith("ufw-") for name in names):
        return "ufw"
    if any(name.startswith("DOCKER") for name in names):
        return "docker"
    return "iptables" if chain.table == "filter" and chain.name == "FORWARD" else "nftables"


def _read_chain(answer: bytes) -> Chain:
    fields = dict(attributes(answer, _GENERIC.size))
    hook = dict(attributes(fields.get(_CHAIN_HOOK, b"")))
    return Chain(
        family=answer[0],
        table=read_text(fields.get(_CHAIN_TABLE, b"")),
        name=read_text(fields.get(_CHAIN_NAME, b"")),
        hook=BE32.unpack(hook[1])[0] if 1 in hook else -1,
        kind=read_text(fields.get(_CHAIN_TYPE, b"")),
        drops=BE32.unpack(fields[_CHAIN_POLICY])[0] == DROP if _CHAIN_POLICY in fields else False,
    )


def _read_elements(answer: bytes) -> Iterator[Element]:
    listed = dict(attributes(answer, _GENERIC.size)).get(_ELEMENTS, b"")
    for _kind, content in attributes(listed):
        fields = dict(attributes(content))
        found = dict(attributes(fields.get(_ELEMENT_DATA, b"")))
        verdict, target = read_verdict(found[2]) if 2 in found else (CONTINUE, "")
        yield Element(
            key=_data(fields.get(_ELEMENT_KEY, b"")),
            flags=int.from_bytes(fields.get(_ELEMENT_FLAGS, b""), "big"),
            end=_data(fields.get(_ELEMENT_KEY_END, b"")),
            value=found.get(1, b""),
            verdict=verdict,
            target=target,
        )


def _data(payload: bytes) -> bytes:
    return dict(attributes(payload)).get(1, b"")
