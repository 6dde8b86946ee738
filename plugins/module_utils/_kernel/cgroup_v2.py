# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What limits are in cgroup version 2: per controller, the files to write; and the delegation of controllers.

The functions have the same arguments as those in `cgroup_v1.py`: the container's directory, the limits (fields of
`_base.spec.Limits`, missing ones are left alone), and whether the cgroup is fresh.

Source: the kernel's admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os

from .._base.errors import Conflict
from .cgroup_files import Setting, read_int, read_or_none, read_table, read_text, write_text
from .cgroup_rates import has_scheduler, io_max
from .cgroup_sets import check_set
from .cgroup_v1 import DEFAULT_PERIOD_US, NO_OOM_CONTROL, NO_SWAPPINESS, pids, pids_usage, quota_warning, swap_total
from .failures import syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_SWAP_ACCOUNTING = (
    "memory_swap: this kernel does not account swap, memory is limited without it; boot with swapaccount=1"
)
NO_WEIGHT = "blkio_weight: no disk has I/O weights, the weight has no effect; use the bfq scheduler or iocost"

MIN_SHARES, MAX_SHARES, DEFAULT_SHARES = 2, 262_144, 1024


def memory(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """memory.max, memory.swap.max (swap alone, without the memory) and memory.low.

    Version 2 has no file for swappiness and none to keep the kernel from killing; asking for those gives the warnings.
    """
    settings = []
    if "memory_bytes" in limits or "memory_swap_bytes" in limits:
        given = limits.get("memory_bytes")
        limit = max(read_int(directory + "/memory.max"), 0) if given is None else given
        total = swap_total(limit, limits.get("memory_swap_bytes", 0))
        swap = "max" if total < 0 else str(max(total - max(limit, 0), 0))
        without = NO_SWAP_ACCOUNTING if total >= 0 else ""
        if total >= 0 or not fresh:
            settings.append(Setting("memory_swap", directory + "/memory.swap.max", swap, without))
        if given is not None and (limit > 0 or not fresh):
            settings.append(Setting("memory", directory + "/memory.max", str(limit) if limit > 0 else "max"))
    reservation = limits.get("memory_reservation_bytes")
    if reservation or (reservation == 0 and not fresh):
        settings.append(Setting("memory_reservation", directory + "/memory.low", str(max(reservation, 0))))
    if limits.get("memory_swappiness", -1) >= 0:
        value = str(limits["memory_swappiness"])
        settings.append(Setting("memory_swappiness", directory + "/memory.swappiness", value, NO_SWAPPINESS))
    if limits.get("oom_kill_disable"):
        settings.append(Setting("oom_killer", directory + "/memory.oom_control", "1", NO_OOM_CONTROL))
    return settings


def weight_from_shares(shares: int) -> int:
    """cpu.weight (1 to 10000) for Docker's CPU shares (2 to 262144), with 1024 at the default of 100.

    The curve is the one that runc and crun use: ten to the power of a quadratic in log2(shares), through the three
    points that both scales share (least, default, most).
    """
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return 10_000
    from math import ceil, log2

    power = log2(shares)
    # Rounded first, because 10**2.0000000000000004 must not become 101.
    return int(ceil(round(10 ** ((power * power + 125 * power) / 612 - 7 / 34), 6)))


def cpu(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """cpu.weight and cpu.max."""
    settings = []
    shares = limits.get("cpu_shares")
    if shares or (shares == 0 and not fresh):
        weight = weight_from_shares(shares or DEFAULT_SHARES)
        settings.append(Setting("cpu_shares", directory + "/cpu.weight", str(weight)))
    if "cpu_quota_us" in limits or "cpu_period_us" in limits:
        path = directory + "/cpu.max"
        quota_us = limits["cpu_quota_us"] if "cpu_quota_us" in limits else _quota_us(path)
        period_us = limits.get("cpu_period_us") or DEFAULT_PERIOD_US
        if not fresh or quota_us > 0 or period_us != DEFAULT_PERIOD_US:
            value = f"{quota_us if quota_us > 0 else 'max'} {period_us}"
            settings.append(Setting("cpus", path, value, quota_warning(quota_us, period_us)))
    return settings


def _quota_us(path: str) -> int:
    quota = (read_or_none(path) or "max").split()[0]
    return 0 if quota == "max" else int(quota)


def cpuset(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """cpuset.cpus and cpuset.mems; empty means the parent's. Raises Invalid for those that are not there.

    Some kernels (6.1) refuse to empty them while there are processes (ENOSPC): there the parent's are written out.
    Source: kernel/cgroup/cpuset.c, validate_change.
    """
    settings = []
    for option in ("cpuset_cpus", "cpuset_mems"):
        name = option.replace("_", ".")
        wanted = limits.get(option)
        if wanted is None or (wanted == "" and fresh):
            continue
        available = read_or_none(f"{os.path.dirname(directory)}/{name}.effective") or ""
        if wanted:
            check_set(wanted, available, option=option)
        settings.append(Setting(option, f"{directory}/{name}", wanted, instead_of_empty=available))
    return settings


def weight_from_blkio(weight: int) -> int:
    """io.weight (1 to 10000) for Docker's blkio weight (10 to 1000), linear between the ends."""
    return 1 + (min(max(weight, 10), 1000) - 10) * 9999 // 990


def io(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """io.max; io.bfq.weight (same scale as Docker's) and io.weight (iocost's), where the kernel has them."""
    settings = io_max(directory, limits, fresh=fresh)
    weight = limits.get("blkio_weight")
    if not weight and (weight is None or fresh):
        return settings
    bfq, general = directory + "/io.bfq.weight", directory + "/io.weight"
    warning = NO_WEIGHT if weight and not (_has_iocost(directory) or has_scheduler("bfq")) else ""
    if os.path.exists(bfq):
        settings.append(Setting("blkio_weight", bfq, str(weight or 100), warning, warning=warning))
    if os.path.exists(general) or not os.path.exists(bfq):
        value = weight_from_blkio(weight) if weight else 100
        settings.append(Setting("blkio_weight", general, str(value), warning, warning=warning))
    return settings


def _has_iocost(directory: str) -> bool:
    """Whether io.weight has an effect on any disk: the root's io.cost.qos says so, nothing below it does."""
    while directory != "/":
        directory = os.path.dirname(directory)
        text = read_or_none(directory + "/io.cost.qos")
        if text is not None:
            return "enable=1" in text
    return False


_ORDER = ("memory", "io", "cpu", "cpuset", "pids")
SETTINGS = {"memory": memory, "cpu": cpu, "cpuset": cpuset, "pids": pids, "io": io}


def enable(root: str, directory: str) -> str:
    """Let `root`, `directory` and all between pass on memory, cpu, cpuset, io and pids, as far as they can; idempotent.

    Returns what stands in the way, empty where nothing does. What a cgroup below `directory` has in the end is in its
    cgroup.controllers. Controllers are enabled together, because a cgroup that has processes itself refuses memory and
    io, and would with the others alone become a thread root, below which no process can live.
    """
    wanted = [name for name in _ORDER if name in read_text(root + "/cgroup.controllers").split()]
    if set(wanted).issubset(read_text(directory + "/cgroup.subtree_control").split()):
        return ""
    steps = directory[len(root) :].strip("/").split("/") if directory != root else []
    for depth in range(len(steps) + 1):
        at = "/".join([root, *steps[:depth]])
        obstacle = _enable_here(at, wanted)
        if obstacle:
            return obstacle
        enabled = read_text(at + "/cgroup.subtree_control").split()
        wanted = [name for name in wanted if name in enabled]
    return ""


def _enable_here(directory: str, wanted: list[str]) -> str:
    path = directory + "/cgroup.subtree_control"
    enabled = read_text(path).split()
    missing = [name for name in wanted if name not in enabled]
    # First together; then one by one, because a controller may be refused alone (cpu with real-time processes about).
    for names in [missing, *([name] for name in missing)] if missing else ():
        try:
            write_text(path, " ".join("+" + name for name in names))
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EOPNOTSUPP):
                return f"{directory} has processes itself; run the engine where it sees the host's own root cgroup"
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise syscall_error(f"enable {' '.join(names)} in {path}", error) from error
        else:
            if names is missing:
                break
    return ""


def make_room(directory: str, limit_bytes: int) -> None:
    """Before memory.max is lowered on a living cgroup: reclaim what is above the new limit.

    The kernel would reclaim by itself, but kill processes where that does not suffice; a change of a limit must not.
    Raises Conflict where too much stays in use. Source: cgroup-v2.rst, memory.reclaim (Linux 5.19).
    """
    current = read_int(directory + "/memory.current")
    if current <= limit_bytes:
        return
    try:
        write_text(directory + "/memory.reclaim", str(current - limit_bytes))
    except OSError:  # EAGAIN: less than asked for was reclaimed; ENOENT: an older kernel
        pass
    current = read_int(directory + "/memory.current")
    if current > limit_bytes:
        raise Conflict(
            f"memory: the container uses {current} bytes, which is more than the new limit of {limit_bytes}",
            hint="choose a higher limit or restart the container with the new one",
        )


def memory_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the memory controller knows."""
    stat = read_table(directory + "/memory.stat")
    return {
        "memory_bytes": read_int(directory + "/memory.current"),
        "memory_inactive_file_bytes": stat.get("inactive_file", 0),
        "memory_peak_bytes": max(read_int(directory + "/memory.peak"), 0),
        "memory_limit_bytes": max(read_int(directory + "/memory.max"), 0),
        "swap_bytes": read_int(directory + "/memory.swap.current"),
    }


def cpu_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` in cpu.stat, which is there without the cpu controller too."""
    stat = read_table(directory + "/cpu.stat")
    return {
        "cpu_ns": stat.get("usage_usec", 0) * 1000,
        "cpu_user_ns": stat.get("user_usec", 0) * 1000,
        "cpu_system_ns": stat.get("system_usec", 0) * 1000,
        "cpu_periods": stat.get("nr_periods", 0),
        "cpu_throttled_periods": stat.get("nr_throttled", 0),
        "cpu_throttled_ns": stat.get("throttled_usec", 0) * 1000,
    }


def io_usage(directory: str) -> dict[str, int]:
    """Fields of `cgroups.Usage` that the io controller knows, summed over devices."""
    totals = {"rbytes": 0, "wbytes": 0}
    for line in (read_or_none(directory + "/io.stat") or "").split("\n"):
        for word in line.split()[1:]:
            key, _, value = word.partition("=")
            if key in totals:
                totals[key] += int(value)
    return {"io_read_bytes": totals["rbytes"], "io_write_bytes": totals["wbytes"]}


USAGE = {"memory": memory_usage, "cpu": cpu_usage, "pids": pids_usage, "io": io_usage}
