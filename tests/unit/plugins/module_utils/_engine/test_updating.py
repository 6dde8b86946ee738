# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.module_utils._engine.updating import changed_spec

MIB = 1 << 20
ACTUAL = container_spec(
    {"name": "web", "image": "small", "memory": "64M", "labels": {"a": "1"}, "env": {"A": "b"}, "pids_limit": 50}
)


def test_what_is_not_named_stays() -> None:
    changed = changed_spec(ACTUAL, {"memory": "32M", "restart_policy": "on-failure:3", "labels": {"b": "2"}})
    assert (changed.limits.memory_bytes, changed.limits.pids) == (32 * MIB, 50)
    assert (changed.restart_policy, changed.restart_retries) == ("on-failure", 3)
    assert changed.labels == {"a": "1", "b": "2"} and changed.env == {"A": "b"}
    assert set(changed.given) >= {"memory", "restart_policy", "labels", "env", "pids_limit"}


def test_limits_of_memory_have_to_fit_those_that_are_there() -> None:
    assert changed_spec(ACTUAL, {"memory_swap": "128M"}).limits.memory_swap_bytes == 128 * MIB
    with pytest.raises(Invalid, match="memory_swap: is less than memory"):
        changed_spec(ACTUAL, {"memory_swap": "32M"})
    with pytest.raises(Invalid, match="memory_reservation: is more than memory"):
        changed_spec(ACTUAL, {"memory_reservation": "1G"})


@pytest.mark.parametrize("options", [{}, {"memory": "many"}, {"restart_policy": "sometimes"}])
def test_nothing_and_nonsense_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        changed_spec(ACTUAL, options)
