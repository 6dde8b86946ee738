# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container's confinement is on this host, at this start: whose namespaces it joins, what this kernel lacks.

Asked at every start, since containers come and go and hosts get other kernels. What can't be had is left out, and a
warning says so where it was asked for.
"""

from __future__ import annotations

import os

from .._base.errors import Conflict, NotFound
from .._base.values import replace
from .._runtime.state import observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.spec import ContainerSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._store.records import ContainerRecord
    from .engine import Engine

_SHARED = {"net": ("network_mode", "network"), "pid": ("pid_mode", "processes"), "ipc": ("ipc_mode", "IPC namespace")}
_RECENT_NAMESPACES = {"time": "/proc/self/ns/time", "cgroup": "/proc/self/ns/cgroup"}  # Linux 5.6 and 4.6, if built in
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SELINUX = "/sys/fs/selinux/enforce"


def fit_to_host(engine: Engine, record: ContainerRecord, spec: ContainerSpec, plan: LaunchPlan) -> LaunchPlan:
    """The plan with the containers whose namespaces it shares, without namespaces that this kernel does not have, and
    with the paths that patterns of masks mean. Raises Conflict where one of those containers does not run."""
    lacking = {name for name, path in _RECENT_NAMESPACES.items() if not os.path.exists(path)}
    process = plan.process
    if process.apparmor and not has_apparmor():
        process = replace(process, apparmor="")
    return replace(
        plan,
        providers=_providers(engine, record, spec),
        namespaces=tuple(name for name in plan.namespaces if name not in lacking),
        masked_paths=tuple(path for pattern in plan.masked_paths for path in _expanded(pattern)),
        process=process,
    )


def _providers(engine: Engine, record: ContainerRecord, spec: ContainerSpec) -> dict[str, str]:
    """The run directory of each container that has a namespace to share, by the namespace."""
    modes = {"net": spec.network_mode, "pid": spec.pid_mode, "ipc": spec.ipc_mode}
    named = {name: mode.partition(":")[2] for name, mode in modes.items() if mode.startswith("container:")}
    return {name: _provider(engine, record, provider, *_SHARED[name]) for name, provider in named.items()}


def _provider(engine: Engine, record: ContainerRecord, name: str, option: str, what: str) -> str:
    from .containers import lookup_declared

    provider = lookup_declared(engine, name)
    if provider is None:
        raise NotFound(f"container {name}: no such container")
    if provider.id == record.id:
        raise Conflict(f"start container {record.name}: {option} is the container itself", hint="name another one")
    now = observe(engine.paths, provider.id)
    if now.status not in ("running", "paused"):
        raise Conflict(
            f"start container {record.name}: container {name}, whose {what} it joins, is not running",
            hint=f"start {name} first",
        )
    return engine.paths.container_run(provider.id)


def _expanded(pattern: str) -> list[str]:
    """The paths that a pattern means: one component may hold one `*`. Those of sysfs are the same in containers."""
    if "*" not in pattern:
        return [pattern]
    before, after = pattern.split("*", 1)
    parent, start = before.rsplit("/", 1)
    end, slash, rest = after.partition("/")
    try:
        names = sorted(os.listdir(parent or "/"))
    except OSError:
        return []
    found = [name for name in names if name.startswith(start) and name.endswith(end)]
    return [path for path in (f"{parent}/{name}{slash}{rest}" for name in found) if os.path.lexists(path)]


def has_apparmor() -> bool:
    """Whether this host's kernel confines by AppArmor profiles."""
    return _read(_APPARMOR).startswith("Y")


def shortcomings(spec: ContainerSpec) -> list[str]:
    """Warnings: what was asked for and this host can't do."""
    found = [*_missing_capabilities(spec), *_missing_labels(spec)]
    if "size" in spec.storage_opts:
        found.append("storage_opts: size: no engine directory can limit the writable layer yet; it is not limited")
    return found


def _missing_capabilities(spec: ContainerSpec) -> list[str]:
    if not spec.privileged and not spec.cap_add:
        return []
    from .._kernel.capabilities import DEFAULT_CAPABILITIES, resolve_capabilities
    from .._kernel.privileges import host_capabilities

    wanted = resolve_capabilities(("ALL",) if spec.privileged else spec.cap_add, spec.cap_drop)
    here = {*host_capabilities(), *DEFAULT_CAPABILITIES}
    missing = [name for name in wanted if name not in here]
    option = "privileged" if spec.privileged else "capabilities"
    return [f"{option}: this host has no {', '.join(missing)}; the container runs without"] if missing else []


def _missing_labels(spec: ContainerSpec) -> list[str]:
    found = []
    if spec.apparmor not in ("", "unconfined") and not has_apparmor():
        found.append(f"security_opts: apparmor={spec.apparmor}: this host has no AppArmor; the container runs without")
    for label in spec.selinux:
        if label != "disable":
            why = "the engine sets no SELinux labels" if os.path.exists(_SELINUX) else "this host has no SELinux"
            found.append(f"security_opts: label={label}: {why}; the container runs without")
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64)
    except OSError:
        return ""
