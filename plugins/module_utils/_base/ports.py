# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A published port as `_net` decides it and `_runtime` plans it."""

from __future__ import annotations

from .values import Value


class PortPlan(Value):
    """A published port, all fields decided."""

    host_address: str
    host_port: int
    container_port: int
    protocol: str
