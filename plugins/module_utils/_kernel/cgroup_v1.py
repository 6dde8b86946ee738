# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What limits are in cgroup version 1: per controller, the files to write and in which order.

Each function gets the container's directory in that controller's hierarchy and the limits (fields of
`_base.spec.Limits`). A limit that is not in the dict is left alone. With `fresh` (a cgroup just made, everything at
the kernel's default) a limit of 0 needs no write; otherwise it is put back to the default.

Source: the kernel's admin-guide/cgroup-v1/*.rst, scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os

from .cgroup_files import Setting, read_int, read_or_none, read_table, read_text, write_text
from .cgroup_rates import has_scheduler, throttles
from .cgroup_sets import check_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNLIMITED = 1 << 62  # what the kernel shows for no limit is a multiple of the page size just below 2**63
NO_SWAP_ACCOUNTING = (
    "memory_swap: this kernel does not account swap, memory is limited without it; boot with swapaccount=1"
)
NO_WEIGHT = "blkio_weight: no disk has an I/O scheduler with weights, the weight has no effect; use the bfq scheduler"

NO_SWAPPINESS = "memory_swappiness: this kernel has none for each cgroup, it has no effect; set vm.swappiness"
NO_OOM_CONTROL = (
    "oom_killer: this kernel always kills where memory runs out, it has no effect; raise memory or use oom_score_adj"
)
NO_QUOTA = "cpus: this kernel has no CPU quotas, there is no limit; use one built with CONFIG_CFS_BANDWIDTH"
DEFAULT_PERIOD_US = 100_000


def memory(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """memory.limit_in_bytes and memory.memsw.limit_in_bytes in the order that keeps the one below the other, then
    memory.soft_limit_in_bytes, memory.swappiness and memory.oom_control."""
    settings = []
    if "memory_bytes" in limits or "memory_swap_bytes" in limits:
        settings = _memory_and_swap(directory, limits, fresh=fresh)
    reservation = limits.get("memory_reservation_bytes")
    if reservation or (reservation == 0 and not fresh):
        value = str(reservation) if reservation > 0 else "-1"
        settings.append(Setting("memory_reservation", directory + "/memory.soft_limit_in_bytes", value))
    swappiness = limits.get("memory_swappiness")
    if swappiness is not None and (swappiness >= 0 or not fresh):
        given = swappiness >= 0
        value = str(swappiness) if given else read_or_none(os.path.dirname(directory) + "/memory.swappiness") or "60"
        path = directory + "/memory.swappiness"
        settings.append(Setting("memory_swappiness", path, value, NO_SWAPPINESS if given else ""))
    disable = limits.get("oom_kill_disable")
    if disable or (disable is not None and not fresh):
        path = directory + "/memory.oom_control"
        back = str(read_table(path).get("oom_kill_disable", 0))
        settings.append(Setting("oom_killer", path, str(int(disable)), NO_OOM_CONTROL if disable else "", back=back))
    return settings


def swap_total(memory_bytes: int, memory_swap_bytes: int) -> int:
    """Memory plus swap as Docker means them: 0 is twice the memory where that is limited, -1 no limit."""
    if memory_swap_bytes == 0:
        return memory_bytes * 2 if memory_bytes > 0 else -1
    return memory_swap_bytes


def _memory_and_swap(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    limit_path, total_path = directory + "/memory.limit_in_bytes", directory + "/memory.memsw.limit_in_bytes"
    limit = limits["memory_bytes"] if "memory_bytes" in limits else _finite(read_int(limit_path))
    total = swap_total(limit, limits.get("memory_swap_bytes", 0))
    if fresh and limit <= 0 and total < 0:
        return []
    set_limit = Setting("memory", limit_path, str(limit) if limit > 0 else "-1")
    current = read_or_none(total_path)
    if current is None:
        return [set_limit, Setting("memory_swap", total_path, str(total), NO_SWAP_ACCOUNTING if total >= 0 else "")]
    set_total = Setting("memory_swap", total_path, str(total))
    # The kernel refuses any moment with memory above memory plus swap.
    raising = total < 0 or total >= int(current)
    return [set_total, set_limit] if raising else [set_limit, set_total]


def _finite(value: int) -> int:
    return value if 0 < value < _UNLIMITED else 0


def cpu(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """cpu.shares, cpu.cfs_period_us, cpu.cfs_quota_us."""
    settings = []
    shares = limits.get("cpu_shares")
    if shares or (shares == 0 and not fresh):
        settings.append(Setting("cpu_shares", directory + "/cpu.shares", str(shares or 1024)))
    if "cpu_quota_us" not in limits and "cpu_period_us" not in limits:
        return settings
    quota_path, period_path = directory + "/cpu.cfs_quota_us", directory + "/cpu.cfs_period_us"
    quota_us = limits["cpu_quota_us"] if "cpu_quota_us" in limits else max(read_int(quota_path), 0)
    period_us = limits.get("cpu_period_us") or DEFAULT_PERIOD_US
    if fresh and quota_us <= 0 and period_us == DEFAULT_PERIOD_US:
        return settings
    without = quota_warning(quota_us, period_us)
    # Without a quota any period is valid, so the pair is never wrong in between.
    if not fresh:
        settings.append(Setting("cpus", quota_path, "-1", without))
    settings.append(Setting("cpu_period", period_path, str(period_us), without))
    if quota_us > 0:
        settings.append(Setting("cpus", quota_path, str(quota_us), without))
    return settings


def quota_warning(quota_us: int, period_us: int) -> str:
    """What to say where the kernel has no quotas: nothing if none is wanted."""
    return NO_QUOTA if quota_us > 0 or period_us != DEFAULT_PERIOD_US else ""


def cpuset(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """cpuset.cpus and cpuset.mems; an empty limit is the parent's set, because version 1 has no empty one.

    Raises Invalid for CPUs and nodes that are not there.
    """
    settings = []
    for option in ("cpuset_cpus", "cpuset_mems"):
        name = option.replace("_", ".")
        wanted = limits.get(option)
        if not wanted and (wanted is None or fresh):
            continue
        available = read_or_none(f"{os.path.dirname(directory)}/{name}") or ""
        if wanted:
            check_set(wanted, available, option=option)
        settings.append(Setting(option, f"{directory}/{name}", wanted or available))
    return settings


def pids(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """pids.max; 0 and -1 are no limit. The file is the same in both versions."""
    limit = limits.get("pids")
    if limit is None or (fresh and limit <= 0):
        return []
    return [Setting("pids_limit", directory + "/pids.max", str(limit) if limit > 0 else "max")]


def blkio(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """blkio.bfq.weight, or blkio.weight of kernels before 5.0, with Docker's range 10 to 1000; then the rates."""
    settings = throttles(directory, limits, fresh=fresh)
    weight = limits.get("blkio_weight")
    if weight or (weight is not None and not fresh):
        old = directory + "/blkio.weight"
        path = old if os.path.exists(old) else directory + "/blkio.bfq.weight"
        default, scheduler = (500, "cfq") if path == old else (100, "bfq")
        warning = NO_WEIGHT if weight and not has_scheduler(scheduler) else ""
        settings.append(Setting("blkio_weight", path, str(weight or default), warning, warning=warning))
    return settings


SETTINGS = {"memory": memory, "cpu": cpu, "cpuset": cpuset, "pids": pids, "blkio": blkio}


def copy_cpuset(root: str, directory: str) -> None:
    """Give a new cpuset cgroup, and those above it up to `root`, its parent's CPUs and memory nodes where it has none.

    No process can enter a version 1 cpuset that is empty. OSError goes through.
    """
    for name in ("/cpuset.cpus", "/cpuset.mems"):
        _inherit(root, directory, name)


def _inherit(root: str, directory: str, name: str) -> str:
    value = read_text(directory + name)
    if not value and len(directory) > len(root):
        value = _inherit(root, os.path.dirname(directory), name)
        write_text(directory + name, value)
    return value


def memory_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the memory controller knows."""
    stat = read_table(directory + "/memory.stat")
    used, total = read_int(directory + "/memory.usage_in_bytes"), read_int(directory + "/memory.memsw.usage_in_bytes")
    return {
        "memory_bytes": used,
        "memory_inactive_file_bytes": stat.get("total_inactive_file", stat.get("inactive_file", 0)),
        "memory_peak_bytes": read_int(directory + "/memory.max_usage_in_bytes"),
        "memory_limit_bytes": _finite(read_int(directory + "/memory.limit_in_bytes")),
        "swap_bytes": max(total - used, 0),
    }


def cpu_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the cpu controller knows."""
    stat = read_table(directory + "/cpu.stat")
    return {
        "cpu_periods": stat.get("nr_periods", 0),
        "cpu_throttled_periods": stat.get("nr_throttled", 0),
        "cpu_throttled_ns": stat.get("throttled_time", 0),
    }


def cpuacct_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the cpuacct controller knows."""
    return {
        "cpu_ns": read_int(directory + "/cpuacct.usage"),
        "cpu_user_ns": read_int(directory + "/cpuacct.usage_user"),
        "cpu_system_ns": read_int(directory + "/cpuacct.usage_sys"),
    }


def pids_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the pids controller knows; the files are the same in both versions."""
    return {
        "pids": read_int(directory + "/pids.current"),
        "pids_limit": max(read_int(directory + "/pids.max"), 0),
        "pids_refused": read_table(directory + "/pids.events").get("max", 0),
    }


def blkio_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the blkio controller knows."""
    totals = {"Read": 0, "Write": 0}
    for line in (read_or_none(directory + "/blkio.throttle.io_service_bytes_recursive") or "").split("\n"):
        words = line.split()
        if len(words) == 3 and words[1] in totals:
            totals[words[1]] += int(words[2])
    return {"io_read_bytes": totals["Read"], "io_write_bytes": totals["Write"]}


USAGE = {
    "memory": memory_usage,
    "cpu": cpu_usage,
    "cpuacct": cpuacct_usage,
    "pids": pids_usage,
    "blkio": blkio_usage,
}
