# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Cgroups against the real kernel: limits are shown by what they do to processes, not by what the files say.

Every test runs on each kind of host that this machine can play: version 1 alone, hybrid, and version 2 alone (without
controllers where version 1 holds them; their files are tested on plain directories by the unit tests).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel import cgroups
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_devices import allow_devices
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroups import Cgroup, CgroupHost
from ansible_collections.hull.engine.plugins.module_utils._sys import calls

from tests.support.isolated import run_isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
PARENT = f"hull-test{os.getpid()}"
DEADLINE_S = 60.0


def played_hosts() -> dict[str, CgroupHost]:
    """The hosts that this one's hierarchies can stand for."""
    host = cgroups.detect()
    old = {name: root for name, root in host.mounts.items() if root != host.unified}
    hosts = {}
    if old:
        hosts["1"] = CgroupHost("1", old)
    if old and host.unified:
        hosts["hybrid"] = host
    if host.unified:
        new = {name: root for name, root in host.mounts.items() if root == host.unified}
        hosts["2"] = CgroupHost("2", new, host.unified)
    return hosts


HOSTS = played_hosts() if os.geteuid() == 0 else {}


@pytest.fixture(params=["1", "hybrid", "2"])
def host(request: pytest.FixtureRequest) -> CgroupHost:
    if request.param not in HOSTS:
        pytest.skip(f"this machine can't play a version {request.param} host")
    return HOSTS[request.param]


@pytest.fixture
def cgroup(host: CgroupHost) -> Iterator[Cgroup]:
    cgroup = Cgroup(host, f"{PARENT}/c")
    yield cgroup
    cgroup.kill()
    reap()
    cgroup.remove()
    cgroups.remove_if_empty(host, PARENT)
    left = [root for root in roots(host) if os.path.isdir(f"{root}/{PARENT}")]
    assert left == [], f"cgroups left in {left}"


def roots(host: CgroupHost) -> set[str]:
    return {*host.mounts.values(), *([host.unified] if host.unified else [])}


def needs(host: CgroupHost, *controllers: str) -> None:
    for controller in controllers:
        if not host.has(controller):
            pytest.skip(f"this host has no {controller} controller")


def reap() -> None:
    """Collect children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def started(cgroup: Cgroup, function: Callable[[], Any]) -> int:
    """The pid of a child that entered the cgroup and runs the function, then sleeps. Its value is not seen."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            cgroup.enter()
            os.write(write_end, b"1")
            function()
            signal.pause()
        finally:
            os._exit(3)
    os.close(write_end)
    entered = os.read(read_end, 1)
    os.close(read_end)
    assert entered, "the child did not enter its cgroup"
    return pid


