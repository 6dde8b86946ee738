# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The pure parts of a process's last steps, and of the file tree that it sees."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.cgroup_host import CgroupHost
from ansible_collections.hull.engine.plugins.module_utils._runtime.cgroup_view import hierarchies
from ansible_collections.hull.engine.plugins.module_utils._runtime.device_nodes import all_nodes
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import (
    DevicePlan,
    LaunchPlan,
    MountPlan,
    ProcessPlan,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime.process_setup import (
    candidates,
    environment,
    exec_error,
)
from ansible_collections.hull.engine.plugins.module_utils._runtime.standard_mounts import all_mounts
from ansible_collections.hull.engine.plugins.module_utils._runtime.users import Identity

ALICE = Identity(1000, 1000, (1000,), "/home/alice", "alice")
PLAN = LaunchPlan("0" * 64, "n", "", "/root", "/run", (), ProcessPlan(("true",), ()), "h")


def test_missing_variables_are_added() -> None:
    env = environment(ProcessPlan(("x",), ("A=1=2", "E=", "=no", "nothing"), tty=True), ALICE)
    assert env[b"A"] == b"1=2" and env[b"E"] == b"" and len(env) == 5
    assert env[b"HOME"] == b"/home/alice" and env[b"TERM"] == b"xterm" and env[b"PATH"].startswith(b"/usr/local/sbin:")


def test_given_variables_stay() -> None:
    env = environment(ProcessPlan(("x",), ("HOME=/h", "PATH=/p", "TERM=vt100"), tty=True), ALICE)
    assert env == {b"HOME": b"/h", b"PATH": b"/p", b"TERM": b"vt100"}


def test_bytes_of_the_environment_survive() -> None:
    assert environment(ProcessPlan(("x",), ("A=" + os.fsdecode(b"\xff\n"),)), ALICE)[b"A"] == b"\xff\n"


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("sh", b"/bin:/usr/bin", [b"/bin/sh", b"/usr/bin/sh"]),
        ("sh", b":/bin", [b"./sh", b"/bin/sh"]),
        ("./sh", b"/bin", [b"./sh"]),
        ("/bin/sh", b"/x", [b"/bin/sh"]),
        ("", b"/bin", []),
    ],
)
def test_where_a_command_is_looked_for(name: str, path: bytes, expected: list[bytes]) -> None:
    assert candidates(name, path) == expected


def failures(*numbers: int) -> list[OSError]:
    return [OSError(number, os.strerror(number)) for number in numbers]


@pytest.mark.parametrize(
    ("name", "numbers", "code", "part"),
    [
        ("x", (errno.ENOENT, errno.ENOENT), 127, "PATH"),
        ("x", (errno.EACCES, errno.ENOENT), 126, "not an executable"),
        ("/no/such", (errno.ENOENT,), 127, "no such file"),
        ("/", (errno.ENOENT,), 127, "interpreter"),
        ("/x", (errno.ENOEXEC,), 126, "ENOEXEC"),
        ("/x", (errno.ETXTBSY,), 126, "ETXTBSY"),
        ("", (), 127, "PATH"),
    ],
)
def test_exit_codes_of_commands_that_can_not_run(name: str, numbers: tuple[int, ...], code: int, part: str) -> None:
    error = exec_error(name, failures(*numbers))
    assert error.exit_code == code and part in error.message and f'exec "{name}"' in error.message


def test_the_plans_mounts_replace_standard_ones_and_come_by_depth() -> None:
    mounts = (MountPlan("tmpfs", "/a/b/c"), MountPlan("bind", "/a", "/x"), MountPlan("bind", "//dev/shm/", "/dev/shm"))
    found = [(mount.kind, mount.target) for mount in all_mounts(replace(PLAN, mounts=mounts))]
    assert ("tmpfs", "/dev/shm") not in found
    assert found[-3:] == [("bind", "/a"), ("bind", "//dev/shm/"), ("tmpfs", "/a/b/c")]
    assert found[0] == ("proc", "/proc") and ("sysfs", "/sys") in found


def test_privileged_containers_may_write_sys_and_cgroup() -> None:
    read_only = {mount.target for mount in all_mounts(PLAN) if mount.read_only}
    assert read_only == {"/sys", "/sys/fs/cgroup"}
    assert not any(mount.read_only for mount in all_mounts(replace(PLAN, privileged=True)))


def test_dev_shm_is_that_of_whose_ipc_namespace_it_is() -> None:
    def shm(**fields: Any) -> tuple[str, str] | None:
        found = {mount.target: mount for mount in all_mounts(replace(PLAN, **fields))}
        assert found["/dev/mqueue"].kind == "mqueue"
        mount = found.get("/dev/shm")
        return (mount.kind, mount.source) if mount else None

    shared = ("mount", "pid")
    assert shm() == ("tmpfs", "")
    assert shm(shm_size_bytes=0) is None
    assert shm(namespaces=shared) == ("bind", "/dev/shm")
    assert shm(namespaces=shared, join={"ipc": 42}) == ("process", "42")


def test_every_mount_but_the_root_is_nosuid() -> None:
    assert all("nosuid" in mount.flags for mount in all_mounts(PLAN))


def test_a_plans_node_replaces_a_default_one() -> None:
    nodes = {node.path: node for node in all_nodes((DevicePlan("/dev/null", "c", 9, 9), DevicePlan("/x", "c", 1, 1)))}
    assert nodes["/dev/null"].major == 9 and "/x" not in nodes and len(nodes) == 6


def test_hierarchies_of_version_1() -> None:
    mounts = {"cpu": "/c/cpu,cpuacct", "cpuacct": "/c/cpu,cpuacct", "name=systemd": "/c/systemd", "io": "/c/unified"}
    host = CgroupHost("hybrid", mounts, "/c/unified")
    assert hierarchies(host) == {"cpu,cpuacct": "cpu,cpuacct", "systemd": "none,name=systemd"}
