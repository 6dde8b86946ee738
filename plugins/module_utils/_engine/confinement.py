# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From what was asked for to how a container is confined: namespaces, hidden paths, settings, its cgroup. Pure.

What the host then can't do is `host_conditions.py`'s, at each start.
"""

from __future__ import annotations

import os

from .._base.cgroup_paths import is_in_slice, parent_path
from .._base.errors import Invalid
from .._runtime.launch_plan import LaunchPlan
from .isolation import (
    ID_COUNT,
    IPC_SYSCTLS,
    IPV6_DIRECTORY,
    IPV6_OFF,
    MASKED_PATHS,
    NETWORK_SYSCTLS,
    READ_ONLY_PATHS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._base.spec import ContainerSpec, DeviceRuleSpec

_SYSCTL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def namespaces(spec: ContainerSpec) -> tuple[str, ...]:
    """The names of the namespaces that are a container's own; the others are the host's or another container's."""
    shared = {
        "pid": bool(spec.pid_mode),
        "ipc": spec.ipc_mode not in ("", "none"),
        "net": spec.network_mode.startswith(("host", "container:")),
        "uts": spec.uts_mode == "host",
        "cgroup": spec.cgroupns_mode == "host",
    }
    return tuple(name for name in LaunchPlan.namespaces if not shared.get(name))


def hostname(spec: ContainerSpec, container_id: str) -> str:
    """The container's host name: the host's own where its network or its UTS namespace is the container's."""
    if spec.network_mode == "host" or spec.uts_mode == "host":
        return spec.hostname or os.uname().nodename
    return spec.hostname or container_id[:12]


def masked_paths(spec: ContainerSpec) -> tuple[str, ...]:
    """What is hidden: the defaults that the spec does not lift, and what it adds. A component may hold one `*`."""
    defaults = () if spec.privileged else _not_lifted(MASKED_PATHS, spec.unmask)
    return (*defaults, *(path for path in dict.fromkeys(spec.mask) if path not in defaults))


def read_only_paths(spec: ContainerSpec) -> tuple[str, ...]:
    """What can't be written to though its file system can."""
    return () if spec.privileged else _not_lifted(READ_ONLY_PATHS, spec.unmask)


def _not_lifted(paths: Iterable[str], lifted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for path in paths if not any(_lifts(pattern, path) for pattern in lifted))


def _lifts(pattern: str, path: str) -> bool:
    """Whether an entry of `unmask` (a path, one that ends in `*`, or ALL) means a default path."""
    plain = pattern.rstrip("/")
    return pattern == "ALL" or plain == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def sysctls(spec: ContainerSpec) -> dict[str, str]:
    """The settings that are written at each start: the engine's for a network of one's own, then the task's.

    Raises Invalid for what is not the container's own.
    """
    for name in spec.sysctls:
        _check_sysctl(name, spec)
    return {**_network_sysctls(spec), **spec.sysctls}


def _network_sysctls(spec: ContainerSpec) -> dict[str, str]:
    if spec.network_mode.startswith(("host", "container:")):
        return {}
    mapped = {"net.ipv4.ping_group_range": f"0 {ID_COUNT - 1}"} if spec.userns_mode == "auto" else {}
    return {**NETWORK_SYSCTLS, **mapped, **(IPV6_OFF if os.path.isdir(IPV6_DIRECTORY) else {})}


def _check_sysctl(name: str, spec: ContainerSpec) -> None:
    parts = name.split(".")
    well_formed = len(parts) > 1 and all(part and _SYSCTL_CHARACTERS.issuperset(part) for part in parts)
    of_ipc = name in IPC_SYSCTLS or name.startswith("fs.mqueue.")
    if not well_formed or not (of_ipc or parts[0] == "net"):
        hint = f"a container's are net.*, fs.mqueue.*, {', '.join(IPC_SYSCTLS)}"
        raise Invalid(f"{name!r} is not a setting of a container", option="sysctls", hint=hint)
    if of_ipc and spec.ipc_mode == "host":
        raise Invalid(f"{name} would change the host, whose IPC namespace is shared", option="sysctls")
    if of_ipc and spec.ipc_mode.startswith("container:"):
        raise Invalid(f"{name} would change the IPC namespace of the {spec.ipc_mode}", option="sysctls")
    if not of_ipc and spec.network_mode == "host":
        raise Invalid(f"{name} would change the host's network", option="sysctls")
    if not of_ipc and spec.network_mode.startswith("container:"):
        raise Invalid(f"{name} would change the network of the {spec.network_mode}", option="sysctls")


def device_rules(rules: Iterable[DeviceRuleSpec]) -> tuple[tuple[str, int, int, str], ...]:
    """The rules of the devices cgroup, `a` as block and character devices."""
    return tuple(
        (kind, rule.major, rule.minor, rule.access)
        for rule in rules
        for kind in (("b", "c") if rule.kind == "a" else (rule.kind,))
    )


def cgroup_path(own: str, spec: ContainerSpec, container_id: str) -> str:
    """The container's cgroup, below a hierarchy's root: in the engine's own (`own_cgroup`) or in the spec's parent.

    In a slice, one with the engine's name comes between: systemd takes the controllers back from what does not pass
    them on (at daemon-reload, for instance), and with them the limits. Raises Invalid.
    """
    if not spec.cgroup_parent:
        return f"{own}/{container_id}"
    parent = parent_path(spec.cgroup_parent)
    between = f"/{own.rpartition('/')[2]}" if is_in_slice(parent) else ""
    return f"{parent}{between}/{container_id}"
