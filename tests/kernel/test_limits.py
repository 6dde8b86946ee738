# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's limits, seen from inside and by what they do: memory, processes, rates, the cgroup's place."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._engine.confinement import cgroup_path
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import detect
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup
from ansible_collections.hull.engine.plugins.module_utils._runtime import client
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import DevicePlan, LaunchPlan

from tests.support.box import Box, comm, open_box, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
CPUS = os.sched_getaffinity(0)
HOST = detect()
V2 = {name: root == HOST.unified for name, root in HOST.mounts.items()}


@pytest.fixture(scope="module")
def shared() -> Iterator[Box]:
    """One box for all tests: containers are apart, its check of what is left comes after the last."""
    with open_box() as box:
        yield box


def needs(*controllers: str) -> None:
    for controller in controllers:
        if not HOST.has(controller):
            pytest.skip(f"this host has no {controller} controller")


def named(controller: str) -> str:
    """The controller by the name that it has on this host: version 2 calls blkio io."""
    return "io" if controller == "blkio" and "blkio" not in HOST.mounts else controller


def directory_of(plan: LaunchPlan, controller: str) -> str:
    """The container's cgroup that has the controller, as this host sees it."""
    return Cgroup(HOST, plan.cgroup).directory(named(controller))


def inner_directory(controller: str) -> str:
    """The same as the container sees it."""
    root = HOST.mounts.get(named(controller), HOST.unified)
    return "/sys/fs/cgroup" if HOST.version == "2" else f"/sys/fs/cgroup/{os.path.basename(root)}"


def file_of(plan: LaunchPlan, controller: str, old: str, new: str) -> str:
    """The content of a container's file, by its name in version 1 and 2."""
    with open(f"{directory_of(plan, controller)}/{new if V2[named(controller)] else old}") as file:
        return file.read().strip()


@contextmanager
def reading_container(box: Box, **fields: Any) -> Iterator[tuple[LaunchPlan, Callable[[str, str], str]]]:
    """A container's plan, and what reads one of its cgroup's files from inside, given the controller and the name."""
    script = "while read path; do cat $path 2>&1; echo .; done"
    plan = box.plan("sh", "-c", script, process={"open_stdin": True}, **fields)
    session = box.start(plan, attach=True).session
    assert session is not None

    def read(controller: str, name: str) -> str:
        session.write_stdin(f"{inner_directory(controller)}/{name}\n".encode())
        text = b""
        while not text.endswith(b".\n"):
            frame = session.read(timeout_s=30)
            assert frame is not None and frame.kind == "stdout"
            text += frame.data
        return text[:-2].decode().strip()

    with session:
        yield plan, read
    client.stop(box.paths, plan.container_id, 9, 0)


# What is read, from outside and from inside


class Limit(NamedTuple):
    """A controller's file in version 1 and 2, and what it says in each under some limits, one after the other."""

    controller: str
    old: str
    new: str
    steps: tuple[tuple[dict[str, Any], str, str], ...]


