# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options of community.docker's modules that say where the Docker daemon is, for tasks that come from there.

There is no daemon here, so those that describe a connection on this host mean nothing and are accepted; one that leads
to another host would make the task act on the wrong one, and is refused.

Documented in `plugins/doc_fragments/docker.py`; `tests/unit/test_documentation.py` compares.
"""

from __future__ import annotations

import os

from .._base.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "docker_host": {"type": "str", "aliases": ["docker_url"]},
    "tls_hostname": {"type": "str"},
    "api_version": {"type": "str", "aliases": ["docker_api_version"]},
    "timeout": {"type": "int"},
    "ca_path": {"type": "path", "aliases": ["ca_cert", "tls_ca_cert", "cacert_path"]},
    "client_cert": {"type": "path", "aliases": ["tls_client_cert", "cert_path"]},
    "client_key": {"type": "path", "aliases": ["tls_client_key", "key_path"]},
    "tls": {"type": "bool"},
    "validate_certs": {"type": "bool", "aliases": ["tls_verify"]},
    "use_ssh_client": {"type": "bool"},
    "debug": {"type": "bool"},
}
_HERE = ("localhost", "127.0.0.1", "[::1]")


def refuse_other_hosts(options: dict[str, Any]) -> None:
    """Raise Unsupported where `docker_host`, or DOCKER_HOST in the environment, names another host than this one."""
    option, address = "docker_host", options["docker_host"]
    if not address:
        option, address = "DOCKER_HOST", os.environ.get("DOCKER_HOST", "")
    scheme, _, place = address.partition("://")
    if not address or scheme == "unix":
        return
    host = place.partition("/")[0].rpartition("@")[2]
    host = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if scheme in ("tcp", "http", "https") and host in _HERE:
        return
    raise Unsupported(
        f"{option}: {_without_secrets(address)} leads to another host, and no daemon is spoken to",
        hint="put that host into the inventory, or delegate the task to it with delegate_to",
    )


def _without_secrets(address: str) -> str:
    """A URL without user and password."""
    scheme, separator, rest = address.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
