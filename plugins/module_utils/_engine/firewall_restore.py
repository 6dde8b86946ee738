# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The engine's own rules after somebody flushed all. Not in `firewall.py`: it brings what starts containers."""

from __future__ import annotations

from .._kernel.nftables import Nft
from .._kernel.rtnetlink import Route
from .._net.bridges import ensure_bridge, table_name
from .starting import published_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .engine import Engine


def restore(engine: Engine) -> bool:
    """Our own table with the published ports of running containers, where somebody flushed it; True if it was gone.

    For hosts whose bridge is there: where it is not, the next start of a container makes all of it anew.
    """
    database = engine.database()
    networks = database.networks() if database is not None else []
    with Route() as route, Nft() as nft:
        if nft.has_table(table_name(engine.paths)) or not any(route.link(network.bridge) for network in networks):
            return False
    for network in networks:
        ensure_bridge(engine.records, engine.paths, network.name, published=lambda: published_ports(engine))
    return True
