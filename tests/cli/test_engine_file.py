# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an administrator sets for a host in engine.json, as its containers show it."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

from ansible_collections.hull.engine.plugins.module_utils._base.plan import Outcome
from ansible_collections.hull.engine.plugins.module_utils._engine.container_plan import ContainerRequest
from ansible_collections.hull.engine.plugins.module_utils._engine.container_task import ensure
from ansible_collections.hull.engine.plugins.module_utils._engine.engine import Engine
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec
from ansible_collections.hull.engine.plugins.module_utils._engine.teardown import tear_down
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._runtime.spawners import find_spawners

from tests.cli.conftest import Hull, wait_until

PARENT = "hulltest.slice"
MIB = 1024 * 1024


def write(hull: Hull, **document: object) -> None:
    Path(hull.paths.config, "engine.json").write_text(json.dumps(document))


def cgroups_of(pid: int | str) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().split("\n")
    return {line.split(":", 2)[2] for line in lines if line.count(":") > 1}


def existing(path: str) -> list[str]:
    host = detect()
    roots = {*host.mounts.values(), *([host.unified] if host.unified else [])}
    return [f"{root}/{path}" for root in sorted(roots) if os.path.isdir(f"{root}/{path}")]


def test_the_engines_control_groups_lie_below_the_parent_and_containers_stay_where_they_are(hull: Hull) -> None:
    own = hull.paths.cgroup
    hull("run", "-d", "--name", "before", "busybox", "sleep", "1000")
    write(hull, cgroup_parent=PARENT)
    before, old_spawner = hull("inspect", "-f", "{{.State.Pid}}", "before").strip(), find_spawners(hull.paths)[0]
    os.kill(old_spawner, 9)
    identity = hull("run", "-d", "--name", "web", "busybox", "sleep", "1000").strip()
    pid = hull("inspect", "-f", "{{.State.Pid}}", "web").strip()
    assert cgroups_of(pid) >= {f"/{PARENT}/{own}/{identity}"}
    (spawner,) = find_spawners(hull.paths)
    assert f"/{PARENT}/{own}/supervisor" in cgroups_of(spawner)
    hull("restart", "-t", "0", "before")
    assert hull("inspect", "-f", "{{.State.Pid}}", "before").strip() != before
    assert not existing(f"{PARENT}/{own}/{hull('inspect', '-f', '{{.Id}}', 'before').strip()}")
    other = hull("run", "-d", "--cgroup-parent", "hulltest-web.slice", "busybox", "sleep", "1000").strip()
    assert existing(f"{PARENT}/hulltest-web.slice/{own}/{other}")
    with Engine(hull.paths) as engine:
        tear_down(engine, force=True)
    assert existing(PARENT) == existing(own) == []


