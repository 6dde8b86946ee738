# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write for published ports, as PortSpecs. Pure.

Forms as in docker_container and Docker's -p: `80`, `8080:80`, `127.0.0.1:8080:80`, `127.0.0.1::80`, ranges such as
`8000-8002:80-82`, with `/tcp`, `/udp` or `/sctp`.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import PortSpec

_OPTION = "published_ports"
_PROTOCOLS = ("tcp", "udp")
_HINT = "write 80, 8080:80, 127.0.0.1:8080:80 or 8000-8002:80-82, with /tcp or /udp"


def _port_range(text: str, whole: str) -> range:
    low, dash, high = text.partition("-")
    ports = [low, high] if dash else [low, low]
    if not all(port.isascii() and port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise Invalid(f"{text!r} in {whole!r} is not a port", option=_OPTION, hint=_HINT)
    first, last = (int(port) for port in ports)
    if last < first:
        raise Invalid(f"{text!r} in {whole!r} is not a range of ports", option=_OPTION, hint=_HINT)
    return range(first, last + 1)


def _check_address(address: str, whole: str) -> str:
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    family = AF_INET6 if ":" in address else AF_INET
    try:
        return inet_ntop(family, inet_pton(family, address))
    except OSError as error:
        raise Invalid(f"{address!r} in {whole!r} is not an IP address", option=_OPTION, hint=_HINT) from error


def parse_port(text: str, *, default_address: str = "0.0.0.0") -> list[PortSpec]:
    """The PortSpecs of one entry; more than one for a range."""
    body, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise Invalid(f"{protocol!r} in {text!r} is not a protocol", option=_OPTION, hint="use tcp or udp")
    rest, _, inside = body.rpartition(":")
    address, outside = default_address, rest
    if rest.startswith("["):
        address, _, outside = rest[1:].partition("]")
        outside = outside[1:]
    elif rest.count(":") == 1:
        address, _, outside = rest.partition(":")
    elif ":" in rest:
        raise Invalid(f"{text!r} is not a port", option=_OPTION, hint="put an IPv6 address into brackets")
    container_ports = _port_range(inside, text)
    host_ports = _port_range(outside, text) if outside else [0] * len(container_ports)
    if len(host_ports) != len(container_ports):
        raise Invalid(f"{text!r} maps ranges of different lengths", option=_OPTION, hint=_HINT)
    address = _check_address(address or default_address, text)
    return [
        PortSpec(container_port, host_port, address, protocol)
        for container_port, host_port in zip(container_ports, host_ports)
    ]


def parse_ports(entries: list[object], *, default_address: str = "0.0.0.0") -> tuple[PortSpec, ...]:
    """All published ports, in order, each once. Raises Invalid where a host port is given to two container ports."""
    found: dict[PortSpec, None] = {}
    for entry in entries:
        for port in parse_port(str(entry), default_address=default_address):
            found[port] = None
    taken: dict[tuple[str, int, str], PortSpec] = {}
    for port in found:
        key = (port.host_address, port.host_port, port.protocol)
        if port.host_port and taken.setdefault(key, port) != port:
            raise Invalid(f"host port {port.host_port}/{port.protocol} is published twice", option=_OPTION)
    return tuple(found)
