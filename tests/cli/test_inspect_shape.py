# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`inspect` of a container has Docker's keys, with values in Docker's form: Docker itself is the witness."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Hull, engine_in
from tests.support.docker_daemon import Docker
from tests.support.images import busybox_layer
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
# Not compared: a weight, which Docker forgets where the host has none; file systems in memory, which are one list here.
FLAGS = (
    *("--memory=64m", "--memory-swap=128m", "--memory-reservation=32m", "--memory-swappiness=10"),
    *("--cpu-period=50000", "--cpu-quota=25000", "--cpu-shares=512", "--cpuset-cpus=0", "--cpuset-mems=0"),
    *("--pids-limit=50", "--blkio-weight=300", "--oom-score-adj=100", "--oom-kill-disable"),
    *("--device-read-bps=/dev/null:1mb", "--device-write-iops=/dev/null:10"),
    *("--cgroupns=host", "--uts=host", "--device-cgroup-rule=c 42:* rwm", "--device=/dev/null:/dev/nil:rw"),
    *("--ulimit=nofile=100:200", "--shm-size=8m", "--sysctl=net.ipv4.ip_forward=1", "--init"),
    *("--log-opt=max-size=1m", "--log-opt=max-file=2", "--restart=on-failure:3", "--stop-timeout=7"),
    *("--cap-add=SYS_TIME", "--cap-drop=CHOWN", "--security-opt=seccomp=unconfined", "--read-only"),
    *("-v", "/tmp:/tmp:ro", "-v", "named:/named", "-v", "/plain", "--tmpfs=/scratch:size=1048576"),
    *("--mount", "type=tmpfs,target=/other,tmpfs-size=65536", "--group-add=5", "--network=none"),
    *("--health-cmd=true", "--health-interval=7s", "--health-retries=2", "--stop-signal=SIGINT"),
    *("-e", "A=1", "-l", "who=us", "--user=5", "--workdir=/tmp", "-i"),
)
SAME_IN_HOST_CONFIG = (
    "Memory MemorySwap MemoryReservation MemorySwappiness CpuPeriod CpuQuota NanoCpus CpuShares CpusetCpus CpusetMems "
    "PidsLimit OomScoreAdj OomKillDisable BlkioDeviceReadBps BlkioDeviceWriteIOps CgroupnsMode UTSMode "
    "DeviceCgroupRules Devices ShmSize Sysctls Init LogConfig RestartPolicy ReadonlyRootfs SecurityOpt GroupAdd "
    "NetworkMode AutoRemove Privileged PortBindings CapAdd CapDrop IpcMode PidMode VolumesFrom Links Isolation"
).split()
SAME_IN_CONFIG = (
    "Tty OpenStdin Entrypoint Cmd User WorkingDir Labels StopSignal StopTimeout Volumes Domainname OnBuild"
).split()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: RunningRegistry) -> Iterator[Hull]:
    """An engine with an image."""
    place = tmp_path_factory.mktemp("engine")
    (place / "box.tar").write_bytes(busybox_layer().tar)
    for hull in engine_in(place, registry):
        hull("import", str(place / "box.tar"), "box")
        yield hull


@pytest.fixture(scope="module")
def image_in_docker(docker: Docker, engine: Hull, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same image in Docker."""
    path = tmp_path_factory.mktemp("image") / "box.tar"
    engine("save", "-o", str(path), "box")
    with path.open("rb") as archive:
        docker("load", stdin=archive)
    yield docker("images", "-q").split()[0].decode()
    docker.forget()


def as_docker_shows(facts: dict[str, Any], key: str) -> Any:
    """A value without what differs by intention: empty may be null, orders of sets, the prefix of capabilities."""
    value = facts.get(key)
    if key in ("CapAdd", "CapDrop"):
        return sorted(name.removeprefix("CAP_") for name in value or ())
    if key == "SecurityOpt":
        return sorted(entry.replace(":", "=") for entry in value or ())
    return value or None


def test_the_same_flags_give_the_same_facts(engine: Hull, docker: Docker, image_in_docker: str) -> None:
    engine("create", "--name", "shape", *FLAGS, "box", "sleep", "1")
    docker("create", "--name", "shape", *FLAGS, image_in_docker, "sleep", "1")
    ours, theirs = json.loads(engine("inspect", "shape"))[0], json.loads(docker("container", "inspect", "shape"))[0]
    for part, keys in (("HostConfig", SAME_IN_HOST_CONFIG), ("Config", SAME_IN_CONFIG)):
        differing = {
            key: (as_docker_shows(ours[part], key), as_docker_shows(theirs[part], key))
            for key in keys
            if as_docker_shows(ours[part], key) != as_docker_shows(theirs[part], key)
        }
        assert differing == {}
    assert sorted(ours["HostConfig"]["Binds"]) == ["/tmp:/tmp:ro", "named:/named:rw"]
    assert ours["HostConfig"]["Tmpfs"] == {"/scratch": "size=1048576", "/other": "size=65536"}
    assert ours["HostConfig"]["BlkioWeight"] == 300
    healthcheck = theirs["Config"]["Healthcheck"]
    assert {key: ours["Config"]["Healthcheck"][key] for key in healthcheck} == healthcheck
    docker("rm", "-v", "shape")
    engine("rm", "-v", "shape")


def test_every_key_of_docker_is_there(engine: Hull, docker: Docker, image_in_docker: str) -> None:
    engine("create", "--name", "keys", "--network", "none", "box", "sleep", "1")
    docker("create", "--name", "keys", "--network", "none", image_in_docker, "sleep", "1")
    ours, theirs = json.loads(engine("inspect", "keys"))[0], json.loads(docker("container", "inspect", "keys"))[0]
    missing = {part: sorted(theirs[part].keys() - ours[part].keys()) for part in ("HostConfig", "Config", "State")}
    assert missing == {"HostConfig": ["KernelMemoryTCP"], "Config": [], "State": []}
    assert theirs.keys() - ours.keys() == set()
    docker("rm", "keys")
    engine("rm", "keys")