LIMITS = {
    "memory": Limit(
        *("memory", "memory.limit_in_bytes", "memory.max"),
        (({"memory_bytes": 64 * MIB}, "67108864", "67108864"), ({"memory_bytes": 48 * MIB}, "50331648", "50331648")),
    ),
    "swap": Limit(
        *("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        (
            ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 160 * MIB}, "167772160", "100663296"),
            ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB}, "67108864", "0"),
        ),
    ),
    "reservation": Limit(
        *("memory", "memory.soft_limit_in_bytes", "memory.low"),
        (
            ({"memory_reservation_bytes": 16 * MIB}, "16777216", "16777216"),
            ({"memory_reservation_bytes": 24 * MIB}, "25165824", "25165824"),
        ),
    ),
    "quota": Limit(
        *("cpu", "cpu.cfs_quota_us", "cpu.max"),
        (({"cpu_quota_us": 50_000}, "50000", "50000 100000"), ({"cpu_quota_us": 0}, "-1", "max 100000")),
    ),
    "period": Limit(
        *("cpu", "cpu.cfs_period_us", "cpu.max"),
        (
            ({"cpu_quota_us": 20_000, "cpu_period_us": 50_000}, "50000", "20000 50000"),
            ({"cpu_period_us": 80_000}, "80000", "20000 80000"),
        ),
    ),
    "shares": Limit(
        *("cpu", "cpu.shares", "cpu.weight"),
        (({"cpu_shares": 512}, "512", "59"), ({"cpu_shares": 2048}, "2048", "174")),
    ),
    "cpus": Limit(
        *("cpuset", "cpuset.cpus", "cpuset.cpus"),
        tuple(({"cpuset_cpus": cpu}, cpu, cpu) for cpu in (str(min(CPUS)), str(max(CPUS)))),
    ),
    "memory nodes": Limit("cpuset", "cpuset.mems", "cpuset.mems", (({"cpuset_mems": "0"}, "0", "0"),)),
    "processes": Limit("pids", "pids.max", "pids.max", (({"pids": 77}, "77", "77"), ({"pids": -1}, "max", "max"))),
    "weight": Limit(
        *("blkio", "blkio.bfq.weight", "io.weight"),
        (({"blkio_weight": 500}, "500", "default 4950"), ({"blkio_weight": 100}, "100", "default 910")),
    ),
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_a_limit_is_read_alike_inside_and_outside_and_so_is_its_change(shared: Box, limit: Limit) -> None:
    needs(limit.controller)
    with reading_container(shared, limits=limit.steps[0][0]) as (plan, read):
        directory = directory_of(plan, limit.controller)
        name = limit.new if V2[named(limit.controller)] else limit.old
        if not os.path.exists(f"{directory}/{name}"):
            pytest.skip(f"this kernel has no {name}")
        for limits, *texts in limit.steps:
            if limits is not limit.steps[0][0]:
                Cgroup(HOST, plan.cgroup).set(limits)
            text = texts[V2[named(limit.controller)]]
            assert [file_of(plan, limit.controller, limit.old, limit.new), read(limit.controller, name)] == [text, text]


def test_rates_are_read_alike_inside_and_outside_and_so_is_their_change(shared: Box, disk: str) -> None:
    needs("blkio")
    number = os.stat(disk).st_rdev
    at = f"{os.major(number)}:{os.minor(number)} "
    rates = {"read_bps": MIB, "write_bps": 2 * MIB, "read_iops": 30, "write_iops": 40}
    with reading_container(shared, limits={name: {disk: rate} for name, rate in rates.items()}) as (plan, read):

        def both(name: str) -> set[str]:
            return {file_of(plan, "blkio", name, name), read("blkio", name)}

        for factor in (1, 2):
            now = {name: rate * factor for name, rate in rates.items()}
            if factor > 1:
                Cgroup(HOST, plan.cgroup).set({name: {disk: rate} for name, rate in now.items()})
            if V2[named("blkio")]:
                words = zip(("rbps", "wbps", "riops", "wiops"), now.values())
                assert both("io.max") == {at + " ".join(f"{word}={rate}" for word, rate in words)}
            else:
                for name, rate in now.items():
                    assert both(f"blkio.throttle.{name}_device") == {f"{at}{rate}"}


def test_a_pause_is_read_alike_inside_and_outside(shared: Box) -> None:
    plan = shared.plan("sleep", "60")
    pid = shared.start(plan).pid
    cgroup = Cgroup(HOST, plan.cgroup)
    name, line = ("freezer.state", "FROZEN") if "freezer" in HOST.mounts else ("cgroup.events", "frozen 1")
    directory = f"{HOST.mounts.get('freezer', HOST.unified)}/{plan.cgroup}"
    for change, expected in ((cgroup.freeze, True), (cgroup.thaw, False)):
        change()
        for place in (directory, f"/proc/{pid}/root{inner_directory('freezer')}"):
            with open(f"{place}/{name}") as file:
                assert (line in file.read().split("\n")) == expected
    client.stop(shared.paths, plan.container_id, 9, 0)
    assert not os.path.exists(directory)


# Memory


def test_r16_a_container_killed_for_want_of_memory_says_so(shared: Box) -> None:
    needs("memory")
    box = shared
    limits = {"memory_bytes": 16 * MIB, "memory_swap_bytes": 16 * MIB}
    result = box.run(box.plan("sh", "-c", "exec tail -c 64m /dev/zero", limits=limits))
    assert (result.code, result.oom_killed) == (137, True)
    quiet = box.sh("exit 7", limits=limits)
    assert (quiet.code, quiet.oom_killed) == (7, False)


