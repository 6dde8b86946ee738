# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Facts about links for inspection and repair, read with pyroute2: the only file that imports it.

Importing pyroute2 takes longer than starting a container, so nothing on the way of a start comes here and every import
is inside a function. What each start needs is rtnetlink.py's.
"""

from __future__ import annotations

from .._base.errors import Unsupported
from .rtnetlink import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_IFF_UP = 1


def _open() -> Any:
    import sys

    from .packages import package_directories

    sys.path[:0] = package_directories()
    try:
        from pyroute2 import IPRoute  # type: ignore[import-untyped]
    except ImportError as error:
        hint = "install python3-pyroute2, or use the role hull.engine.host"
        raise Unsupported("inspect links: pyroute2 is not installed", hint=hint) from error
    return IPRoute()


def list_links() -> list[Link]:
    """All links of this network namespace. Raises Unsupported without pyroute2."""
    with _open() as route:
        return [_link(message) for message in route.get_links()]


def orphans(prefix: str, alive: Collection[str]) -> list[Link]:
    """The veth links whose name begins with `prefix` and is none of the `alive` names, which containers account for.

    The kernel removes a veth pair with the container's namespace; one is an orphan where a process that the engine does
    not know has kept the namespace, and where links of our kind were made by somebody else, so nothing is deleted here.
    """
    return [
        link for link in list_links() if link.kind == "veth" and link.name.startswith(prefix) and link.name not in alive
    ]


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=str(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        alias=str(message.get_attr("IFLA_IFALIAS") or ""),
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        up=bool(message["flags"] & _IFF_UP),
        master=int(message.get_attr("IFLA_MASTER") or 0),
    )