def test_a_mistake_in_the_file_changes_nothing_and_keeps_nothing_from_being_removed(hull: Hull) -> None:
    hull("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    write(hull, cgroup_parent="a/../b")
    message = hull.fails(125, "run", "-d", "--name", "other", "busybox", "true")
    assert f"{hull.paths.config}/engine.json: cgroup_parent" in message
    assert hull("ps", "-a", "--format", "{{.Names}}").split() == ["web"]
    hull("stop", "-t", "0", "web")
    hull("rm", "web")
    with Engine(hull.paths) as engine:
        tear_down(engine)
    assert not os.path.exists(hull.paths.root)


LIMITS = {"memory": "64M", "cpus": 0.5, "pids_limit": 40, "ulimits": ["nofile=100:200"]}
LOOK = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"


def test_a_container_has_the_defaults_of_when_it_was_made_as_long_as_it_lives(hull: Hull) -> None:
    write(hull, default_limits=LIMITS, log_options={"max-size": "1m", "max-file": "2"})
    hull("run", "-d", "--name", "web", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn; sleep 1000")
    assert hull("inspect", "-f", LOOK, "web").split() == [str(64 * MIB), "500000000", "40"]
    wait_until(lambda: hull("logs", "web").split() == ["100", "200"], "the limits of its processes")
    log = json.loads(hull("inspect", "-f", "{{json .HostConfig.LogConfig}}", "web"))
    assert log == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    pid = hull("inspect", "-f", "{{.State.Pid}}", "web").strip()
    assert limits_of(hull, "web") == (64 * MIB, 40)
    write(hull, default_limits={"memory": "32M"})
    hull("restart", "-t", "0", "web")
    hull("update", "--cpus", "1", "web")
    assert limits_of(hull, "web") == (64 * MIB, 40)
    assert hull("inspect", "-f", LOOK, "web").split() == [str(64 * MIB), "1000000000", "40"]
    assert hull("inspect", "-f", "{{.State.Pid}}", "web").strip() != pid
    hull("run", "-d", "--name", "own", "--memory", "48m", "busybox", "sleep", "1000")
    assert limits_of(hull, "own")[0] == 48 * MIB


def limits_of(hull: Hull, name: str) -> tuple[int, int]:
    """Memory and number of processes as the kernel has them."""
    cgroup = Cgroup(detect(), f"{hull.paths.cgroup}/{hull('inspect', '-f', '{{.Id}}', name).strip()}")
    memory, pids = cgroup.directory("memory"), cgroup.directory("pids")
    v1 = os.path.exists(f"{memory}/memory.limit_in_bytes")
    text = Path(memory, "memory.limit_in_bytes" if v1 else "memory.max").read_text()
    return int(text), int(Path(pids, "pids.max").read_text())


def task(hull: Hull, **options: object) -> Outcome:
    """A task of the container module, in an engine object of its own."""
    spec = container_spec({"name": "web", "image": "busybox", **options})
    request = ContainerRequest(
        spec=spec, given=frozenset(spec.given), state="present", compare=str(options.get("compare", "declared"))
    )
    with Engine(hull.paths) as engine:
        outcome = ensure(engine, request)
        engine.close()
    return outcome


def test_no_later_task_is_compared_with_a_default_and_exact_ones_fall_back_to_it(hull: Hull) -> None:
    hull("pull", "-q", "busybox")
    write(hull, default_limits=LIMITS, log_driver="none")
    command = ["sleep", "1000"]
    assert task(hull, command=command, cpus=1).changed
    assert not task(hull, command=command, cpus=1).changed
    assert not task(hull, command=command, cpus=1, compare="exact").changed
    write(hull, default_limits={"memory": "32M", "cpus": 0.25}, log_driver="json-file")
    assert not task(hull, command=command, cpus=1).changed
    assert not task(hull, command=command, cpus=1, compare="exact").changed
    assert task(hull, command=command, compare="exact").changed
    assert hull("inspect", "-f", LOOK, "web").split() == [str(64 * MIB), "250000000", "40"]
    assert not task(hull, command=command, compare="exact").changed


def test_networks_take_their_subnets_from_the_pools(hull: Hull) -> None:
    write(hull, default_address_pools=[{"base": "198.18.64.0/18", "size": 27}])
    hull("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    address = hull("inspect", "-f", "{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}}", "web").strip()
    interface = ipaddress.ip_interface(address)
    assert interface.network.prefixlen == 27 and interface.network.subnet_of(ipaddress.ip_network("198.18.64.0/18"))
    assert f"inet {address} " in hull("exec", "web", "ip", "-4", "addr", "show", "eth0")


def test_info_shows_the_settings_and_what_is_wrong_with_them(hull: Hull) -> None:
    pools = [{"base": "198.18.64.0/18", "size": 27}]
    write(hull, cgroup_parent=PARENT, default_limits=LIMITS, log_driver="none", default_address_pools=pools)
    info = json.loads(hull("info", "-f", "{{json .}}"))
    assert (info["CgroupParent"], info["DefaultLimits"], info["LoggingDriver"]) == (
        f"/{PARENT}/{hull.paths.cgroup}",
        LIMITS,
        "none",
    )
    assert info["DefaultAddressPools"] == [{"Base": "198.18.64.0/18", "Size": 27}]
    write(hull, log_driver="fluentd")
    info = json.loads(hull("info", "-f", "{{json .}}"))
    (lack,) = [lack for lack in info["Lacks"] if "engine.json" in lack["what"]]
    assert "log_driver: 'fluentd' is not known" in lack["why"] and lack["needed"]
