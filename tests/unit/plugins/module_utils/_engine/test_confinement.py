# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From what was asked for to how a container is confined: tables, no host."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.spec import ContainerSpec, DeviceRuleSpec
from ansible_collections.hull.engine.plugins.module_utils._engine import confinement
from ansible_collections.hull.engine.plugins.module_utils._engine.isolation import MASKED_PATHS, READ_ONLY_PATHS

# What the newest Docker and Podman hide and protect.
DOCKER_MASKS = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi "
    "/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware "
    "/sys/devices/system/cpu/cpu*/thermal_throttle"
).split()
PODMAN_MASKS = "/sys/dev/block /sys/fs/selinux".split()
PROTECTED = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def spec(**fields: object) -> ContainerSpec:
    return ContainerSpec(name="a", image="b", **fields)


@pytest.mark.parametrize(
    ("fields", "shared"),
    [
        ({}, set()),
        ({"pid_mode": "host"}, {"pid"}),
        ({"pid_mode": "container:x"}, {"pid"}),
        ({"ipc_mode": "host"}, {"ipc"}),
        ({"ipc_mode": "container:x"}, {"ipc"}),
        ({"ipc_mode": "none"}, set()),
        ({"network_mode": "host"}, {"net"}),
        ({"network_mode": "container:x"}, {"net"}),
        ({"uts_mode": "host"}, {"uts"}),
        ({"cgroupns_mode": "host"}, {"cgroup"}),
        ({"privileged": True}, set()),
    ],
)
def test_a_namespace_is_shared_only_where_it_was_asked_for(fields: dict[str, object], shared: set[str]) -> None:
    everything = {"mount", "pid", "net", "ipc", "uts", "cgroup", "time"}
    assert set(confinement.namespaces(spec(**fields))) == everything - shared


SYSCTLS = """
    kernel.core_pattern kernel.hostname kernel.domainname kernel.modprobe kernel.panic kernel.sysrq kernel.shm
    kernel.shm_next_id kernel.msg_next_id kernel.sem_next_id kernel.auto_msgmni kernel.shmmax+kernel.core_pattern
    vm.overcommit_memory fs.file-max fs.suid_dumpable fs.mqueue. fs.mqueue..x net/ipv4/ip_forward net..core net. .net
    net kernel.shm/../core_pattern kernel.shmmax/../../vm net.ipv4.\nip_forward net.ipv4.ip_forward= net.x+kernel.y
    user.max_user_namespaces
    dev.tty.ldisc_autoload debug.exception-trace abi.vsyscall32 net.../x ../kernel.core_pattern
    kernel.ns_last_pid kernel.yama.ptrace_scope
""".split(" ")
BAD_SYSCTLS = [name.strip() for name in SYSCTLS if name.strip()] + ["", " net.ipv4.ip_forward", "net.ipv4.ip forward"]


@pytest.mark.parametrize("key", BAD_SYSCTLS)
def test_s15_a_setting_that_is_not_of_the_containers_own_namespaces_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match="sysctls"):
        confinement.sysctls(spec(sysctls={key: "1"}))


@pytest.mark.parametrize(
    ("key", "modes"),
    [
        ("kernel.shmmax", {"ipc_mode": "host"}),
        ("kernel.shmmax", {"ipc_mode": "container:other"}),
        ("fs.mqueue.msg_max", {"ipc_mode": "host"}),
        ("net.ipv4.ip_forward", {"network_mode": "host"}),
        ("net.ipv4.ip_forward", {"network_mode": "container:other"}),
    ],
)
def test_s15_a_setting_of_a_shared_namespace_is_refused(key: str, modes: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="sysctls"):
        confinement.sysctls(spec(sysctls={key: "1"}, **modes))


@pytest.mark.parametrize(
    "key",
    "net.ipv4.ip_forward net.ipv4.conf.eth0.rp_filter net.ipv4.neigh.default.gc_thresh1 kernel.shmmax kernel.sem "
    "kernel.shm_rmid_forced kernel.msgmni fs.mqueue.msg_max".split(),
)
def test_s15_a_setting_of_an_own_namespace_is_taken(key: str) -> None:
    assert confinement.sysctls(spec(sysctls={key: "1"}))[key] == "1"


def test_s25_nothing_that_docker_or_podman_hides_or_protects_is_open() -> None:
    assert {*DOCKER_MASKS, *PODMAN_MASKS} <= set(MASKED_PATHS)
    assert set(PROTECTED) <= set(READ_ONLY_PATHS)


def test_masks_are_lifted_and_added() -> None:
    assert confinement.masked_paths(spec()) == MASKED_PATHS
    lifted = spec(unmask=("/proc/kcore", "/sys/fs/*", "/proc/sys/"), mask=("/etc/secret", "/proc/acpi", "/etc/secret"))
    masked = confinement.masked_paths(lifted)
    assert set(MASKED_PATHS) - set(masked) == {"/proc/kcore", "/sys/fs/bpf", "/sys/fs/selinux"}
    assert masked[-1] == "/etc/secret" and len(set(masked)) == len(masked)
    assert set(READ_ONLY_PATHS) - set(confinement.read_only_paths(lifted)) == {"/proc/sys"}
    for opened in (spec(unmask=("ALL",), mask=("/x",)), spec(privileged=True, mask=("/x",))):
        assert confinement.masked_paths(opened) == ("/x",)
        assert confinement.read_only_paths(opened) == ()


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", "own/ID"),
        ("/a/b", "a/b/ID"),
        ("a/b/", "a/b/ID"),
        ("web.slice", "web.slice/own/ID"),
        ("web-db.slice", "web.slice/web-db.slice/own/ID"),
        ("/web-db.slice", "web-db.slice/own/ID"),
        ("system.slice/x.slice", "system.slice/x.slice/own/ID"),
    ],
)
def test_a_cgroup_is_below_the_parent_that_was_asked_for(parent: str, path: str) -> None:
    assert confinement.cgroup_path("own", spec(cgroup_parent=parent), "ID") == path


@pytest.mark.parametrize("parent", ["/", "//", "..", "/a/../b", "a/./b", "-.slice", "a--b.slice", "a\nb", "cgroup.x"])
def test_a_parent_that_is_no_cgroup_is_refused(parent: str) -> None:
    with pytest.raises(Invalid, match="cgroup_parent"):
        confinement.cgroup_path("own", spec(cgroup_parent=parent), "ID")


def test_rules_for_all_kinds_are_for_both() -> None:
    rules = (DeviceRuleSpec("a", -1, -1, "rwm"), DeviceRuleSpec("c", 42, -1, "r"))
    assert confinement.device_rules(rules) == (("b", -1, -1, "rwm"), ("c", -1, -1, "rwm"), ("c", 42, -1, "r"))
