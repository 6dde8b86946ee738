# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What this host can do for containers, found by trying.

Trying happens in forked children with namespaces of their own and on detached mounts, so nothing is left and nothing
of the host's is touched; a kernel module that is installed but not loaded is not loaded for it, it counts as there.
For `engine_info` and for messages; a container start does not ask here, it tries and explains what went wrong.
"""

from __future__ import annotations

import os
import sys

from .._base.values import Value
from . import cgroups, probes
from .cgroup_files import read_or_none
from .packages import package_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cgroups import CgroupHost

MIN_NOFILE = 4096
_ESSENTIAL_CAPABILITIES = frozenset(
    "CAP_SYS_ADMIN CAP_NET_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_MKNOD CAP_SYS_CHROOT "
    "CAP_SETFCAP CAP_SETPCAP CAP_KILL".split()
)
_LIMITERS = ("memory", "cpu", "cpuset", "pids", "blkio")
_PROGRAM_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Lack(Value):
    """Something that this host does not have: what, what does not work without it, and what to do about it."""

    what: str
    why: str
    cure: str
    needed: bool = False  # no container runs without it


class Features(Value):
    """What was found. Programs and packages are their path or version, empty where there is none."""

    kernel: str
    architecture: str
    python: str
    cgroup_version: str
    cgroup_controllers: tuple[str, ...]
    swap_accounting: bool
    overlayfs: bool
    overlay_layer_by_layer: bool  # `lowerdir+` of the new mount API; without it layers are stacked in an older way
    mount_api: bool
    user_namespaces: bool
    max_user_namespaces: int
    time_namespaces: bool
    idmapped_mounts: bool  # on the file system of the state directory
    seccomp: bool
    nftables: bool
    bridge: bool
    veth: bool
    ip_forward: bool
    lsm: tuple[str, ...]
    initial_user_namespace: bool  # not inside a container that maps users
    missing_capabilities: tuple[str, ...]
    rlimit_nofile: tuple[int, int]
    rlimit_nproc: tuple[int, int]
    init_system: str
    pyroute2: str
    nft: str
    zstd: str
    lacks: tuple[Lack, ...] = ()


def probe(directory: str = "/") -> Features:
    """Look and try. `directory` is on the file system where layers are (idmapping depends on it). Takes about 20 ms.

    Never raises for what is missing; without root most of what needs root counts as missing.
    """
    from .._base.values import replace

    features = _look(directory)
    return replace(features, lacks=tuple(lacks_of(features)))


def _look(directory: str) -> Features:
    host = cgroups.detect()
    release = os.uname()
    mount_api = probes.works(probes.try_mount_api)
    overlay = probes.available("overlay", probes.try_overlay)
    newer = probes.release_numbers(release.release) >= (6, 7)  # where lowerdir+ came
    return Features(
        kernel=release.release,
        architecture=release.machine,
        python=".".join(map(str, sys.version_info[:3])),
        cgroup_version=host.version,
        cgroup_controllers=tuple(sorted(name for name in host.mounts if "=" not in name)),
        swap_accounting=_has_swap_accounting(host),
        overlayfs=overlay,
        overlay_layer_by_layer=overlay and (probes.works(probes.try_overlay_layers) or newer),
        mount_api=mount_api,
        user_namespaces=probes.works(probes.try_user_namespace),
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        time_namespaces=probes.works(probes.try_time_namespace),
        idmapped_mounts=probes.works(lambda: probes.try_idmapped_mount(directory)),
        seccomp="errno" in (read_or_none("/proc/sys/kernel/seccomp/actions_avail") or "").split(),
        nftables=probes.available("nf_tables", probes.try_nftables),
        bridge=probes.available("bridge", probes.try_bridge),
        veth=probes.available("veth", probes.try_veth),
        ip_forward=_number("/proc/sys/net/ipv4/ip_forward") == 1,
        lsm=_security_modules(),
        initial_user_namespace=_maps_all_users(read_or_none("/proc/self/uid_map")),
        missing_capabilities=_missing_capabilities(),
        rlimit_nofile=_rlimit("nofile"),
        rlimit_nproc=_rlimit("nproc"),
        init_system=_init_system(),
        pyroute2=package_version("pyroute2"),
        nft=find_program("nft"),
        zstd=_zstd(),
    )


def _maps_all_users(uid_map: str | None) -> bool:
    """Only the initial user namespace does; a kernel that knows no other has no such file."""
    return uid_map is None or uid_map.split() == ["0", "0", "4294967295"]


def _number(path: str) -> int:
    text = read_or_none(path) or ""
    return int(text) if text.isdigit() else 0


def _has_swap_accounting(host: CgroupHost) -> bool:
    """Version 2's root has no memory.swap.max, so any cgroup below it is asked; where there is none, the boot line."""
    root = host.mounts.get("memory")
    if root is None:
        return False
    if root != host.unified:
        return os.path.exists(root + "/memory.memsw.limit_in_bytes")
    with os.scandir(root) as entries:
        below = [entry.path for entry in entries if entry.is_dir() and os.path.exists(entry.path + "/memory.max")]
    if below:
        return any(os.path.exists(cgroup + "/memory.swap.max") for cgroup in below)
    return "swapaccount=0" not in (read_or_none("/proc/cmdline") or "").split()


