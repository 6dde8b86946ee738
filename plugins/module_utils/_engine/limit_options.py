# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write to limit a container's resources, as Limits. Pure. Every error is Invalid and names the option."""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import ContainerSpec, Limits
from .._base.units import parse_cpus, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MIN_MEMORY = 6 * 1024 * 1024
_RATES = {
    "read_bps": "device_read_bps",
    "write_bps": "device_write_bps",
    "read_iops": "device_read_iops",
    "write_iops": "device_write_iops",
}


def size(options: dict[str, Any], option: str, default: int = 0) -> int:
    """Bytes, or the default where the option is not given."""
    value = options.get(option)
    return default if value in (None, "") else parse_size(value, option=option)


def integer(options: dict[str, Any], option: str, default: int, low: int, high: int) -> int:
    """A number within bounds, or the default where the option is not given."""
    value = options.get(option)
    if value is None:
        return default
    text = str(value).strip()
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise Invalid(f"{value!r} is not a number", option=option, hint=f"write one between {low} and {high}")
    number = int(text)
    if not low <= number <= high:
        raise Invalid(f"{number} is not between {low} and {high}", option=option)
    return number


def parse_shm_size(options: dict[str, Any]) -> int:
    """Bytes of /dev/shm. 0 is not given, as in Docker: a tmpfs of size 0 would have no limit."""
    shm_size = size(options, "shm_size")
    if shm_size < 0:
        raise Invalid("has to have a limit", option="shm_size", hint="write it like 64M")
    return shm_size or ContainerSpec.shm_size_bytes


def parse_limits(options: dict[str, Any]) -> Limits:
    """All limits that a control group keeps."""
    memory, swap, reservation = _memory(options)
    quota_us, period_us = _cpu_time(options)
    shares = integer(options, "cpu_shares", 0, 0, 262144)
    if shares == 1:
        raise Invalid("1 is too little", option="cpu_shares", hint="the minimum is 2")
    weight = integer(options, "blkio_weight", 0, 0, 1000)
    if 0 < weight < 10:
        raise Invalid(f"{weight} is not between 10 and 1000", option="blkio_weight")
    pids = integer(options, "pids_limit", Limits.pids, -1, 4194304)
    return Limits(
        memory_bytes=memory,
        memory_swap_bytes=swap,
        memory_reservation_bytes=reservation,
        memory_swappiness=integer(options, "memory_swappiness", -1, -1, 100),
        kernel_memory_bytes=max(size(options, "kernel_memory"), 0),
        oom_kill_disable=bool(options.get("oom_killer")),
        cpu_quota_us=quota_us,
        cpu_period_us=period_us,
        cpu_shares=shares,
        cpuset_cpus=_number_list(options, "cpuset_cpus"),
        cpuset_mems=_number_list(options, "cpuset_mems"),
        pids=pids or -1,
        blkio_weight=weight,
        **{field: _rates(options, option) for field, option in _RATES.items()},
    )


def _memory(options: dict[str, Any]) -> tuple[int, int, int]:
    """Memory, memory with swap, and what is reserved; -1 as memory or reservation is no limit, as 0 is."""
    memory, swap = max(size(options, "memory"), 0), size(options, "memory_swap")
    reservation = max(size(options, "memory_reservation"), 0)
    if 0 < memory < _MIN_MEMORY:
        raise Invalid(f"{memory} bytes are too little", option="memory", hint="the minimum is 6M")
    if swap > 0 and not memory:
        raise Invalid("needs memory too", option="memory_swap", hint="it counts memory plus swap")
    if 0 < swap < memory:
        raise Invalid("is less than memory", option="memory_swap", hint="it counts memory plus swap")
    if memory and reservation > memory:
        raise Invalid("is more than memory", option="memory_reservation", hint="it is what remains under pressure")
    return memory, swap, reservation


