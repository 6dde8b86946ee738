# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How fast a container may read and write block devices: the rates of both cgroup versions.

Limits name devices by path, the kernel by number and as whole disks, so the numbers are looked up when a rate is
applied. A rate that is no longer in the limits is lifted. Version 1 throttles reading and direct writing only, because
its page cache does not know whose pages it writes back.

Source: the kernel's admin-guide/cgroup-v1/blkio-controller.rst, admin-guide/cgroup-v2.rst ("IO Interface Files").
"""

from __future__ import annotations

import os
from stat import S_ISBLK

from .._base.errors import Invalid
from .cgroup_files import Setting, read_or_none, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Field of Limits, the module's option, version 1's file, version 2's key.
RATES = (
    ("read_bps", "device_read_bps", "blkio.throttle.read_bps_device", "rbps"),
    ("write_bps", "device_write_bps", "blkio.throttle.write_bps_device", "wbps"),
    ("read_iops", "device_read_iops", "blkio.throttle.read_iops_device", "riops"),
    ("write_iops", "device_write_iops", "blkio.throttle.write_iops_device", "wiops"),
)
_MOST_OPERATIONS = (1 << 32) - 1  # the kernel keeps 32 bits of it


def whole_device(path: str, *, option: str) -> str:
    """`major:minor` of the disk that a device node, or a partition's, is on. Raises Invalid naming the option."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise Invalid(
            f"{path}: {error.strerror}", option=option, hint="name a block device of the host, like /dev/sda"
        ) from error
    if not S_ISBLK(status.st_mode):
        raise Invalid(f"{path} is not a block device", option=option, hint="name one of the host, like /dev/sda")
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    place = os.path.realpath(f"/sys/dev/block/{number}")
    if os.path.exists(place + "/partition"):
        number = read_text(os.path.dirname(place) + "/dev")
    return number


def has_scheduler(name: str) -> bool:
    """Whether a disk of the host is scheduled by it: weights have no effect with any other. Sees them in sysfs."""
    try:
        disks = os.listdir("/sys/block")
    except OSError:
        return False
    return any(f"[{name}]" in (read_or_none(f"/sys/block/{disk}/queue/scheduler") or "") for disk in disks)


def throttles(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """Version 1's four files, one line for each rate that differs; 0 lifts it."""
    settings = []
    for field, option, name, _ in RATES:
        if field in limits:
            path = f"{directory}/{name}"
            current = {} if fresh else _lines(path)
            for device, rate in _changes(current, _by_device(limits[field], option)):
                back = f"{device} {current.get(device, 0)}"
                settings.append(Setting(option, path, f"{device} {rate}", _without(option), back=back))
    return settings


def io_max(directory: str, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
    """Version 2's io.max, one write for each rate that differs; `max` lifts it."""
    settings = []
    path = directory + "/io.max"
    present = {} if fresh else _lines(path)
    for field, option, _, key in RATES:
        if field in limits:
            current = {
                device: int(value)
                for device, words in present.items()
                if (value := dict(word.split("=") for word in str(words).split()).get(key, "max")) != "max"
            }
            for device, rate in _changes(current, _by_device(limits[field], option)):
                back = f"{device} {key}={current.get(device, 'max')}"
                settings.append(Setting(option, path, f"{device} {key}={rate or 'max'}", _without(option), back=back))
    return settings


def _without(option: str) -> str:
    return f"{option}: this kernel can't limit rates, there is no limit; use one built with CONFIG_BLK_DEV_THROTTLING"


def _by_device(rates: dict[str, int], option: str) -> dict[str, int]:
    """The rate of each whole device; the lowest where several paths are on one."""
    found: dict[str, int] = {}
    for path, rate in rates.items():
        device = whole_device(path, option=option)
        rate = min(rate, _MOST_OPERATIONS) if option.endswith("iops") else rate
        found[device] = min(rate, found.get(device, rate))
    return found


def _lines(path: str) -> dict[str, Any]:
    """What a file has for each device."""
    lines = [line.partition(" ") for line in (read_or_none(path) or "").split("\n") if line]
    return {device: int(value) if value.isdigit() else value for device, _, value in lines}


def _changes(current: dict[str, int], wanted: dict[str, int]) -> list[tuple[str, int]]:
    """(device, rate) for what differs, with 0 for what is to be lifted."""
    lifted = [(device, 0) for device in current if device not in wanted]
    return lifted + [(device, rate) for device, rate in wanted.items() if rate != current.get(device)]