def _security_modules() -> tuple[str, ...]:
    """The active ones; AppArmor and SELinux by their own word where securityfs is not mounted."""
    names = [name for name in (read_or_none("/sys/kernel/security/lsm") or "").split(",") if name]
    if not names:
        if (read_or_none("/sys/module/apparmor/parameters/enabled") or "") == "Y":
            names.append("apparmor")
        if os.path.exists("/sys/fs/selinux/enforce"):
            names.append("selinux")
    return tuple(names)


def _missing_capabilities() -> tuple[str, ...]:
    from .capabilities import ALL_CAPABILITIES, NUMBERS
    from .privileges import host_capabilities

    last = _number("/proc/sys/kernel/cap_last_cap")
    have = set(host_capabilities())
    return tuple(name for name in ALL_CAPABILITIES if NUMBERS[name] <= last and name not in have)


def _rlimit(name: str) -> tuple[int, int]:
    from .._sys.process_calls import prlimit
    from .._sys.sched_flags import RLIMITS

    return prlimit(0, RLIMITS[name])


def _init_system() -> str:
    return "systemd" if os.path.isdir("/run/systemd/system") else read_or_none("/proc/1/comm") or ""


def find_program(name: str) -> str:
    """The program's path, in PATH or where the system's own programs are; empty if it is in neither."""
    for directory in f"{os.environ.get('PATH', '')}:{_PROGRAM_DIRECTORIES}".split(":"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def _package_version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _zstd() -> str:
    """What can unpack zstd layers: Python itself since 3.14, a package, or the program."""
    if sys.version_info >= (3, 14):
        return "compression.zstd"
    return _package_version("zstandard") and "zstandard" or find_program("zstd")


def lacks_of(features: Features) -> list[Lack]:
    """What is missing, most important first. Pure."""
    return [
        *_lacks_of_kernel(features),
        *_lacks_of_cgroups(features),
        *_lacks_of_limits(features),
        *_lacks_of_tools(features),
    ]


def _lacks_of_kernel(found: Features) -> list[Lack]:
    """Empty without the right to try: what the experiments did not do says nothing about the kernel then."""
    if not found.initial_user_namespace or "CAP_SYS_ADMIN" in found.missing_capabilities:
        return []
    table = (
        (found.mount_api, Lack("mount API", "no root file system can be assembled", "boot Linux 5.10 or later", True)),
        (
            found.overlayfs,
            Lack(
                "overlayfs",
                "images can't be stacked",
                "boot a kernel with CONFIG_OVERLAY_FS, or install its modules",
                True,
            ),
        ),
        (
            found.seccomp,
            Lack(
                "seccomp",
                "system calls of containers can't be filtered",
                "boot a kernel with CONFIG_SECCOMP_FILTER",
                True,
            ),
        ),
        (
            found.user_namespaces,
            Lack("user namespaces", "userns_mode auto does not work", _user_namespace_cure(found.max_user_namespaces)),
        ),
        (
            found.idmapped_mounts,
            Lack(
                "idmapped mounts on the state directory",
                "userns_mode auto does not work",
                "boot Linux 5.19 or later with the state directory on ext4, xfs or btrfs",
            ),
        ),
        (
            found.time_namespaces,
            Lack("time namespaces", "containers see the host's uptime", "boot Linux 5.6 or later with CONFIG_TIME_NS"),
        ),
        (
            found.bridge,
            Lack(
                "bridge",
                "network_mode bridge does not work",
                "boot a kernel with CONFIG_BRIDGE, or install its modules",
            ),
        ),
        (
            found.veth,
            Lack("veth", "network_mode bridge does not work", "boot a kernel with CONFIG_VETH, or install its modules"),
        ),
        (
            found.nftables,
            Lack(
                "nftables",
                "no published ports and no NAT",
                "boot a kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT, or install its modules",
            ),
        ),
    )
    return [lack for there, lack in table if not there]


def _user_namespace_cure(maximum: int) -> str:
    if maximum == 0:
        return "sysctl user.max_user_namespaces=15000, or boot a kernel with CONFIG_USER_NS"
    return "boot a kernel with CONFIG_USER_NS"


def _lacks_of_cgroups(found: Features) -> list[Lack]:
    if not found.cgroup_version:
        return [Lack("cgroups", "no container can be tracked or limited", "mount -t cgroup2 none /sys/fs/cgroup", True)]
    there = {"blkio" if name == "io" else name for name in found.cgroup_controllers}
    lacks = [
        Lack(f"{name} cgroup controller", f"containers can't be limited in {what}", cgroups.cure(name))
        for name, what in zip(_LIMITERS, ("memory", "CPU time", "CPUs", "processes", "I/O"))
        if name not in there
    ]
    if "memory" in there and not found.swap_accounting:
        lacks.append(Lack("swap accounting", "memory_swap has no effect", "boot with swapaccount=1"))
    return lacks


def _lacks_of_limits(found: Features) -> list[Lack]:
    lacks = []
    if not found.initial_user_namespace:
        why = "the engine can't set up containers from inside one that maps users"
        lacks.append(Lack("initial user namespace", why, "run the engine on the host itself", True))
    essential = [name for name in found.missing_capabilities if name in _ESSENTIAL_CAPABILITIES]
    others = [name for name in found.missing_capabilities if name not in _ESSENTIAL_CAPABILITIES]
    if essential:
        lacks.append(Lack(" ".join(essential), "the engine can't set up containers", "run as root of the host", True))
    if others:
        why = "containers can't be given them, privileged ones neither"
        if "CAP_SYS_RESOURCE" in others:
            why += "; ulimits can't be raised above the engine's own"
        lacks.append(
            Lack(" ".join(others), why, "run as root of the host itself, not in a container or restricted unit")
        )
    hard = found.rlimit_nofile[1]
    if 0 <= hard < MIN_NOFILE:
        why = f"the engine and containers get at most {hard} open files"
        lacks.append(Lack("open files limit", why, "raise the hard limit of open files (ulimit -Hn) of the session"))
    return lacks


def _lacks_of_tools(found: Features) -> list[Lack]:
    lacks = []
    if not found.zstd:
        lacks.append(Lack("zstd", "layers compressed with zstd can't be unpacked", "install the zstd package"))
    if not found.nft:
        lacks.append(
            Lack("nft", "nothing of ours needs it; people can't list the rules", "install the nftables package")
        )
    if not found.pyroute2:
        lacks.append(
            Lack("pyroute2", "only network drivers beyond bridge need it", "install the python3-pyroute2 package")
        )
    return lacks
