# SPDX-License-Identifier: GPL-3.0-or-later
"""What engine.json's defaults make of a task, and which mistakes in them are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._engine.engine_settings import (
    EngineSettings,
    load_engine_settings,
)
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec

MIB = 1024 * 1024
LIMITS = {
    "memory": "512M",
    "memory_swap": "1G",
    "cpus": 1.5,
    "cpu_shares": 512,
    "pids_limit": 500,
    "ulimits": ["nofile=1024:4096"],
}
DEFAULTS = {"default_limits": LIMITS, "log_driver": "json-file", "log_options": {"max-size": "50m", "max-file": 7}}


def settings(directory: Path, document: dict[str, Any]) -> EngineSettings:
    (directory / "engine.json").write_text(json.dumps(document))
    return load_engine_settings(Paths(config=str(directory)))


def task(**options: Any) -> ContainerSpec:
    return container_spec({"name": "web", "image": "box", **options})


def test_without_a_file_a_spec_is_what_the_task_says(tmp_path: Path) -> None:
    found = load_engine_settings(Paths(config=str(tmp_path)))
    assert (found.address_pools, found.limits, found.cgroup) == ((), {}, "hull")
    assert found.apply(task(memory="1G")) == task(memory="1G")


def test_defaults_are_applied_and_not_given(tmp_path: Path) -> None:
    found = settings(tmp_path, DEFAULTS)
    spec = found.apply(task(image="other", env={"A": "b"}))
    assert spec.given == task(image="other", env={"A": "b"}).given
    assert (spec.name, spec.image, spec.env) == ("web", "other", {"A": "b"})
    limits = spec.limits
    assert (limits.memory_bytes, limits.memory_swap_bytes) == (512 * MIB, 1024 * MIB)
    assert (limits.cpu_quota_us, limits.cpu_period_us, limits.cpu_shares, limits.pids) == (150_000, 100_000, 512, 500)
    assert spec.ulimits == {"nofile": (1024, 4096)}
    assert (spec.log_driver, spec.log_max_size_bytes, spec.log_max_files) == ("json-file", 50 * MIB, 7)
    assert found.apply(spec) == spec


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"memory": "2G"}, {"memory_bytes": 2048 * MIB, "memory_swap_bytes": 0}),
        ({"memory": "0"}, {"memory_bytes": 0, "memory_swap_bytes": 0}),
        ({"memory_swap": "-1"}, {"memory_bytes": 512 * MIB, "memory_swap_bytes": -1}),
        ({"cpu_quota": 20000, "cpu_period": 10000}, {"cpu_quota_us": 20000, "cpu_period_us": 10000}),
        ({"cpus": 0}, {"cpu_quota_us": 0}),
        ({"pids_limit": -1}, {"pids": -1}),
        ({"cpu_shares": 0}, {"cpu_shares": 0}),
    ],
)
def test_what_the_task_gives_is_the_tasks_alone(
    tmp_path: Path, options: dict[str, Any], expected: dict[str, int]
) -> None:
    limits = settings(tmp_path, DEFAULTS).apply(task(**options)).limits.fields()
    assert {name: limits[name] for name in expected} == expected


def test_ulimits_and_log_options_of_a_task_are_not_mixed_with_the_hosts(tmp_path: Path) -> None:
    spec = settings(tmp_path, DEFAULTS).apply(task(ulimits=["nproc=10"], log_options={"tag": "x"}))
    assert spec.ulimits == {"nproc": (10, 10)}
    assert (spec.log_tag, spec.log_max_files) == ("x", ContainerSpec.log_max_files)


@pytest.mark.parametrize(("driver", "address"), [(None, "udp://192.0.2.7:514"), ("syslog", "udp://192.0.2.7:514")])
def test_options_of_a_driver_go_to_that_driver(tmp_path: Path, driver: str | None, address: str) -> None:
    document = {"log_driver": "syslog", "log_options": {"syslog-address": address}}
    spec = settings(tmp_path, document).apply(task(log_driver=driver))
    assert (spec.log_driver, spec.log_address) == ("syslog", address)


def test_options_of_another_driver_are_left_out(tmp_path: Path) -> None:
    document = {"log_driver": "syslog", "log_options": {"syslog-address": "udp://192.0.2.7:514"}}
    spec = settings(tmp_path, document).apply(task(log_driver="json-file"))
    assert (spec.log_driver, spec.log_address) == ("json-file", "")


def test_a_reservation_above_the_default_memory_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="memory_reservation: is more than the 536870912 bytes .*give memory too"):
        settings(tmp_path, DEFAULTS).apply(task(memory_reservation="1G"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"default_limits": {"memry": "1G"}}, "unknown key default_limits.memry; known there: memory, memory_swap"),
        ({"default_limits": {"memory": True}}, "default_limits.memory is not text or a whole number"),
        ({"default_limits": {"memory": "much"}}, "default_limits.memory: 'much'"),
        ({"default_limits": {"memory": "1M"}}, "default_limits.memory: .*the minimum is 6M"),
        ({"default_limits": {"memory_swap": "1G"}}, "default_limits.memory_swap: needs memory too"),
        ({"default_limits": {"pids_limit": "500"}}, "default_limits.pids_limit is not a whole number"),
        ({"default_limits": {"ulimits": ["nofiles=1"]}}, "default_limits.ulimits: 'nofiles' is not a limit"),
        ({"log_driver": "fluentd"}, "log_driver: 'fluentd' is not known; use json-file"),
        ({"log_options": {"max-sise": "1m"}}, "log_options: 'max-sise' is not known"),
        ({"default_address_pools": ["10.0.0.0/8"]}, r"default_address_pools\[0\] is not an object"),
        ({"default_address_pools": [{"base": "10.0.0.0/8"}]}, r"default_address_pools\[0\] has no size"),
        ({"default_address_pools": [{"base": "10.0.0.1/8", "size": 16}]}, r"pools\[0\]: .*write 10.0.0.0/8"),
    ],
)
def test_a_mistake_is_refused_with_file_key_and_cure(tmp_path: Path, document: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        settings(tmp_path, document)
    assert str(caught.value).startswith(f"read {tmp_path}/engine.json: ")
