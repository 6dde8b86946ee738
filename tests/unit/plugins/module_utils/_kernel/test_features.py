# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._kernel.features import Features, find_program, lacks_of

COMPLETE = Features(
    kernel="6.12.0",
    architecture="x86_64",
    python="3.13.1",
    cgroup_version="2",
    cgroup_controllers=("cpu", "cpuset", "io", "memory", "pids"),
    swap_accounting=True,
    overlayfs=True,
    overlay_layer_by_layer=True,
    mount_api=True,
    user_namespaces=True,
    max_user_namespaces=1000,
    time_namespaces=True,
    idmapped_mounts=True,
    seccomp=True,
    nftables=True,
    bridge=True,
    veth=True,
    ip_forward=True,
    lsm=("apparmor",),
    initial_user_namespace=True,
    missing_capabilities=(),
    rlimit_nofile=(1024, 524288),
    rlimit_nproc=(-1, -1),
    init_system="systemd",
    pyroute2="0.7.2",
    nft="/usr/sbin/nft",
    zstd="/usr/bin/zstd",
)


def test_a_complete_host_lacks_nothing():
    assert lacks_of(COMPLETE) == []


def test_an_older_overlayfs_is_no_lack_because_there_is_another_way():
    assert lacks_of(replace(COMPLETE, overlay_layer_by_layer=False)) == []


@pytest.mark.parametrize(
    ("change", "what", "cure", "needed"),
    [
        ({"overlayfs": False}, "overlayfs", "CONFIG_OVERLAY_FS", True),
        ({"mount_api": False}, "mount API", "Linux 5.10", True),
        ({"seccomp": False}, "seccomp", "CONFIG_SECCOMP_FILTER", True),
        ({"user_namespaces": False, "max_user_namespaces": 0}, "user namespaces", "sysctl", False),
        ({"user_namespaces": False}, "user namespaces", "CONFIG_USER_NS", False),
        ({"idmapped_mounts": False}, "idmapped mounts on the state directory", "5.19", False),
        ({"nftables": False}, "nftables", "CONFIG_NF_TABLES", False),
        ({"cgroup_version": "", "cgroup_controllers": ()}, "cgroups", "mount -t cgroup2", True),
        ({"cgroup_controllers": ("cpu", "cpuset", "io", "pids")}, "memory cgroup controller", "", False),
        ({"swap_accounting": False}, "swap accounting", "swapaccount=1", False),
        ({"missing_capabilities": ("CAP_SYS_RESOURCE",)}, "CAP_SYS_RESOURCE", "root of the host", False),
        ({"missing_capabilities": ("CAP_SYS_ADMIN",)}, "CAP_SYS_ADMIN", "root of the host", True),
        ({"initial_user_namespace": False, "overlayfs": False}, "initial user namespace", "host itself", True),
        ({"rlimit_nofile": (256, 1024)}, "open files limit", "ulimit", False),
        ({"zstd": ""}, "zstd", "install", False),
        ({"pyroute2": ""}, "pyroute2", "python3-pyroute2", False),
        ({"nft": ""}, "nft", "install", False),
    ],
)
def test_each_lack_is_told_with_its_cure(change, what, cure, needed):
    (lack,) = lacks_of(replace(COMPLETE, **change))
    assert lack.what == what
    assert cure in lack.cure
    assert lack.why and lack.cure
    assert lack.needed is needed


def test_an_unlimited_number_of_open_files_is_enough():
    assert lacks_of(replace(COMPLETE, rlimit_nofile=(1024, -1))) == []


def test_a_program_is_found_in_the_path_and_a_missing_one_is_not(tmp_path, monkeypatch):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("tool") == f"{tmp_path}/tool"
    assert find_program("data") == ""
    assert find_program("no-such-program") == ""
