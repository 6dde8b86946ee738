# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Names; what bridges do is tested with real packets in tests/kernel."""

from __future__ import annotations

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._net import bridges


def test_the_default_engine_has_the_plain_names() -> None:
    assert (bridges.bridge_name(Paths()), bridges.table_name(Paths())) == ("hull0", "hull")


def test_another_engine_and_another_network_have_names_of_their_own_that_fit_the_kernel() -> None:
    other = Paths(root="/srv/hull")
    names = [bridges.bridge_name(paths, name) for paths in (Paths(), other) for name in ("bridge", "inner")]
    assert len(set(names)) == 4 and all(len(name) <= 15 for name in names)
    assert bridges.table_name(other) == f"hull-{other.instance}"