def test_r17_the_supervisor_is_outside_of_the_containers_memory(shared: Box) -> None:
    needs("memory")
    box = shared
    plan = box.plan("sleep", "60", limits={"memory_bytes": 16 * MIB})
    box.start(plan)
    inside = set(Cgroup(HOST, plan.cgroup).pids())
    own = [box.spawner(), int(box.state(plan)["monitor_pid"])]
    assert {comm(pid) for pid in own} == {"hull-spawner", "hull-monitor"}
    assert inside.isdisjoint(own)
    for pid in own:
        with open(f"/proc/{pid}/cgroup") as file:
            assert plan.container_id not in file.read()
    client.stop(box.paths, plan.container_id, 9, 0)


def test_swappiness_and_the_oom_killer_are_the_containers_or_a_warning(shared: Box) -> None:
    needs("memory")
    box = shared
    plan = box.plan("sleep", "60", limits={"memory_swappiness": 13, "oom_kill_disable": True, "memory_bytes": 64 * MIB})
    started = box.start(plan)
    cgroup = Cgroup(HOST, plan.cgroup)
    if V2["memory"]:
        assert {text.partition(":")[0] for text in started.warnings} >= {"memory_swappiness", "oom_killer"}
    else:
        assert file_of(plan, "memory", "memory.swappiness", "") == "13"
        assert "oom_kill_disable 1" in file_of(plan, "memory", "memory.oom_control", "")
        cgroup.set({"memory_swappiness": -1, "oom_kill_disable": False})
        with open(f"{HOST.mounts['memory']}/memory.swappiness") as hosts:
            assert file_of(plan, "memory", "memory.swappiness", "") == hosts.read().strip()
        assert "oom_kill_disable 0" in file_of(plan, "memory", "memory.oom_control", "")
    client.stop(box.paths, plan.container_id, 9, 0)


def test_a_container_without_oom_killer_waits_and_can_be_stopped(shared: Box) -> None:
    needs("memory")
    if V2["memory"]:
        pytest.skip("version 2 always kills")
    box = shared
    limits = {"memory_bytes": 16 * MIB, "memory_swap_bytes": 16 * MIB, "oom_kill_disable": True}
    plan = box.plan("awk", 'BEGIN { s = "0123456789"; while (1) s = s s }', limits=limits)
    box.start(plan)
    wait_for(lambda: "under_oom 1" in file_of(plan, "memory", "memory.oom_control", ""), "memory to run out")
    client.stop(box.paths, plan.container_id, 15, 0)
    assert box.observe(plan).status == "exited"


