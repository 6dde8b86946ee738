# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Every option of the container module: given twice it is no change, given otherwise it is one, live where that can be.

The module is called as Ansible calls it, with real containers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Hull, engine_in
from tests.support import task
from tests.support.images import busybox_layer
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BASE = {"image": "box", "pull": "never", "network_mode": "none", "command": "sleep 1000", "init": True}
DISK = next((f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if os.path.exists(f"/dev/{name}")), "")
RATES = [{"path": DISK, "rate": "1M"}], [{"path": DISK, "rate": "2M"}]
OPERATIONS = [{"path": DISK, "rate": 100}], [{"path": DISK, "rate": 200}]
LIVE: dict[str, tuple[Any, Any]] = {
    "memory": ("64M", "96M"),
    "memory_reservation": ("16M", "32M"),
    "memory_swappiness": (10, 20),
    "kernel_memory": ("32M", "48M"),
    "oom_killer": (False, True),
    "oom_score_adj": (100, 200),
    "cpus": (0.5, 0.7),
    "cpu_period": (50000, 60000),
    "cpu_quota": (30000, 40000),
    "cpu_shares": (512, 256),
    "cpuset_cpus": ("0", "0-1"),
    "cpuset_mems": ("", "0"),
    "pids_limit": (50, 60),
    "blkio_weight": (300, 400),
    "device_read_bps": RATES,
    "device_write_bps": RATES,
    "device_read_iops": OPERATIONS,
    "device_write_iops": OPERATIONS,
    "device_cgroup_rules": (["c 42:* rwm"], ["c 43:1 r"]),
    "ulimits": (["nofile:100:200"], ["nofile:150:200"]),
    "restart_policy": ("on-failure", "always"),
    "stop_signal": ("SIGINT", "SIGQUIT"),
    "healthcheck": ({"test": "true", "interval": "50s"}, {"test": "true", "interval": "60s"}),
    "labels": ({"a": "1"}, {"a": "2"}),
    "log_options": ({"max-size": "1m"}, {"max-size": "2m", "max-file": "4"}),
}
RECREATING: dict[str, tuple[Any, Any]] = {
    "command": ("sleep 1000", ["sleep", "1001"]),
    "entrypoint": (["/bin/env"], ["/bin/env", "-i"]),
    "env": ({"A": "1"}, {"A": "2"}),
    "user": ("5", "6"),
    "groups": (["5"], ["6"]),
    "working_dir": ("/tmp", "/var"),
    "hostname": ("one", "two"),
    "domainname": ("one.test", "two.test"),
    "tty": (False, True),
    "interactive": (False, True),
    "init": (True, False),
    "auto_remove": (False, True),
    "volumes": (["/tmp:/mnt:ro", "named:/named"], ["/tmp:/mnt", "named:/named"]),
    "mounts": (
        [{"type": "tmpfs", "target": "/mnt", "tmpfs_size": "1M"}],
        [{"type": "tmpfs", "target": "/mnt", "tmpfs_size": "2M"}],
    ),
    "tmpfs": (["/scratch"], ["/scratch:size=1m"]),
    "volumes_from": ([], ["source:ro"]),
    "network_mode": ("none", "host"),
    "published_ports": (["127.0.0.1:48080:80"], ["127.0.0.1:48081:80"]),
    "dns_servers": (["192.0.2.1"], ["192.0.2.2"]),
    "etc_hosts": ({"a": "192.0.2.1"}, {"a": "192.0.2.2"}),
    "cgroup_parent": ("one", "two"),
    "cgroupns_mode": ("private", "host"),
    "shm_size": ("8M", "16M"),
    "sysctls": ({"kernel.shmmni": "100"}, {"kernel.shmmni": "200"}),
    "privileged": (False, True),
    "capabilities": (["SYS_TIME"], ["SYS_NICE"]),
    "cap_drop": (["CHOWN"], ["SETUID"]),
    "security_opts": (["no-new-privileges"], ["no-new-privileges:false"]),
    "read_only": (False, True),
    "devices": (["/dev/null:/dev/nil"], ["/dev/null:/dev/nil:r"]),
    "pid_mode": ("", "host"),
    "ipc_mode": ("private", "none"),
    "uts": ("", "host"),
    "userns_mode": ("host", "auto"),
    "log_driver": ("json-file", "none"),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with an image and a container with a volume."""
    place = tmp_path_factory.mktemp("engine")
    (place / "box.tar").write_bytes(busybox_layer().tar)
    for hull in engine_in(place, registry):
        hull("import", "-c", "ENV LANG=C", "-c", "LABEL maker=us", str(place / "box.tar"), "box")
        hull("create", "--name", "source", "-v", "/data", "--network", "none", "box", "true")
        yield hull


class Container:
    """A container, as the module makes it."""

    def __init__(self, engine: Hull, name: str) -> None:
        self._engine, self._name = engine, name

    def task(self, **options: Any) -> dict[str, Any]:
        """Do a task with these options beside the usual ones; None takes one away."""
        given = {"name": self._name, **BASE, **options}
        return task.do(
            self._engine.env, "container", **{name: value for name, value in given.items() if value is not None}
        )

    def attempt(self, **options: Any) -> dict[str, Any]:
        """The result of a task that may fail."""
        return task.attempt(self._engine.env, "container", **{"name": self._name, **BASE, **options})

    def inspect(self) -> dict[str, Any]:
        """What the command says of it."""
        facts: dict[str, Any] = json.loads(self._engine("inspect", self._name))[0]
        return facts

    def check(self, **options: Any) -> dict[str, Any]:
        """The task in check mode, which touches nothing."""
        before = self.inspect()
        result = self.task(_ansible_check_mode=True, **options)
        assert self.inspect() == before
        return result


@pytest.fixture
def it(engine: Hull) -> Iterator[Container]:
    """Removed at the end."""
    yield Container(engine, "it")
    engine.run("rm", "-fv", "it")


@pytest.fixture(scope="module")
def runs(engine: Hull) -> Iterator[Container]:
    """One for all tests of the module that runs on."""
    yield Container(engine, "runs")
    engine.run("rm", "-fv", "runs")


def verbs(result: dict[str, Any]) -> list[str]:
    return [next(iter(action)) for action in result["actions"]]


def test_the_tables_know_every_option_that_is_compared() -> None:
    from ansible_collections.hull.engine.plugins.module_utils._engine.option_fields import FIELDS

    live = {option for option, field in FIELDS.items() if field.live}
    assert live - LIVE.keys() == {"memory_swap", "restart_retries", "stop_timeout"}  # these have tests of their own
    assert FIELDS.keys() - live - RECREATING.keys() == {"storage_opts", "runtime"}  # no other value works


@pytest.mark.parametrize("option", LIVE)
def test_changed_live(runs: Container, option: str) -> None:
    before, after = LIVE[option]
    runs.task(**{option: before})
    now = runs.inspect()
    again = runs.task(**{option: before})
    assert not again["changed"] and again["actions"] == []
    foreseen = runs.check(**{option: after})
    done = runs.task(**{option: after})
    assert verbs(done) == verbs(foreseen) == ["updated"]
    assert done["actions"][0]["reason"] == option
    assert done["diff"]["before"][option] != done["diff"]["after"][option]
    assert foreseen["diff"] == done["diff"]
    assert not runs.task(**{option: after})["changed"]
    assert done["container"]["Id"] == now["Id"]
    assert done["container"]["State"]["Pid"] == now["State"]["Pid"] > 0
    assert done["container"]["HostConfig"] != now["HostConfig"] or done["container"]["Config"] != now["Config"]


@pytest.mark.parametrize("option", RECREATING)
def test_made_anew(it: Container, option: str) -> None:
    before, after = RECREATING[option]
    base = {"state": "present", **({"network_mode": "bridge"} if option == "published_ports" else {})}
    base = {**base, "init": None} if option == "init" else base
    made = it.task(**{**base, option: before})
    again = it.task(**{**base, option: before})
    assert not again["changed"] and again["actions"] == []
    foreseen = it.check(**{**base, option: after})
    done = it.task(**{**base, option: after})
    assert verbs(done) == verbs(foreseen) == ["recreated"]
    assert done["actions"][0]["reason"] == option
    assert done["diff"]["before"][option] != done["diff"]["after"][option]
    assert done["diff"]["after"]["recreated"] == option
    assert foreseen["diff"] == done["diff"]
    assert not it.task(**{**base, option: after})["changed"]
    assert done["container"]["Id"] != made["container"]["Id"]


def test_memory_and_swap_change_together(runs: Container) -> None:
    runs.task(memory="64M", memory_swap="128M")
    assert not runs.task(memory="64M", memory_swap="128M")["changed"]
    done = runs.task(memory="64M", memory_swap="256M")
    assert (verbs(done), done["actions"][0]["reason"]) == (["updated"], "memory_swap")
    done = runs.task(memory="1G", memory_swap="2G")
    assert (verbs(done), done["actions"][0]["reason"]) == (["updated"], "memory, memory_swap")
    refused = runs.attempt(memory="4G")
    assert refused["failed"] and "memory_swap" in refused["msg"]
    assert runs.inspect()["HostConfig"]["Memory"] == 1 << 30


def test_the_policys_retries_change_live_and_go_with_the_policy(runs: Container) -> None:
    runs.task(restart_policy="on-failure", restart_retries=3)
    done = runs.task(restart_policy="on-failure", restart_retries=4)
    assert (verbs(done), done["actions"][0]["reason"]) == (["updated"], "restart_retries")
    done = runs.task(restart_policy="always")
    assert done["container"]["HostConfig"]["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}


def test_the_stop_timeout_is_compared_on_request_only(runs: Container) -> None:
    runs.task(stop_timeout=5, comparisons={"stop_timeout": "strict"})
    assert not runs.task(stop_timeout=6)["changed"]
    assert verbs(runs.task(stop_timeout=6, comparisons={"stop_timeout": "strict"})) == ["updated"]


def test_a_half_of_a_processor_is_the_same_however_it_is_said(runs: Container) -> None:
    runs.task(cpus=0.5)
    done = runs.task(cpu_period=20000, cpu_quota=10000)
    assert verbs(done) == ["updated"]
    assert not runs.task(cpus=0.5)["changed"]
    done = runs.task(cpus=0.7)
    assert done["container"]["HostConfig"]["NanoCpus"] == 700_000_000


def limit_of(pid: int, controller: str) -> str:
    """What the kernel has as the limit of a process's cgroup."""
    paths = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    names = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}[controller]
    if controller in paths:
        return Path(f"/sys/fs/cgroup/{controller}{paths[controller]}/{names[1]}").read_text().strip()
    return Path(f"/sys/fs/cgroup{paths['']}/{names[0]}").read_text().strip()


