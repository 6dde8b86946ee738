# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The live part of a plan, and a container's log in it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._engine.image_facts import ImageConfig
from ansible_collections.hull.engine.plugins.module_utils._engine.live_plan import live_plan
from ansible_collections.hull.engine.plugins.module_utils._engine.log_plan import expand, facility_number, log_plan
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import LaunchPlan, LogPlan, ProcessPlan

ID = "0123456789abcdef" * 4


def log_of(**options: Any) -> LogPlan:
    spec = container_spec({"name": "web", "image": "debian:12", **options})
    return log_plan(spec, ID, "/var/lib/hull/containers/x")


def test_a_log_without_options() -> None:
    path = "/var/lib/hull/containers/x/container.log"
    assert log_of() == LogPlan(path, 10 << 20, 3, tag=ID[:12], image="debian:12")
    assert log_of(log_driver="none").path == ""
    assert log_of(log_driver="journald").address == "unixgram:///run/systemd/journal/socket"
    assert log_of(log_driver="syslog").address == "unixgram:///dev/log"


def test_a_log_with_options() -> None:
    options = {"syslog-address": "udp://127.0.0.1", "syslog-facility": "local3", "syslog-format": "rfc5424"}
    plan = log_of(log_driver="syslog", log_options={**options, "mode": "blocking", "tag": "{{.Name}}/{{ .ID }}"})
    assert (plan.address, plan.facility, plan.format) == ("udp://127.0.0.1:514", 19, "rfc5424")
    assert plan.blocking and plan.tag == f"web/{ID[:12]}"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("tcp://192.0.2.7:601", "tcp://192.0.2.7:601"),
        ("udp://[::1]:514", "udp://[::1]:514"),
        ("udp://[::1]", "udp://[::1]:514"),
        ("unixgram:///run/x", "unixgram:///run/x"),
    ],
)
def test_addresses_of_receivers(given: str, seen: str) -> None:
    assert log_of(log_driver="syslog", log_options={"syslog-address": given}).address == seen


@pytest.mark.parametrize(
    "address",
    ["udp://127.0.0.1:x", "udp://name that is none:514", "tcp://127.0.0.1:99999999999", "udp://127.0.0.1:70000"],
)
def test_an_address_that_is_none_is_refused_by_name(address: str) -> None:
    with pytest.raises((NotFound, Invalid), match="syslog-address"):
        log_of(log_driver="syslog", log_options={"syslog-address": address})


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    with pytest.raises(Invalid, match="107"):
        log_of(log_driver="syslog", log_options={"syslog-address": "unixgram:///" + "x" * 107})


def test_tags() -> None:
    values = {".ID": "0123", ".Name": "web"}
    assert expand("{{.Name}}-{{ .ID }}!", values) == "web-0123!"
    assert expand("plain }} text", values) == "plain }} text"
    for wrong in ("{{.Nothing}}", "{{.Name", "{{}}", "{{Name}}"):
        with pytest.raises(Invalid, match="log_options"):
            expand(wrong, values)


def test_facilities() -> None:
    assert [facility_number(name) for name in ("kern", "daemon", "ftp", "local0", "local7")] == [0, 3, 11, 16, 23]


def test_the_live_part_of_a_plan_and_nothing_else_changes() -> None:
    process = ProcessPlan(("sleep",), ("A=1",), rlimits=(("nofile", 1, 2),))
    plan = LaunchPlan(ID, "web", "hull", "/c", "/r", ("/l",), process, "host", cgroup="hull/x", read_only=True)
    options = {
        "name": "web",
        "image": "other",
        "memory": "64M",
        "ulimits": ["nofile:5:6"],
        "restart_policy": "always",
        "stop_signal": "SIGUSR1",
        "stop_timeout": 3,
        "healthcheck": {"test": ["CMD", "true"], "interval": "5s"},
        "device_cgroup_rules": ["c 1:3 rw"],
        "oom_score_adj": 7,
    }
    spec = container_spec(options)
    changed = live_plan(plan, spec, ImageConfig())
    assert changed.limits["memory_bytes"] == 64 << 20
    assert ("nofile", 5, 6) in changed.process.rlimits and changed.process.oom_score_adj == 7
    assert (changed.restart.policy, changed.stop_signal, changed.stop_timeout_s) == ("always", 10, 3)
    assert changed.health is not None and changed.health.interval_ns == 5 * 10**9
    assert changed.device_rules == (("c", 1, 3, "rw"),)
    kept = ("container_id", "layers", "hostname", "cgroup", "read_only", "root_directory", "run_directory", "mounts")
    assert all(getattr(changed, name) == getattr(plan, name) for name in kept)
    assert replace(changed.process, rlimits=process.rlimits, oom_score_adj=0) == process


def test_what_is_not_given_any_more_is_the_images_or_the_default() -> None:
    plan = LaunchPlan(ID, "web", "hull", "/c", "/r", (), ProcessPlan(("sleep",), ()), "host", stop_signal=10)
    changed = live_plan(plan, ContainerSpec("web", "image"), ImageConfig(stop_signal="SIGQUIT"))
    assert (changed.stop_signal, changed.stop_timeout_s, changed.health) == (3, 10, None)