def inside(cgroup: Cgroup, function: Callable[[], Any]) -> int:
    """The wait status of a child that entered the cgroup, ran the function and ended with its value."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            cgroup.enter()
            code = function() or 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def membership(pid: int) -> set[str]:
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return {line.rstrip("\n").split(":", 2)[2] for line in file}


def fill(size_bytes: int) -> Callable[[], None]:
    """Allocate memory page by page."""

    def allocate() -> None:
        block = bytearray(size_bytes)
        for at in range(0, size_bytes, 4096):
            block[at] = 1
        del block

    return allocate


# Membership


@pytest.mark.parametrize("way", ["attach", "enter"])
def test_a_process_is_in_the_cgroup_of_every_hierarchy(cgroup: Cgroup, host: CgroupHost, way: str) -> None:
    cgroup.create({})
    if way == "enter":
        pid = started(cgroup, lambda: None)
    else:
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        cgroup.attach(pid)
    for root in roots(host):
        with open(f"{root}/{cgroup.path}/cgroup.procs", encoding="ascii") as procs:
            assert procs.read().split() == [str(pid)]
    assert f"/{cgroup.path}" in membership(pid)
    assert cgroup.pids() == [pid]


def test_a_child_is_born_in_the_version_2_cgroup(cgroup: Cgroup, host: CgroupHost) -> None:
    cgroup.create({})
    fd = cgroup.open_fd()
    if not host.unified:
        assert fd == -1
        return
    pid, pid_fd = calls.clone3(cgroup_fd=fd)
    if pid == 0:
        try:
            cgroup.enter(cloned_into=True)
            signal.pause()
        finally:
            os._exit(0)
    os.close(fd)
    os.close(pid_fd)
    assert cgroup.pids() == [pid]
    wait_for(lambda: membership(pid) >= {f"/{cgroup.path}"} and len(cgroup.pids()) == 1)


def test_two_objects_mean_the_same_cgroup(cgroup: Cgroup, host: CgroupHost) -> None:
    cgroup.create({})
    pid = started(cgroup, lambda: None)
    other = Cgroup(cgroups.CgroupHost(host.version, dict(host.mounts), host.unified), cgroup.path)
    assert other.exists() and other.pids() == [pid]
    other.kill()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_an_empty_cgroup_left_by_a_crash_is_replaced_and_a_living_one_is_not(cgroup: Cgroup, host: CgroupHost) -> None:
    cgroup.create({})
    stale = f"{next(iter(roots(host)))}/{cgroup.path}/below"
    os.mkdir(stale)
    cgroup.create({})
    assert not os.path.exists(stale)
    pid = started(cgroup, lambda: None)
    with pytest.raises(errors.Conflict, match=str(pid)):
        cgroup.create({})
    assert cgroup.pids() == [pid]


def test_a_refused_limit_leaves_no_cgroup(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "cpuset")
    with pytest.raises(errors.Invalid, match="cpuset_cpus: '0-4000' has"):
        cgroup.create({"cpuset_cpus": "0-4000"})
    assert not any(os.path.exists(f"{root}/{PARENT}") for root in roots(host))


# Limits


def test_more_memory_than_the_limit_kills_and_is_counted(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "memory")
    assert cgroup.create({"memory_bytes": 32 * MIB, "memory_swap_bytes": 32 * MIB}) == ()
    assert os.WIFEXITED(inside(cgroup, fill(8 * MIB)))
    assert cgroup.oom_kills() == 0
    assert os.WTERMSIG(inside(cgroup, fill(64 * MIB))) == signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_memory_is_raised_and_lowered_live(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "memory")
    cgroup.create({"memory_bytes": 32 * MIB, "memory_swap_bytes": 0})
    for size in (96 * MIB, 16 * MIB, 64 * MIB):
        cgroup.set({"memory_bytes": size, "memory_swap_bytes": size})
        assert cgroup.usage().memory_limit_bytes == size
    assert os.WIFEXITED(inside(cgroup, fill(40 * MIB)))
    cgroup.set({"memory_bytes": 0, "memory_swap_bytes": 0})
    assert cgroup.usage().memory_limit_bytes == 0
    assert os.WIFEXITED(inside(cgroup, fill(80 * MIB)))
    assert cgroup.oom_kills() == 0


def test_memory_in_use_is_not_taken_away(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "memory")
    cgroup.create({"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB, "pids": 50})
    block: list[bytearray] = []
    pid = started(cgroup, lambda: block.append(bytearray(b"1") * (32 * MIB)))
    wait_for(lambda: cgroup.usage().memory_bytes > 30 * MIB)
    with pytest.raises(errors.Conflict, match="memory"):
        cgroup.set({"pids": 60, "memory_bytes": 8 * MIB, "memory_swap_bytes": 8 * MIB})
    assert state_of(pid) in "RS"
    assert cgroup.usage().memory_limit_bytes == 64 * MIB
    assert cgroup.usage().pids_limit == (50 if host.has("pids") else 0)


def test_one_process_too_many_is_refused(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "pids")
    cgroup.create({"pids": 3})

    def forks() -> int:
        children = []
        try:
            while len(children) < 10:
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                children.append(pid)
        except BlockingIOError:
            return len(children)
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return 77

    assert os.WEXITSTATUS(inside(cgroup, forks)) == 2
    assert cgroup.usage().pids_refused >= 1
    cgroup.set({"pids": 5})
    assert os.WEXITSTATUS(inside(cgroup, forks)) == 4
    cgroup.set({"pids": -1})
    assert os.WEXITSTATUS(inside(cgroup, forks)) == 77


def test_a_process_gets_its_share_of_a_cpu_and_no_more(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "cpu")
    cgroup.create({"cpu_quota_us": 20_000, "cpu_period_us": 100_000, "cpu_shares": 512})

    def spin() -> None:
        while True:
            pass

    started(cgroup, spin)
    begin = time.monotonic()
    wait_for(lambda: cgroup.usage().cpu_throttled_periods >= 3)
    wall_ns = (time.monotonic() - begin) * 1e9
    assert cgroup.usage().cpu_ns < wall_ns * 0.5
    cgroup.set({"cpu_quota_us": 0, "cpu_shares": 0})
    before = cgroup.usage().cpu_throttled_periods
    busy = cgroup.usage().cpu_ns
    wait_for(lambda: cgroup.usage().cpu_ns > busy + 50_000_000)
    assert cgroup.usage().cpu_throttled_periods <= before + 1


def test_a_process_stays_on_its_cpus(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "cpuset")
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        pytest.skip("this machine has one CPU")
    last = max(every)
    cgroup.create({"cpuset_cpus": str(last), "cpuset_mems": ""})
    pid = started(cgroup, lambda: None)
    assert os.sched_getaffinity(pid) == {last}
    cgroup.set({"cpuset_cpus": str(min(every))})
    assert os.sched_getaffinity(pid) == {min(every)}
    cgroup.set({"cpuset_cpus": ""})
    assert os.sched_getaffinity(pid) >= every


def test_an_error_gives_back_all_cpus_to_a_cgroup_that_had_no_list(cgroup: Cgroup, host: CgroupHost) -> None:
    needs(host, "cpuset", "pids")
    every = os.sched_getaffinity(0)
    cgroup.create({"pids": 50})
    pid = started(cgroup, lambda: None)
    with pytest.raises(errors.Invalid, match="pids"):
        cgroup.set({"cpuset_cpus": str(min(every)), "pids": 99_999_999})
    assert os.sched_getaffinity(pid) >= every
    assert cgroup.usage().pids_limit == 50


# Freezing, killing, removing


def test_a_frozen_process_does_not_run(cgroup: Cgroup) -> None:
    cgroup.create({})
    read_end, write_end = os.pipe()

    def chatter() -> None:
        while True:
            os.write(write_end, b".")
            select.select([], [], [], 0.001)

    pid = started(cgroup, chatter)
    cgroup.freeze()
    assert cgroup.is_frozen()
    os.set_blocking(read_end, False)
    while drained(read_end):
        pass
    assert select.select([read_end], [], [], 0.2)[0] == []
    assert state_of(pid) in "DS"
    cgroup.thaw()
    assert not cgroup.is_frozen()
    assert select.select([read_end], [], [], DEADLINE_S)[0] == [read_end]
    os.close(read_end)
    os.close(write_end)


def drained(fd: int) -> bool:
    try:
        return bool(os.read(fd, 65536))
    except BlockingIOError:
        return False


def test_killing_reaches_the_frozen_and_those_in_cgroups_below(cgroup: Cgroup, host: CgroupHost) -> None:
    cgroup.create({})
    below = Cgroup(host, cgroup.path + "/below")
    for root in roots(host):
        os.mkdir(f"{root}/{below.path}")
        if root == host.mounts.get("cpuset") and root != host.unified:
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{root}/{cgroup.path}/{name}") as ours, open(f"{root}/{below.path}/{name}", "w") as file:
                    file.write(ours.read())
    pids = [started(cgroup, lambda: None), started(below, lambda: None)]
    assert sorted(cgroup.pids()) == sorted(pids)
    cgroup.freeze()
    cgroup.kill()
    assert cgroup.pids() == []
    assert [os.WTERMSIG(os.waitpid(pid, 0)[1]) for pid in pids] == [signal.SIGKILL] * 2
    cgroup.remove()
    assert not cgroup.exists()


def test_killing_is_faster_than_a_forking_process(cgroup: Cgroup) -> None:
    cgroup.create({})

    def fork_on() -> None:
        # Each generation is two new processes, of which the older ones end: nobody who is listed lives long.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if os.fork() != 0:
                select.select([], [], [], 0.002)
                os._exit(0)

    started(cgroup, fork_on)
    wait_for(lambda: cgroup.pids())
    cgroup.kill()
    assert cgroup.pids() == []
    cgroup.remove()


def test_a_host_without_freezer_kills_too(host: CgroupHost, cgroup: Cgroup) -> None:
    if host.unified or not host.has("pids"):
        pytest.skip("only version 1 can lack it")
    poor = Cgroup(CgroupHost("1", {"pids": host.mounts["pids"]}), cgroup.path)
    poor.create({})
    pid = started(poor, lambda: None)
    with pytest.raises(errors.Unsupported, match="pause: this host has no freezer"):
        poor.freeze()
    poor.kill()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    poor.remove()


def test_removing_waits_for_the_last_process_and_is_idempotent(cgroup: Cgroup) -> None:
    cgroup.create({})
    pid = started(cgroup, lambda: None)
    with pytest.raises(errors.Timeout, match=str(pid)):
        cgroup.remove(timeout_s=0.05)
    os.kill(pid, signal.SIGKILL)
    cgroup.remove()
    cgroup.remove()
    cgroup.kill()
    assert cgroup.pids() == [] and not cgroup.exists()


def test_usage_of_a_cgroup_that_is_gone_is_zero(cgroup: Cgroup) -> None:
    assert cgroup.usage() == cgroups.Usage()
    assert cgroup.oom_kills() == 0


# Devices


def test_devices_that_are_not_listed_are_refused_also_after_a_live_change(cgroup: Cgroup, host: CgroupHost) -> None:
    if not host.unified:
        needs(host, "devices")
    cgroup.create({})

    def refused() -> int:
        """One bit for each device that can't be opened: null, kmsg for reading, kmsg for writing."""
        bits = 0
        for bit, (path, flags) in enumerate((("null", os.O_RDWR), ("kmsg", os.O_RDONLY), ("kmsg", os.O_WRONLY))):
            try:
                os.close(os.open(f"/dev/{path}", flags))
            except PermissionError:
                bits |= 1 << bit
        return bits

    kmsg = ("c", 1, 11)
    steps: list[tuple[dict[str, Any], int]] = [
        ({}, 6),
        ({"devices": [(*kmsg, "r")]}, 4),
        ({"devices": [(*kmsg, "rw")]}, 0),
        ({"devices": [(*kmsg, "w")]}, 2),
        ({}, 6),
        ({"privileged": True}, 0),
        ({}, 6),
    ]
    assert os.WEXITSTATUS(inside(cgroup, refused)) == 0
    for arguments, expected in steps:
        allow_devices(cgroup, **arguments)
        assert os.WEXITSTATUS(inside(cgroup, refused)) == expected, arguments


