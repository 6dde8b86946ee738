# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The texts of a container's /etc/hosts, /etc/resolv.conf and /etc/hostname. Pure: nothing is read or written here.

Source: hosts(5), resolv.conf(5), hostname(5).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from .._base.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOST_GATEWAY = "host-gateway"  # in etc_hosts: the address at which the container reaches the host
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"  # where systemd-resolved lists the servers behind its stub
NO_NAMESERVER = (
    "the host's resolv.conf has no name server that a container in its own network can reach;"
    " names are not resolved in it, set dns_servers"
)

_LOCAL_LINES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
_KEPT = ("search", "domain", "options", "sortlist")


def _is_address(text: str) -> bool:
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def hosts_file(
    hostname: str, domainname: str = "", address: str = "", *, extra: Mapping[str, str] | None = None, gateway: str = ""
) -> str:
    """/etc/hosts: the local names, the `extra` names (name to address) and the container's own.

    An extra address `host-gateway` stands for `gateway`. Without an address of its own (network none) the container's
    name is 127.0.1.1. Raises Invalid, naming etc_hosts, for what can't be a line of that file.
    """
    lines = list(_LOCAL_LINES)
    for name, target in (extra or {}).items():
        lines.append(f"{_extra_address(name, target, gateway)}\t{name}")
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines.append(f"{address or '127.0.1.1'}\t{names}")
    return "\n".join(lines) + "\n"


def _extra_address(name: str, target: str, gateway: str) -> str:
    if not name or name.split() != [name] or "#" in name:
        raise Invalid(f"{name!r} is not a host name", option="etc_hosts")
    if target == HOST_GATEWAY:
        if not gateway:
            raise Invalid(f"{name}: {HOST_GATEWAY} needs a bridge network", option="etc_hosts")
        return gateway
    if not _is_address(target):
        raise Invalid(
            f"{name}: {target!r} is not an IP address",
            option="etc_hosts",
            hint=f"or write {HOST_GATEWAY} for the host's",
        )
    return target


def resolv_conf(host_text: str, *, dns_servers: Iterable[str] = (), own_network: bool = True) -> str:
    """/etc/resolv.conf from the host's, with `dns_servers` instead of its name servers where any are given.

    In a network namespace of its own a container reaches neither the host's loopback nor, for now, IPv6: those servers
    are left out. Where none remains the text has none (`has_nameserver`); nobody else's servers are put in their place.
    """
    servers = list(dns_servers)
    for server in servers:
        if not _is_address(server):
            raise Invalid(f"{server!r} is not an IP address", option="dns_servers")
    if not own_network and not servers:
        return host_text
    if not servers:
        servers = [server for server in _nameservers(host_text) if _is_reachable(server)]
    kept = [line.strip() for line in host_text.splitlines() if line.split(None, 1)[:1] and line.split()[0] in _KEPT]
    return "".join(line + "\n" for line in [f"nameserver {server}" for server in servers] + kept)


def choose_host_text(etc_text: str, resolved_text: str) -> str:
    """Which text to start from: /etc/resolv.conf's, or RESOLVED_CONF's where the former names only a local stub."""
    local_only = not any(_is_reachable(server) for server in _nameservers(etc_text))
    behind = any(_is_reachable(server) for server in _nameservers(resolved_text))
    return resolved_text if local_only and behind else etc_text


def has_nameserver(text: str) -> bool:
    """Whether the text of a resolv.conf names any server; where not, NO_NAMESERVER is the warning to give."""
    return bool(_nameservers(text))


def _nameservers(text: str) -> list[str]:
    """The name servers in order. A name server line has the keyword at its very beginning, or after spaces."""
    words = (line.split() for line in text.splitlines())
    return [line[1] for line in words if len(line) >= 2 and line[0] == "nameserver"]


def _is_reachable(server: str) -> bool:
    """Whether a container in its own network may reach it: IPv4 and not the host's loopback."""
    if not _is_address(server) or ":" in server:
        return False
    return not (server.startswith("127.") or server == "0.0.0.0")


def hostname_file(hostname: str) -> str:
    """/etc/hostname."""
    return hostname + "\n"