def test_memory_and_swap_go_up_and_down_and_an_error_changes_nothing(shared: Box) -> None:
    needs("memory", "pids")
    box = shared
    plan = box.plan("sleep", "60", limits={"memory_bytes": 32 * MIB, "memory_swap_bytes": 64 * MIB, "pids": 20})
    box.start(plan)
    cgroup = Cgroup(HOST, plan.cgroup)

    def both() -> tuple[int, int]:
        swap = file_of(plan, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
        memory = int(file_of(plan, "memory", "memory.limit_in_bytes", "memory.max"))
        return memory, int(swap) + (memory if V2["memory"] else 0)

    if not os.path.exists(
        f"{cgroup.directory('memory')}/memory.{'swap.max' if V2['memory'] else 'memsw.limit_in_bytes'}"
    ):
        pytest.skip("this kernel does not account swap")
    for memory, swap in ((64, 256), (24, 24), (48, 96), (16, 96)):
        cgroup.set({"memory_bytes": memory * MIB, "memory_swap_bytes": swap * MIB})
        assert both() == (memory * MIB, swap * MIB)
    with pytest.raises(errors.Invalid, match="pids_limit"):
        cgroup.set({"memory_bytes": 128 * MIB, "memory_swap_bytes": 128 * MIB, "pids": 99_999_999})
    assert both() == (16 * MIB, 96 * MIB)
    assert cgroup.usage().pids_limit == 20
    client.stop(box.paths, plan.container_id, 9, 0)


# CPU and processes


def test_the_period_is_set_alone_and_with_a_quota(shared: Box) -> None:
    needs("cpu")
    box = shared
    plan = box.plan("sleep", "60", limits={"cpu_quota_us": 0, "cpu_period_us": 50_000})
    box.start(plan)
    cgroup = Cgroup(HOST, plan.cgroup)

    def now() -> str:
        if V2["cpu"]:
            return file_of(plan, "cpu", "", "cpu.max")
        quota = file_of(plan, "cpu", "cpu.cfs_quota_us", "")
        return f"{quota.replace('-1', 'max')} {file_of(plan, 'cpu', 'cpu.cfs_period_us', '')}"

    assert now() == "max 50000"
    cgroup.set({"cpu_quota_us": 20_000, "cpu_period_us": 80_000})
    assert now() == "20000 80000"
    cgroup.set({"cpu_period_us": 40_000})
    assert now() == "20000 40000"
    cgroup.set({"cpu_quota_us": 0, "cpu_period_us": 100_000})
    assert now() == "max 100000"
    client.stop(box.paths, plan.container_id, 9, 0)


def test_r19_a_fork_bomb_gets_eagain_and_is_stopped_in_time(shared: Box) -> None:
    needs("pids")
    box = shared
    plan = box.plan("sh", "-c", "trap '' TERM; b() { b | b & b; }; while :; do (b) ; done", limits={"pids": 64})
    box.start(plan)
    cgroup = Cgroup(HOST, plan.cgroup)
    wait_for(lambda: cgroup.usage().pids_refused > 50, "forks to be refused")
    assert cgroup.usage().pids <= 64
    assert "Resource temporarily unavailable" in wait_for(lambda: box.log(plan), "the shell's complaint")
    begin = time.monotonic()
    client.stop(box.paths, plan.container_id, 15, 1)
    assert time.monotonic() - begin < 10
    assert box.observe(plan).status == "exited"
    assert not cgroup.exists()


def test_r20_a_frozen_container_that_ignores_the_signal_is_stopped_in_time(shared: Box) -> None:
    box = shared
    plan = box.plan("sh", "-c", "trap '' TERM; while :; do sleep 60; done")
    box.start(plan)
    cgroup = Cgroup(HOST, plan.cgroup)
    cgroup.freeze()
    begin = time.monotonic()
    client.stop(box.paths, plan.container_id, 15, 1)
    assert time.monotonic() - begin < 10
    assert box.observe(plan).status == "exited"
    assert not cgroup.exists()


# Devices


@pytest.fixture
def disk(tmp_path: Any) -> Iterator[str]:
    """A loop device of 32 MiB."""
    backing = tmp_path / "disk"
    backing.write_bytes(b"")
    os.truncate(backing, 32 * MIB)
    done = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    path = done.stdout.strip()
    try:
        yield path
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)


def test_a_rate_slows_direct_writing_and_is_lifted_live(shared: Box, disk: str) -> None:
    needs("blkio")
    box = shared
    number = os.stat(disk).st_rdev
    device = DevicePlan("/dev/disk", "b", os.major(number), os.minor(number), "rw")
    script = (
        "while read count; do dd if=/dev/zero of=/dev/disk bs=64k count=$count oflag=direct 2>/dev/null; echo $?; done"
    )
    plan = box.plan(
        "sh", "-c", script, limits={"write_bps": {disk: MIB}}, devices=(device,), process={"open_stdin": True}
    )
    started = box.start(plan, attach=True)
    assert started.warnings == ()
    name = f"{os.major(number)}:{os.minor(number)}"
    assert name in file_of(plan, "blkio", "blkio.throttle.write_bps_device", "io.max")
    assert started.session is not None
    with started.session as session:

        def written(count: int) -> float:
            begin = time.monotonic()
            session.write_stdin(b"%d\n" % count)
            frame = session.read(timeout_s=30)
            assert frame is not None and frame.data == b"0\n"
            return time.monotonic() - begin

        assert written(24) > 1  # one and a half MiB at one MiB a second
        Cgroup(HOST, plan.cgroup).set({"write_bps": {}})
        assert name not in file_of(plan, "blkio", "blkio.throttle.write_bps_device", "io.max")
        assert written(320) < 15  # twenty seconds at the old rate
    usage = Cgroup(HOST, plan.cgroup).usage()
    assert usage.io_write_bytes >= 344 * 64 * 1024
    client.stop(box.paths, plan.container_id, 9, 0)


