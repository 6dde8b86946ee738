# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's options from end to end: what the process sees, what is no change, and that bad ones leave nothing."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with one image."""
    place = tmp_path_factory.mktemp("engine")
    (place / "box.tar").write_bytes(busybox_layer().tar)
    for hull in engine_in(place, registry):
        hull("import", str(place / "box.tar"), "box")
        yield hull


EVERYTHING: dict[str, Any] = {
    "name": "all",
    "image": "box",
    "pull": "never",
    "command": "sleep 1000",
    "entrypoint": ["/bin/busybox"],
    "env": {"A": "b c"},
    "user": "0:5",
    "groups": ["7"],
    "working_dir": "/tmp",
    "hostname": "box",
    "domainname": "lan",
    "labels": {"a": "1", "b": 2},
    "tty": True,
    "interactive": True,
    "init": True,
    "healthcheck": {"test": ["CMD", "true"], "interval": "1h"},
    "ulimits": ["nofile:100:200", "core:0"],
    "sysctls": {"net.core.somaxconn": 77},
    "memory": "64M",
    "memory_reservation": "32M",
    "memory_swap": "64M",
    "memory_swappiness": 10,
    "cpu_period": 50000,
    "cpu_quota": 25000,
    "cpu_shares": 512,
    "cpuset_cpus": "0",
    "cpuset_mems": "0",
    "pids_limit": 50,
    "blkio_weight": 100,
    "oom_killer": False,
    "oom_score_adj": 100,
    "shm_size": "1M",
    "cgroupns_mode": "private",
    "volumes": ["data:/data", "/etc:/host:ro"],
    "tmpfs": ["/scratch:size=1m"],
    "read_only": True,
    "privileged": False,
    "capabilities": ["net_raw"],
    "cap_drop": ["CAP_CHOWN"],
    "devices": ["/dev/null:/dev/nothing:rw"],
    "device_cgroup_rules": ["c 42:* rwm"],
    "security_opts": ["no-new-privileges:false", "seccomp=unconfined", "mask=/proc/version"],
    "userns_mode": "host",
    "pid_mode": "private",
    "ipc_mode": "shareable",
    "runtime": "native",
    "log_driver": "json-file",
    "log_options": {"max-size": "1m", "max-file": 2, "mode": "blocking"},
    "network_mode": "none",
    "restart_policy": "on-failure",
    "restart_retries": 2,
    "stop_signal": "KILL",
    "stop_timeout": 3,
    "auto_remove": False,
}


def test_a_task_with_every_option_changes_nothing_the_second_time(engine: Hull) -> None:
    assert task.do(engine.env, "container", **EVERYTHING)["changed"]
    for more in ({}, {"compare": "exact"}, {"comparisons": {"*": "strict"}}, {"command_handling": "compatibility"}):
        again = task.do(engine.env, "container", **EVERYTHING, **more)
        assert not again["changed"], (more, again.get("diff"))
    engine("rm", "-f", "all")


def test_the_same_options_in_other_forms_are_no_change(engine: Hull) -> None:
    one = {
        "memory": "64M",
        "cpus": 0.5,
        "devices": ["/dev/null"],
        "capabilities": ["NET_RAW"],
        "ulimits": ["nofile:64"],
        "healthcheck": {"test": "true", "interval": "90s"},
        "labels": {"a": 1},
        "stop_signal": "KILL",
        "log_options": {"max-size": "1m"},
        "command": "sleep 1000",
    }
    other = {
        "memory": 67108864,
        "cpus": "0.50",
        "devices": ["/dev/null:/dev/null:mwr"],
        "capabilities": ["cap_net_raw"],
        "ulimits": ["NOFILE=64:64"],
        "healthcheck": {"test": ["CMD-SHELL", "true"], "interval": "1m30s"},
        "labels": {"a": "1"},
        "stop_signal": "SIGKILL",
        "log_options": {"max-size": "1024k"},
        "command": ["sleep", 1000],
    }
    same = {"name": "forms", "image": "box", "pull": "never", "network_mode": "none"}
    assert task.do(engine.env, "container", **same, **one)["changed"]
    again = task.do(engine.env, "container", **same, **other)
    assert not again["changed"], again.get("diff")
    engine("rm", "-f", "forms")


def test_the_process_sees_what_the_flags_say(engine: Hull, tmp_path: Path) -> None:
    variables = tmp_path / "env"
    variables.write_text("FROM_FILE=1\nBOTH=file\n")
    script = (
        "hostname; pwd; id -u; id -G; echo $FROM_FILE $BOTH; ulimit -n; ulimit -Hn; cat /proc/sys/net/core/somaxconn;"
        "cat /proc/self/oom_score_adj; grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status;"
        "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; touch /x 2>/dev/null || echo read-only;"
        "test -c /dev/nothing && echo device; wc -c < /proc/version"
    )
    flags = (
        *("--hostname", "box", "-w", "/tmp", "-u", "9:5", "--group-add", "7"),
        *("--env-file", str(variables), "-e", "BOTH=flag", "--ulimit", "nofile=100:200"),
        *("--sysctl", "net.core.somaxconn=77", "--oom-score-adj", "100", "--shm-size", "1m", "--read-only"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"),
        *("--security-opt", "mask=/proc/version", "--device", "/dev/null:/dev/nothing", "--network", "none"),
    )
    seen = engine("run", "--rm", *flags, "box", "sh", "-c", script).splitlines()
    assert seen == [
        *("box", "/tmp", "9", "5 7", "1 flag", "100", "200", "77", "100"),
        *("Seccomp:\t0", "NoNewPrivs:\t0", "1024", "read-only", "device", "0"),
    ]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--cpu-quota", "5", "hull: --cpu-quota: 5 is too little"),
        ("--ulimit", "files=5", "hull: --ulimit: 'files' is not a limit of processes; use as, core"),
        ("--device-read-bps", "sda:1m", "hull: --device-read-bps: 'sda:1m' is not a rate; name a path"),
        ("--device-cgroup-rule", "c 1", "hull: --device-cgroup-rule: 'c 1' is not a rule; write it like c 42:* rwm"),
        ("--log-driver", "splunk", "hull: --log-driver: 'splunk' is not known; use json-file, none"),
        ("--log-opt", "max-file=0", "hull: --log-opt: max-file: 0 is not between 1 and 1000"),
        ("--runtime", "runc", "hull: --runtime: 'runc' is not a container format here; use native"),
        ("--gpus", "all", "hull: --gpus: there is no driver that hands devices out; name the device nodes in devices"),
        ("--uts", "private-ish", "hull: --uts: 'private-ish' is not known; use private or host"),
        ("--memory-swappiness", "101", "hull: --memory-swappiness: 101 is not between -1 and 100"),
    ],
)
def test_a_flag_that_cannot_be_used_leaves_nothing(engine: Hull, flag: str, value: str, message: str) -> None:
    assert engine.fails(1, "create", "--name", "bad", flag, value, "box").startswith(message)
    assert engine("ps", "-aq") == ""
    assert engine("volume", "ls", "-q").split() in ([], ["data"])
