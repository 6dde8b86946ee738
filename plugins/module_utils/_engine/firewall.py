# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Other programs' firewalls in the way of containers: told, opened for our bridges, closed again.

Nothing of a firewall is changed unless somebody asks for it (`open_ways`): who runs one has a reason. What is told is
what the kernel's rules do with two packets, a container's to the world and one to a published port.
"""

from __future__ import annotations

from .._base.plan import Action, Outcome
from .._base.values import Value
from .._kernel.firewalls import Firewalls, manager_of
from .._kernel.packet_walk import Packet
from .._kernel.rtnetlink import Route
from .._net.addresses import address_range, to_text
from .._net.bridges import bridge_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.features import Lack
    from .._kernel.firewalls import Chain, Obstacle
    from .engine import Engine

_MANAGERS = ("firewalld", "ufw", "docker")
_ANY_SUBNET = "10.88.0.0/16"  # where there is no network yet
_WORLD = "203.0.113.1"  # TEST-NET-3: an address that no host has
_ROLE = "let the role hull.engine.host do it"
_CURES = {
    "firewalld": f"{_ROLE}, or give firewalld a zone for hull+ and a policy from it to ANY, as docs/hosts.md shows",
    "ufw": f"{_ROLE}, or: ufw route allow in on hull+ && ufw route allow out on hull+",
    "docker": f"{_ROLE}, or: hull firewall --open (again whenever Docker starts)",
    "iptables": f"{_ROLE}, or: hull firewall --open (again whenever those rules are loaded)",
    "nftables": f"{_ROLE}, or: hull firewall --open (again whenever those rules are loaded)",
}


class Blocked(Value):
    """A chain in the way, and of what: what containers send to other hosts, what these send to published ports."""

    obstacle: Obstacle
    outward: bool
    inward: bool

    @property
    def why(self) -> str:
        """What is in the way of what."""
        ends = []
        if self.outward:
            ends.append("containers of a bridge network reach no other host")
        if self.inward:
            ends.append("other hosts reach no published port")
        return f"{self.obstacle}: {', '.join(ends)}"

    @property
    def cure(self) -> str:
        """What to do about it."""
        return _CURES[self.obstacle.manager]


def blocked(engine: Engine) -> list[Blocked]:
    """The chains that are in the way of a bridge network's packets, now. About a millisecond where there is none."""
    outward, inward = _packets(engine)
    with Firewalls() as firewalls:
        out = firewalls.obstacles(outward)
        back = firewalls.obstacles(inward)
    return [Blocked(obstacle, obstacle in out, obstacle in back) for obstacle in dict.fromkeys([*out, *back])]


def lacks(engine: Engine) -> list[Lack]:
    """The same as lacks of the host."""
    from .._kernel.features import Lack

    return [Lack(f"way through the firewall ({one.obstacle.manager})", one.why, one.cure) for one in blocked(engine)]


def managers() -> list[str]:
    """The programs whose firewall is in the kernel: firewalld, ufw, docker."""
    with Firewalls() as firewalls:
        chains = firewalls.chains()
    found = {manager_of(chain, chains) for chain in chains if chain.hook >= 0}
    return [name for name in _MANAGERS if name in found]


def warning(engine: Engine, *, publishes: bool) -> list[str]:
    """What to tell with a new container of a bridge network: a line, or none where nothing is in its way."""
    found = [one for one in blocked(engine) if one.outward or publishes]
    more = f" (and {len(found) - 1} more: hull info)" if found[1:] else ""
    return [f"{one.why}{more}; {one.cure}" for one in found[:1]]


def ensure(engine: Engine, *, opened: bool, check: bool = False) -> Outcome:
    """What the firewall module does."""
    if not opened:
        actions = tuple(Action("closed", str(chain)) for chain in close_ways(check=check))
        return Outcome(bool(actions), actions, {"open": [action.subject for action in actions]}, {"open": []})
    found = _to_be_opened(engine)
    actions = tuple(Action("opened", str(obstacle.chain), str(obstacle)) for obstacle in found)
    if not check:
        _open(found)
    return Outcome(bool(actions), actions, {"open": []}, {"open": [action.subject for action in actions]})


def open_ways(engine: Engine) -> list[Chain]:
    """Let containers through the chains that are in their way; those chains. Idempotent.

    firewalld and ufw keep what they let through themselves, and write their chains anew: they are left to the role.
    """
    found = _to_be_opened(engine)
    _open(found)
    return [obstacle.chain for obstacle in found]


def close_ways(*, check: bool = False) -> list[Chain]:
    """Take back what `open_ways` has opened, everywhere; the chains. Idempotent."""
    with Firewalls() as firewalls:
        if not check:
            return firewalls.close_ways()
        return list(dict.fromkeys(chain for chain, _handle in firewalls.ways()))


def _to_be_opened(engine: Engine) -> list[Obstacle]:
    return [one.obstacle for one in blocked(engine) if one.obstacle.manager not in ("firewalld", "ufw")]


def _open(obstacles: list[Obstacle]) -> None:
    with Firewalls() as firewalls:
        for obstacle in obstacles:
            firewalls.open_way(obstacle.chain)


def _packets(engine: Engine) -> tuple[Packet, Packet]:
    """A connection from the first container outward, and one from another host to its published port."""
    database = engine.database()
    networks = database.networks() if database is not None else []
    bridge = networks[0].bridge if networks else bridge_name(engine.paths)
    container = to_text(address_range(networks[0].subnet if networks else _ANY_SUBNET)[0] + 2)
    with Route() as route:
        links = {link.index: link.name for link in route.links()}
        uplink = next((found.index for found in route.routes() if found.destination == "0.0.0.0/0"), 0)
        inside = route.link_index(bridge) or 0
    outside = links.get(uplink, "eth0")
    return (
        Packet(bridge, outside, container, _WORLD, 443, False, inside, uplink),
        Packet(outside, bridge, _WORLD, container, 80, True, uplink, inside),
    )
