# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Host ports: choosing free ones, saying who holds one that is taken, and holding one for a container.

A published port is redirected by nftables before any socket sees it, so a socket of another process would go silent
without notice. A container's monitor therefore binds the port, without listening, for as long as it is published:
others can't take it, and a port that others have is found out before it is published. What users write is parsed
elsewhere. Light to import: the monitor is launch code.
"""

from __future__ import annotations

from _socket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EIO, errorcode

from .._base.errors import Conflict, Denied, Invalid, SyscallError
from .._base.ports import PortPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .._base.spec import PortSpec

    Key = tuple[str, int, str]  # host address, host port, protocol

_OPTION = "published_ports"
_ANY = ("", "0.0.0.0")
_SOCKET_TYPES = {"tcp": SOCK_STREAM, "udp": SOCK_DGRAM}
_CHOICES = 64


def _describe(address: str, port: int, protocol: str) -> str:
    return f"{address}:{port}/{protocol}"


def _check(address: str, protocol: str) -> None:
    if protocol not in _SOCKET_TYPES:
        raise Invalid(f"protocol {protocol!r} can't be published", option=_OPTION, hint="use tcp or udp")
    if ":" in address:
        raise Invalid(f"[{address}]: IPv6 addresses can't be published on", option=_OPTION, hint="use an IPv4 address")


def _clash(one: Key, other: Key) -> bool:
    """Whether two published ports want the same packets."""
    same_address = one[0] == other[0] or one[0] in _ANY or other[0] in _ANY
    return same_address and one[1:] == other[1:]


def choose_ports(specs: Iterable[PortSpec], in_use: Collection[Key]) -> tuple[PortPlan, ...]:
    """The ports with every host port decided; a `host_port` of 0 becomes a free one of the kernel's local port range.

    Ports in `in_use` are not chosen, nor are those that any socket has. A port that the specs themselves ask for twice
    raises Invalid. Nothing is held afterwards: the monitor's `reserve` has the last word.
    """
    wanted = list(specs)
    taken = list(in_use)
    for spec in wanted:
        _check(spec.host_address, spec.protocol)
        if not spec.host_port:
            continue
        key = (spec.host_address, spec.host_port, spec.protocol)
        if any(_clash(key, other) for other in taken[len(in_use) :]):
            raise Invalid(f"{_describe(*key)} is published twice", option=_OPTION)
        taken.append(key)
    plans = []
    for spec in wanted:
        host_port = spec.host_port or _free_port(spec.host_address, spec.protocol, taken)
        if not spec.host_port:
            taken.append((spec.host_address, host_port, spec.protocol))
        plans.append(
            PortPlan(
                host_address=spec.host_address or _ANY[1],
                host_port=host_port,
                container_port=spec.container_port,
                protocol=spec.protocol,
            )
        )
    return tuple(plans)


def _free_port(address: str, protocol: str, taken: list[Key]) -> int:
    """A port that the kernel gives to whoever asks for any, and that is not in `taken`."""
    refused: list[socket] = []
    try:
        while len(refused) < _CHOICES:
            holder = _bound(address, 0, protocol)
            refused.append(holder)
            port = int(holder.getsockname()[1])
            if not any(_clash((address, port, protocol), other) for other in taken):
                return port
    finally:
        for holder in refused:
            holder.close()
    raise Conflict(
        f"{_OPTION}: no free {protocol} port on {address or _ANY[1]}", hint="widen net.ipv4.ip_local_port_range"
    )


def check_free(port: PortPlan, holders: Mapping[Key, str]) -> None:
    """Raise Conflict, naming who it is, where a port is taken: by a container in `holders` or by any process."""
    key = (port.host_address, port.host_port, port.protocol)
    for other, container in holders.items():
        if _clash(key, other):
            raise Conflict(
                f"{_OPTION}: {_describe(*key)} is in use by container {container}",
                hint="stop that container or publish on another host port",
            )
    _bound(*key).close()


def reserve(port: PortPlan) -> int:
    """A descriptor, the caller's to close, of a socket that holds the port: bound, not listening, close-on-exec.

    Raises Conflict naming the process that has the port, Invalid for an address that is not this host's.
    """
    return _bound(port.host_address, port.host_port, port.protocol).detach()


def _bound(address: str, port: int, protocol: str) -> socket:
    _check(address, protocol)
    holder = socket(AF_INET, _SOCKET_TYPES[protocol])
    try:
        try:
            holder.bind((address or _ANY[1], port))
        except OSError as error:
            if error.errno != EADDRINUSE or protocol != "tcp":
                raise
            # A server's connections in TIME_WAIT keep its port from who does not ask to reuse it. Afterwards the
            # socket is made an ordinary holder again, for nobody else shall reuse it.
            holder.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            holder.bind((address or _ANY[1], port))
            holder.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0)
    except OSError as error:
        holder.close()
        raise _bind_error(error, address or _ANY[1], port, protocol) from error
    return holder


def _bind_error(error: OSError, address: str, port: int, protocol: str) -> Exception:
    what = _describe(address, port, protocol)
    number = error.errno or EIO
    if number == EADDRINUSE:
        return Conflict(
            f"{_OPTION}: {what} is in use by {_holder(port, protocol)}",
            hint="stop it or publish on another host port",
        )
    if number == EADDRNOTAVAIL:
        return Invalid(f"{address} is not an address of this host", option=_OPTION)
    if number == EACCES:
        return Denied(f"{_OPTION}: {what} can't be bound", hint="ports below 1024 are root's")
    return SyscallError(f"bind {what}: {errorcode.get(number, number)}", errno=number)


def _holder(port: int, protocol: str) -> str:
    """Who has the port, as far as /proc tells."""
    from .port_holders import find_holder  # only on the way to an error

    return find_holder(port, protocol) or "another process"
