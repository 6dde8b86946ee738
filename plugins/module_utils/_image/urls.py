# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The part of URLs that a registry client meets: http and https, host, port, path with query.

`urllib.parse` does more and costs the import of `re`. User information and fragments are not allowed in URLs here.

Source: RFC 3986 sections 3 and 5.2.
"""

from __future__ import annotations

from .._base.errors import RegistryError
from .._base.values import Value

_PORTS = {"http": 80, "https": 443}
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_LINK_LOCAL = bytes((169, 254))
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address in an IPv6 one
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_ADDRESS = frozenset("0123456789abcdef:.")
_KEPT = _UNRESERVED | frozenset(b"!#$%&'()*+,/:;=?@[]")


class Url(Value):
    """An absolute URL. The host is lower case, an IPv6 address without brackets; target is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What decides whether a request may carry the credentials of another."""
        return (self.scheme, self.host, self.port)

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """For messages: without the query, which may hold a signature."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


def parse_url(text: str) -> Url:
    """The URL in a text that a server or a setting gave. Raises RegistryError where it is not one we follow."""
    scheme, mark, rest = text.strip().partition("://")
    scheme = scheme.lower()
    cut = min((place for place in (rest.find(sign) for sign in "/?#") if place >= 0), default=len(rest))
    authority, tail = rest[:cut], rest[cut:].partition("#")[0]
    host, port = split_port(authority, _PORTS.get(scheme, 0))
    host = host.lower()
    is_host = bool(host) and (_ADDRESS if authority.startswith("[") else _HOST).issuperset(host)
    if not mark or scheme not in _PORTS or not is_host or port < 1:
        shown = text.partition("?")[0].rpartition("@")[2]  # a password may stand before it
        raise RegistryError(f"read URL {shown[:200]!r}: not an http or https URL")
    return Url(scheme, host, port, _quoted(tail if tail.startswith("/") else "/" + tail))


def join_url(base: Url, location: str) -> Url:
    """Where a redirect's Location, absolute or relative, leads. Raises RegistryError."""
    location = location.strip().partition("#")[0]
    head = location.partition("?")[0]
    if "://" in head:
        return parse_url(location)
    if location.startswith("//"):
        return parse_url(f"{base.scheme}:{location}")
    path = base.target.partition("?")[0]
    if location.startswith("?"):
        location = path + location
    elif not location.startswith("/"):
        location = path.rpartition("/")[0] + "/" + location
    return Url(base.scheme, base.host, base.port, _quoted(location))


def is_link_local(host: str) -> bool:
    """Whether a host is an address, in any spelling, of the networks where clouds tell a host its secrets."""
    from _socket import AF_INET6, inet_aton, inet_pton

    try:
        address = inet_pton(AF_INET6, host) if ":" in host else inet_aton(host)
    except OSError:
        return False
    if address.startswith(_MAPPED):
        address = address[len(_MAPPED) :]
    return address[:2] == _LINK_LOCAL if len(address) == 4 else address[0] == 0xFE and address[1] & 0xC0 == 0x80


def split_port(authority: str, default: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port`; the host empty or the port -1 where it can't be read."""
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
    else:
        host, colon, port = authority.partition(":")
        rest = colon + port
    if not rest or rest == ":":
        return host, default
    digits = rest[1:]
    is_port = rest[0] == ":" and digits.isascii() and digits.isdigit() and int(digits) < 65536
    return host, int(digits) if is_port else -1


def quote(text: str) -> str:
    """The text as one value in a query, everything but unreserved characters percent-encoded."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _quoted(target: str) -> str:
    """A target in which nothing can end the request line: spaces, controls and non-ASCII are percent-encoded."""
    return "".join(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in target.encode())
