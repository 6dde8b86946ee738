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
    from collections.abc import Iterable
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
    ("memory_swappiness", "memory_swappiness", "memory"),
    ("oom_kill_disable", "oom_killer", "memory"),
    ("cpu_quota_us", "cpus", "cpu"),
    ("cpu_shares", "cpu_shares", "cpu"),
    ("cpuset_cpus", "cpuset_cpus", "cpuset"),
    ("cpuset_mems", "cpuset_mems", "cpuset"),
    ("pids", "pids_limit", "pids"),
    ("blkio_weight", "blkio_weight", "blkio"),
    ("read_bps", "device_read_bps", "blkio"),
    ("write_bps", "device_write_bps", "blkio"),
    ("read_iops", "device_read_iops", "blkio"),
    ("write_iops", "device_write_iops", "blkio"),
)
_PAIRS = (("memory_bytes", "memory_swap_bytes"), ("cpu_quota_us", "cpu_period_us"))
_KERNEL_OPTIONS = {
    "memory": "CONFIG_MEMCG",
    "cpu": "CONFIG_CGROUP_SCHED",
    "cpuset": "CONFIG_CPUSETS",
    "pids": "CONFIG_CGROUP_PIDS",
    "blkio": "CONFIG_BLK_CGROUP",
    "freezer": "CONFIG_CGROUP_FREEZER",
    "devices": "CONFIG_CGROUP_DEVICE",
}


def unkept_limits(
    host: CgroupHost, limits: dict[str, Any], withheld: Iterable[str] = (), obstacle: str = ""
) -> tuple[str, ...]:
    """A warning, with the cure, for each limit whose controller the host does not have or withholds from the cgroup.

    The container runs without such a limit. `obstacle` is why controllers are withheld.
    """
    warnings = []
    for option, controller in needed_controllers(limits):
        if not host.has(controller):
            text = f"this host has no {controller} cgroup controller, there is no limit; {cure(controller)}"
        elif ("io" if controller == "blkio" else controller) in withheld:
            why = obstacle or "see cgroup.subtree_control of the cgroups above it"
            text = f"the {controller} controller is not passed on to the container's cgroup, there is no limit; {why}"
        else:
            continue
        warnings.append(f"{option}: {text}")
    return tuple(warnings)


def needed_controllers(limits: dict[str, Any]) -> list[tuple[str, str]]:
    """(option, controller) for each limit that is one; no list or rate, -1 and, but for swappiness, 0 are none."""
    return [
        (option, controller)
        for field, option, controller in _NEEDS
        if (value := limits.get(field, -1)) != -1 and (value or field == "memory_swappiness")
    ]


def changed_limits(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What `Cgroup.set` must be given to get from one to the other: what differs, and what belongs to it. Pure."""
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    for pair in _PAIRS:
        if not changed.keys().isdisjoint(pair):
            changed.update((name, after[name]) for name in pair if name in after)
    return changed


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
