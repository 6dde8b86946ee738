# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Names and the choice of a subnet; what bridges do is tested with real packets in tests/kernel."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Conflict
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._net import bridges


def test_the_first_subnet_is_the_pools_first() -> None:
    assert bridges.choose_subnet([]) == "10.88.0.0/16"


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        (["10.88.0.0/16"], "10.89.0.0/16"),
        (["10.88.200.1/32", "10.89.4.0/22"], "10.90.0.0/16"),
        (["10.0.0.0/8"], "172.20.0.0/16"),
        (["10.64.0.0/10", "172.16.0.0/13"], "172.24.0.0/16"),
    ],
)
def test_subnets_that_the_host_uses_are_passed_over(taken: list[str], chosen: str) -> None:
    assert bridges.choose_subnet(taken) == chosen


def test_a_host_that_uses_all_of_them_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="routes to every subnet"):
        bridges.choose_subnet(["10.0.0.0/8", "172.16.0.0/12"])


def test_the_default_engine_has_the_plain_names() -> None:
    assert (bridges.bridge_name(Paths()), bridges.table_name(Paths())) == ("hull0", "hull")


def test_another_engine_and_another_network_have_names_of_their_own_that_fit_the_kernel() -> None:
    other = Paths(root="/srv/hull")
    names = [bridges.bridge_name(paths, name) for paths in (Paths(), other) for name in ("bridge", "inner")]
    assert len(set(names)) == 4 and all(len(name) <= 15 for name in names)
    assert bridges.table_name(other) == f"hull-{other.instance}"
