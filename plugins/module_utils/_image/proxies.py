# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which proxy the environment names for a host: HTTPS_PROXY, HTTP_PROXY and NO_PROXY in either case.

A loopback host never has a proxy. HTTP_PROXY in capitals is honoured, as in Go and unlike in CGI programs: nothing
here runs with an environment that a web client wrote.
"""

from __future__ import annotations

from .._base.errors import Invalid, Unsupported
from .connections import Proxy
from .urls import Url, split_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_HEX = "0123456789abcdefABCDEF"


def is_loopback(host: str) -> bool:
    """Whether the host (no port) is this machine by its name or address: localhost, 127.0.0.0/8, ::1."""
    if host == "localhost" or host.endswith(".localhost") or host == "::1":
        return True
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdigit() and int(part) < 256 for part in parts)


def find_proxy(url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for requests to `url`, or None. Raises Invalid and Unsupported for what is not an HTTP proxy."""
    if is_loopback(url.host):
        return None
    name = f"{url.scheme}_proxy"
    text = environ.get(name.upper()) or environ.get(name) or ""
    excepted = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if not text or any(_matches(entry.strip().lower(), url) for entry in excepted.split(",")):
        return None
    return _parse_proxy(text, name.upper())


def _parse_proxy(text: str, variable: str) -> Proxy:
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "http", text.strip()
    if scheme.lower() != "http":
        raise Unsupported(f"{variable}: proxies of type {scheme[:20]} are not supported", hint="name an http:// proxy")
    user, _, authority = rest.partition("/")[0].rpartition("@")
    host, port = split_port(authority, 80)
    if not host or port < 1:
        raise Invalid("not a proxy's URL", option=variable, hint="write it like http://proxy.example.org:3128")
    return Proxy(host, port, basic_authorization(_unquote(user)) if user else "")


def basic_authorization(user_and_password: str) -> str:
    """The value of an Authorization header of the Basic scheme, from `user:password`. Source: RFC 7617."""
    from binascii import b2a_base64

    return "Basic " + b2a_base64(user_and_password.encode(), newline=False).decode()


def _unquote(text: str) -> str:
    first, *rest = text.split("%")
    result = first.encode()
    for part in rest:
        is_escape = len(part) >= 2 and part[0] in _HEX and part[1] in _HEX
        result += bytes([int(part[:2], 16)]) + part[2:].encode() if is_escape else b"%" + part.encode()
    return result.decode("utf-8", "replace")


def _matches(entry: str, url: Url) -> bool:
    """Whether one entry of NO_PROXY (a host, a suffix, an address, a network, either with a port) covers a URL."""
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(entry, url.host)
    host, port = (entry, 0) if entry.count(":") > 1 and not entry.startswith("[") else split_port(entry, 0)
    if port not in (0, url.port):
        return False
    suffix = host[1:] if host.startswith("*.") else host
    return url.host == suffix.lstrip(".") or url.host.endswith("." + suffix.lstrip("."))


def _in_network(network: str, host: str) -> bool:
    if not (":" in host or host.replace(".", "").isdigit()):
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
