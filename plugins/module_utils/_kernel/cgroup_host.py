# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which cgroup hierarchies the host has, and which limits that rules out.

Only looks: nothing is made or mounted.
"""

from __future__ import annotations

from .._base.values import Value
from .cgroup_files import read_or_none, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CONTROLLERS = frozenset(
    "cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb rdma misc dmem".split()
)


class CgroupHost(Value):
    """The host's hierarchies.

    `version` is "1", "2", "hybrid", or "" where none is mounted. `mounts` gives for each controller, and each named
    version 1 hierarchy (`name=systemd`), the directory of its root; `unified` is the root of the version 2 tree or
    empty. A controller whose directory is `unified` is a version 2 one; there `blkio` is called `io`, and freezer and
    devices need no controller.
    """

    version: str
    mounts: dict[str, str]
    unified: str = ""

    def has(self, controller: str) -> bool:
        """Whether a hierarchy has the controller, by its version 1 or 2 name (`blkio` and `io` are one)."""
        other = {"blkio": "io", "io": "blkio"}.get(controller, controller)
        return controller in self.mounts or other in self.mounts


def detect(mountinfo: str | None = None) -> CgroupHost:
    """The hierarchies that this process's mount namespace shows; `mountinfo` is the text of /proc/self/mountinfo.

    Where a hierarchy is mounted more than once, a writable mount of its root below /sys/fs/cgroup wins.
    Source: proc_pid_mountinfo(5).
    """
    best: dict[str, tuple[int, str]] = {}
    for line in (read_text("/proc/self/mountinfo") if mountinfo is None else mountinfo).split("\n"):
        fields, _, rest = line.partition(" - ")
        kind, _, rest = rest.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        words = fields.split(" ")
        root, point, writable = words[3], words[4], "rw" in words[5].split(",")
        rank = 4 * writable + 2 * (root == "/") + point.startswith("/sys/fs/cgroup")
        names = ["unified"] if kind == "cgroup2" else _names_v1(rest.partition(" ")[2])
        for name in names:
            if name not in best or rank > best[name][0]:
                best[name] = (rank, _unescape(point))
    mounts = {name: point for name, (_, point) in best.items()}
    unified = mounts.pop("unified", "")
    used_v1 = not mounts.keys().isdisjoint(("memory", "cpu", "cpuset", "pids", "blkio", "devices", "freezer"))
    for name in (read_or_none(unified + "/cgroup.controllers") or "").split() if unified else ():
        mounts.setdefault(name, unified)
    version = ("hybrid" if used_v1 else "2") if unified else "1" if mounts else ""
    return CgroupHost(version, mounts, unified)


def _names_v1(super_options: str) -> list[str]:
    return [name for name in super_options.split(",") if name in _CONTROLLERS or name.startswith("name=")]


def _unescape(path: str) -> str:
    """Undo the octal escapes of mountinfo: blank, tab, newline, backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


_NEEDS = (
    ("memory_bytes", "memory", "memory"),
    ("memory_swap_bytes", "memory_swap", "memory"),
    ("memory_reservation_bytes", "memory_reservation", "memory"),
    ("cpu_quota_us", "cpus", "cpu"),
    ("cpu_shares", "cpu_shares", "cpu"),
    ("cpuset_cpus", "cpuset_cpus", "cpuset"),
    ("cpuset_mems", "cpuset_mems", "cpuset"),
    ("pids", "pids_limit", "pids"),
    ("blkio_weight", "blkio_weight", "blkio"),
)
_DEFAULT_PIDS = 2048
_KERNEL_OPTIONS = {
    "memory": "CONFIG_MEMCG",
    "cpu": "CONFIG_CGROUP_SCHED",
    "cpuset": "CONFIG_CPUSETS",
    "pids": "CONFIG_CGROUP_PIDS",
    "blkio": "CONFIG_BLK_CGROUP",
    "freezer": "CONFIG_CGROUP_FREEZER",
    "devices": "CONFIG_CGROUP_DEVICE",
}


def missing_controllers(host: CgroupHost, limits: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Which of the limits this host can't keep at all: (option, controller, cure). Makes nothing.

    The default limit of processes is not counted: without a pids controller it is dropped with a warning.
    """
    return [(option, name, cure(name)) for option, name in needed_controllers(limits) if not host.has(name)]


def needed_controllers(limits: dict[str, Any]) -> list[tuple[str, str]]:
    """(option, controller) for each limit that can't be dropped silently; the default number of processes can."""
    return [
        (option, controller)
        for field, option, controller in _NEEDS
        if (value := limits.get(field)) and value != -1 and not (field == "pids" and value == _DEFAULT_PIDS)
    ]


def cure(controller: str, proc_cgroups: str | None = None) -> str:
    """What the administrator can do about a missing controller; reads /proc/cgroups unless its text is given."""
    table = {}
    for line in ((read_or_none("/proc/cgroups") or "") if proc_cgroups is None else proc_cgroups).split("\n"):
        words = line.split()
        if len(words) == 4 and words[3].isdigit():
            table[words[0]] = words[3] == "1"
    if table.get(controller) is False:
        return f"boot with cgroup_enable={controller}"
    if table.get(controller):
        return (
            f"the kernel has it, but it is not mounted: mount -t cgroup -o {controller} {controller} "
            f"/sys/fs/cgroup/{controller}, or boot with systemd.unified_cgroup_hierarchy=1"
        )
    return f"boot a kernel that is built with {_KERNEL_OPTIONS.get(controller, 'it')}"