def test_a_device_that_is_not_listed_cannot_be_made(cgroup: Cgroup, host: CgroupHost, tmp_path: Any) -> None:
    if not host.unified:
        needs(host, "devices")
    cgroup.create({})
    allow_devices(cgroup)

    def make() -> int:
        os.mknod(f"{tmp_path}/null", 0o20600, os.makedev(1, 3))
        try:
            os.mknod(f"{tmp_path}/mem", 0o20600, os.makedev(1, 1))
        except PermissionError:
            return 5
        return 6

    assert os.WEXITSTATUS(inside(cgroup, make)) == 5


# The supervisor's place


def test_the_supervisor_has_a_leaf_of_its_own_that_goes_when_empty(host: CgroupHost) -> None:
    pid = os.fork()
    read_end, write_end = os.pipe() if pid else (-1, -1)
    if pid == 0:
        try:
            cgroups.enter_supervisor(host, PARENT)
            signal.pause()
        finally:
            os._exit(0)
    os.close(read_end)
    os.close(write_end)
    tracked = any(name.startswith("name=") for name in host.mounts) or host.unified
    try:
        if tracked:
            wait_for(lambda: f"/{PARENT}/supervisor" in membership(pid))
            cgroups.remove_if_empty(host, PARENT)
            assert f"/{PARENT}/supervisor" in membership(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    wait_for(lambda: not still_there(host))


def test_the_supervisor_leaves_its_session_in_every_hierarchy(host: CgroupHost) -> None:
    taken = [name for name in ("memory", "pids", "devices") if host.mounts.get(name, host.unified) != host.unified]
    if not taken:
        pytest.skip("no controller of version 1 on this host")
    sessions = [f"{host.mounts[name]}/{PARENT}-session" for name in taken]

    def come_and_go() -> tuple[str, str]:
        for session in sessions:
            os.makedirs(session)
            with open(f"{session}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write("0")
        cgroups.enter_supervisor(host, PARENT)
        with open("/proc/self/cgroup", encoding="ascii") as file:
            during = file.read()
        cgroups.leave_supervisor(host, PARENT)
        with open("/proc/self/cgroup", encoding="ascii") as file:
            return during, file.read()

    try:
        during, after = run_isolated(come_and_go)
        assert f"{PARENT}-session" not in during
        assert all(f"{name}:/{PARENT}/supervisor\n" in during for name in taken)
        assert PARENT not in after
        wait_for(lambda: not any(os.path.isdir(f"{root}/{PARENT}") for root in roots(host)))
    finally:
        for session in filter(os.path.isdir, sessions):
            os.rmdir(session)


def still_there(host: CgroupHost) -> bool:
    cgroups.remove_if_empty(host, PARENT)
    return any(os.path.isdir(f"{root}/{PARENT}") for root in roots(host))


def test_a_mount_namespace_with_version_2_alone_is_recognised() -> None:
    if not cgroups.detect().unified:
        pytest.skip("no version 2 hierarchy on this machine")
    assert run_isolated(_version_2_alone) == ("2", "/sys/fs/cgroup", True)


def _version_2_alone() -> tuple[str, str, bool]:
    for line in reversed(list(open("/proc/self/mountinfo", encoding="utf-8"))):
        if line.split()[4].startswith("/sys/fs/cgroup"):
            calls.umount2(line.split()[4])
    calls.mount("none", "/sys/fs/cgroup", "cgroup2", 0)
    host = cgroups.detect()
    cgroup = Cgroup(host, f"{PARENT}/alone")
    cgroup.create({"pids": 2048})
    made = os.path.isfile(f"/sys/fs/cgroup/{PARENT}/alone/cgroup.kill")
    cgroup.remove()
    cgroups.remove_if_empty(host, PARENT)
    return host.version, host.unified, made
