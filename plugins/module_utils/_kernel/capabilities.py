# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Capabilities: names and numbers, and which of them a container gets. Pure; `privileges.py` takes the rest away.

Source: capabilities(7), include/uapi/linux/capability.h.
"""

from __future__ import annotations

from .._base.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_CAPABILITIES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
        "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
NUMBERS = {name: number for number, name in enumerate(ALL_CAPABILITIES)}

# Docker's fourteen without MKNOD, NET_RAW and AUDIT_WRITE.
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_SETFCAP",
)


def normal_name(text: str, option: str) -> str:
    """`CAP_NET_RAW` from `net_raw`, `NET_RAW` or `CAP_NET_RAW`; `ALL` stays."""
    upper = text.strip().upper()
    if upper in ("ALL", "CAP_ALL"):
        return "ALL"
    name = upper if upper.startswith("CAP_") else "CAP_" + upper
    if name not in NUMBERS:
        raise Invalid(f"{text!r} is not a capability", option=option, hint="write it like NET_ADMIN, or ALL")
    return name


def resolve_capabilities(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[str, ...]:
    """The capabilities of a container, ordered by number, from the defaults and what is added and dropped.

    As Docker reads it: adding ALL gives all but those dropped; dropping ALL leaves those added; a name in both lists
    stays. Pure: the host is not asked. Raises Invalid naming `capabilities` or `cap_drop`.
    """
    added = {normal_name(name, "capabilities") for name in add}
    dropped = {normal_name(name, "cap_drop") for name in drop}
    if "ALL" in added:
        chosen = set(ALL_CAPABILITIES) - dropped
    elif "ALL" in dropped:
        chosen = added
    else:
        chosen = set(DEFAULT_CAPABILITIES) - dropped | added
    return names_of(mask_of(chosen))


def mask_of(names: Iterable[str]) -> int:
    """Names as the kernel's bit mask."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> tuple[str, ...]:
    """A bit mask as names, by number; bits that have no name here are left out."""
    return tuple(name for name, number in NUMBERS.items() if mask >> number & 1)