def test_a_rate_for_what_is_no_disk_is_refused_and_leaves_nothing(shared: Box) -> None:
    needs("blkio")
    box = shared
    plan = box.plan("true", limits={"read_iops": {"/dev/null": 10}})
    with pytest.raises(errors.Invalid, match="device_read_iops: /dev/null is not a block device"):
        box.start(plan)
    assert not Cgroup(HOST, plan.cgroup).exists()


def test_rules_let_devices_be_used_that_are_not_shown(shared: Box) -> None:
    if not HOST.unified:
        needs("devices")
    box = shared
    script = "mknod /dev/probe c 1 11 && dd if=/dev/probe of=/dev/null bs=8k count=1 2>/dev/null && echo read"
    process = {"capabilities": ("CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG")}
    assert box.sh(script, process=process).text == ""
    for rule in (("c", 1, 11, "rwm"), ("c", 1, -1, "rwm"), ("c", -1, -1, "rm")):
        assert box.sh(script, process=process, device_rules=(rule,)).text == "read\n", rule


# The cgroup's place


@pytest.mark.parametrize("below", ["", "theirs/"])
def test_a_parent_is_made_and_goes_with_the_last_container(shared: Box, below: str) -> None:
    box = shared
    top = f"hulltest{os.getpid()}"
    roots = {*HOST.mounts.values(), *([HOST.unified] if HOST.unified else [])}
    theirs = [f"{root}/{top}" for root in roots] if below else []
    for directory in theirs:
        os.mkdir(directory)
    try:
        limits = {"pids": 30} if HOST.has("pids") else {}
        plans = [box.plan("sleep", "60", limits=limits) for _ in range(2)]
        plans = [replace(plan, cgroup=f"{top}/a.slice/a-b.slice/{plan.container_id}") for plan in plans]
        box.plans[-2:] = plans
        for plan in plans:
            assert box.start(plan).warnings == ()
            with open(f"/proc/{box.state(plan)['pid']}/cgroup") as file:
                assert f"/{plan.cgroup}" in file.read()
            if HOST.has("pids"):
                assert file_of(plan, "pids", "pids.max", "pids.max") == "30"
        client.stop(box.paths, plans[0].container_id, 9, 0)
        assert all(os.path.isdir(f"{root}/{top}/a.slice/a-b.slice") for root in roots)
        client.stop(box.paths, plans[1].container_id, 9, 0)
        assert not any(os.path.exists(f"{root}/{top}/a.slice") for root in roots)
        assert [root for root in roots if os.path.exists(f"{root}/{top}")] == [d.rpartition("/")[0] for d in theirs]
    finally:
        for directory in theirs:
            os.rmdir(directory)


@pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd does not run here")
def test_systemd_takes_no_limit_from_a_container_in_a_slice(shared: Box) -> None:
    needs("memory", "pids")
    box = shared
    limits = {"memory_bytes": 64 * MIB, "pids": 30}
    plan = box.plan("sleep", "60", limits=limits)
    wanted = ContainerSpec("c", "image", cgroup_parent="system.slice")
    plan = replace(plan, cgroup=cgroup_path(box.paths.cgroup, wanted, plan.container_id))
    box.plans[-1] = plan
    box.start(plan)
    unit = ["systemd-run", "--quiet", "--wait", "--slice=system.slice", "-p", "CPUWeight=50", "true"]
    for command in (["systemctl", "daemon-reload"], unit, ["systemctl", "daemon-reexec"]):
        subprocess.run(command, check=True)
    assert file_of(plan, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert file_of(plan, "pids", "pids.max", "pids.max") == "30"
    client.stop(box.paths, plan.container_id, 9, 0)
    roots = {*HOST.mounts.values(), *([HOST.unified] if HOST.unified else [])}
    assert not any(os.path.exists(f"{root}/{os.path.dirname(plan.cgroup)}") for root in roots)