def _cpu_time(options: dict[str, Any]) -> tuple[int, int]:
    """Quota and period in microseconds, from `cpus` or from both of them."""
    cpus = options.get("cpus")
    period_us = integer(options, "cpu_period", 0, 0, 1_000_000)
    quota_us = integer(options, "cpu_quota", 0, -1, 2**62)
    if 0 < period_us < 1000:
        raise Invalid(f"{period_us} is not between 1000 and 1000000", option="cpu_period")
    if 0 < quota_us < 1000:
        raise Invalid(f"{quota_us} is too little", option="cpu_quota", hint="the minimum is 1000 microseconds")
    if cpus in (None, "", 0, "0", 0.0):
        return max(quota_us, 0), period_us or Limits.cpu_period_us
    for option, value in (("cpu_period", period_us), ("cpu_quota", quota_us)):
        if value:
            raise Invalid(f"can't be combined with {option}", option="cpus", hint="cpus is quota divided by period")
    return parse_cpus(cpus, option="cpus"), Limits.cpu_period_us


def _number_list(options: dict[str, Any], option: str) -> str:
    text = str(options.get(option) or "").replace(" ", "")
    for part in filter(None, text.split(",")):
        low, dash, high = part.partition("-")
        bounds = [low, high] if dash else [low]
        if not all(bound.isascii() and bound.isdigit() for bound in bounds) or int(bounds[-1]) < int(low):
            raise Invalid(f"{text!r} is not a list of numbers", option=option, hint="write it like 0-2,5")
    return text


def _rates(options: dict[str, Any], option: str) -> dict[str, int]:
    """Bytes or operations a second by path of a block device, from entries of a task or `path:rate`. 0 is no limit."""
    found: dict[str, int] = {}
    for entry in options.get(option) or ():
        path, rate = (entry.get("path"), entry.get("rate")) if isinstance(entry, dict) else _path_and_rate(str(entry))
        path = str(path or "")
        if not path.startswith("/dev/") or "/../" in path or rate in (None, ""):
            raise Invalid(f"{entry!r} is not a rate", option=option, hint="name a path: /dev/sda and a rate: 10M")
        if path in found:
            raise Invalid(f"{path} has two rates", option=option)
        found[path] = _rate(rate, option)
    return found


def _rate(value: Any, option: str) -> int:
    if option.endswith("iops"):
        return integer({option: value}, option, 0, 0, 2**62)
    rate = parse_size(value, option=option)
    if rate < 0:
        raise Invalid(f"{value!r} is not a rate", option=option, hint="0 is without a limit")
    return rate


def _path_and_rate(text: str) -> tuple[str, str]:
    path, _, rate = text.rpartition(":")
    return path, rate


def parse_ulimits(entries: list[Any] | None) -> dict[str, tuple[int, int]]:
    """Soft and hard limits of each process, by name, from `nofile:1024:2048`; -1 is unlimited."""
    found: dict[str, tuple[int, int]] = {}
    for entry in entries or ():
        name, _, values = str(entry).replace("=", ":", 1).partition(":")
        name = name.strip().lower()
        parts = ["-1" if part.strip() == "unlimited" else part.strip() for part in values.split(":")]
        numbers = all(part.isascii() and (part == "-1" or part.isdigit()) for part in parts)
        if not 0 < len(parts) < 3 or not numbers:
            raise Invalid(f"{entry!r} is not a limit", option="ulimits", hint="write it like nofile:1024:2048")
        _check_ulimit(name, known=found)
        soft, hard = int(parts[0]), int(parts[-1])
        if hard != -1 and (soft == -1 or soft > hard):
            raise Invalid(f"{entry!r}: the soft limit is above the hard one", option="ulimits")
        found[name] = (soft, hard)
    return found


def _check_ulimit(name: str, *, known: dict[str, tuple[int, int]]) -> None:
    from .._sys.sched_flags import RLIMITS

    if name not in RLIMITS:
        raise Invalid(
            f"{name!r} is not a limit of processes", option="ulimits", hint=f"use {', '.join(sorted(RLIMITS))}"
        )
    if name in known:
        raise Invalid(f"{name} is limited twice", option="ulimits")