GIVEN_BEFORE = {
    "env": {"A": "1", "B": "2"},
    "labels": {"a": "1", "b": "2"},
    "volumes": ["one:/one", "two:/two"],
    "memory": "64M",
    "pids_limit": 50,
    "healthcheck": {"test": "true", "interval": "1h"},
    "ulimits": ["nofile:100:200"],
    "log_options": {"max-size": "1m", "max-file": "2"},
}


def test_exact_sees_what_is_gone_and_takes_it_back(it: Container) -> None:
    everything = {**GIVEN_BEFORE, "compare": "exact"}
    made = it.task(**everything)
    assert not it.task(**everything)["changed"]
    assert not it.task(**{**GIVEN_BEFORE, "labels": {"a": "1"}, "memory": None})["changed"]
    live = {"labels": {"a": "1"}, "memory": None, "pids_limit": None, "healthcheck": None, "ulimits": None}
    live["log_options"] = {"max-size": "1m"}
    foreseen = it.check(**{**everything, **live})
    done = it.task(**{**everything, **live})
    assert verbs(foreseen) == verbs(done) == ["updated"]
    assert set(done["actions"][0]["reason"].split(", ")) == live.keys()
    facts = done["container"]
    assert (facts["Id"], facts["State"]["Pid"]) == (made["container"]["Id"], made["container"]["State"]["Pid"])
    assert facts["Config"]["Labels"] == {"maker": "us", "a": "1"}
    assert "Healthcheck" not in facts["Config"]
    host = facts["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["Ulimits"]) == (0, 2048, [])
    assert limit_of(facts["State"]["Pid"], "memory") in ("max", str((1 << 63) - 4096))
    assert limit_of(facts["State"]["Pid"], "pids") == "2048"
    assert host["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "3"}
    assert not it.task(**{**everything, **live})["changed"]
    gone = {**everything, **live, "env": {"A": "1"}, "volumes": None}
    done = it.task(**gone)
    assert verbs(done) == ["stopped", "recreated", "started"]
    assert done["actions"][1]["reason"] == "env, volumes"
    assert done["diff"]["before"]["env"] == {"A": "1", "B": "2", "LANG": "C"}
    assert done["diff"]["after"]["env"] == {"A": "1", "LANG": "C"}
    assert not it.task(**gone)["changed"]


def test_exact_does_not_count_what_the_image_gives(it: Container) -> None:
    it.task(state="present", compare="exact", env={"LANG": "C"}, labels={"maker": "us"})
    assert not it.task(state="present", compare="exact")["changed"]


def test_what_the_command_line_changes_counts_for_exact(it: Container, engine: Hull) -> None:
    it.task(compare="exact")
    engine("update", "--memory", "64m", "it")
    assert not it.task()["changed"]
    done = it.task(compare="exact")
    assert (verbs(done), done["container"]["HostConfig"]["Memory"]) == (["updated"], 0)


def test_declared_adds_labels_and_strict_replaces_them(runs: Container) -> None:
    runs.task(labels={"a": "1", "b": "2"})
    done = runs.task(labels={"a": "3"})
    assert done["container"]["Config"]["Labels"] == {"maker": "us", "a": "3", "b": "2"}
    strict = {"labels": {"a": "3"}, "comparisons": {"labels": "strict"}}
    assert runs.task(**strict)["container"]["Config"]["Labels"] == {"maker": "us", "a": "3"}
    assert not runs.task(**strict)["changed"]
