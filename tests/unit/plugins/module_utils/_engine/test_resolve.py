# SPDX-License-Identifier: GPL-3.0-or-later
"""From the spec to a plan: what would reach beyond the container is refused."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.resolve import _check_sysctls


@pytest.mark.parametrize(
    ("key", "modes"),
    [
        ("kernel.core_pattern", {}),
        ("kernel.hostname", {}),
        ("vm.overcommit_memory", {}),
        ("fs.file-max", {}),
        ("net/ipv4/ip_forward", {}),
        ("net..core", {}),
        ("kernel.shm/../core_pattern", {}),
        ("kernel.shmmax", {"ipc_mode": "host"}),
        ("fs.mqueue.msg_max", {"ipc_mode": "host"}),
        ("net.ipv4.ip_forward", {"network_mode": "host"}),
        ("net.ipv4.ip_forward", {"network_mode": "container:other"}),
    ],
)
def test_s15_a_setting_that_is_not_the_containers_own_is_refused(key: str, modes: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="sysctls"):
        _check_sysctls(ContainerSpec(name="a", image="b", sysctls={key: "1"}, **modes))


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max"])
def test_s15_a_setting_of_an_own_namespace_is_taken(key: str) -> None:
    assert _check_sysctls(ContainerSpec(name="a", image="b", sysctls={key: "1"})) == {key: "1"}
