# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What makes a connected socket private: TLS, and a proxy's tunnel for it. Loaded where a registry speaks TLS."""

from __future__ import annotations

import _socket
import socket
import ssl

from .._base.errors import RegistryError
from .connections import Connection, Stalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .connections import Proxy
    from .urls import Url


def open_tunnel(sock: Any, url: Url, proxy: Proxy, stall_timeout_s: float) -> None:
    """Let a proxy connect us to the origin of `url`. Raises RegistryError where it does not. Source: RFC 9110 9.3.6."""
    connection = Connection(sock, stall_timeout_s)
    host = f"[{url.host}]" if ":" in url.host else url.host
    lines = [f"CONNECT {host}:{url.port} HTTP/1.1", f"Host: {host}:{url.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = connection.receive_head()
    if head.status != 200:
        raise RegistryError(
            f"connect to {url.host}:{url.port} through proxy {proxy.host}:{proxy.port}: "
            f"the proxy answers {head.status} {head.reason[:100]}",
            status=head.status,
            hint="check HTTPS_PROXY, or add the registry to NO_PROXY",
        )


def start_tls(sock: Any, url: Url, context: ssl.SSLContext, stall_timeout_s: float) -> Any:
    """The socket with TLS on it; the one given is used up. Raises RegistryError for who is not who he should be."""
    plain = socket.socket(fileno=sock.detach())
    plain.settimeout(stall_timeout_s)
    try:
        return context.wrap_socket(plain, server_hostname=url.host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise RegistryError(
            f"connect to {url.authority}: its certificate is not accepted: {error.verify_message.rstrip('.')}",
            hint="check the host's name and clock; for a private authority set ca_file in registries.json, or put its "
            "certificate into certs.d",
        ) from error
    except _socket.timeout as error:
        plain.close()
        raise Stalled(f"no TLS handshake within {stall_timeout_s:g} s") from error
    except ssl.SSLError as error:
        plain.close()
        raise RegistryError(
            f"connect to {url.authority}: no TLS: {error.reason or 'handshake broken'}",
            hint="if this registry speaks HTTP without TLS, set plain_http for it in registries.json",
        ) from error
    except BaseException:
        plain.close()
        raise
