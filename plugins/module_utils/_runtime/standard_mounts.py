# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The mounts that every container has, unless its own plan mounts something at the same place. Pure."""

from __future__ import annotations

from .launch_plan import LaunchPlan, MountPlan

_NO = ("nosuid", "nodev", "noexec")


def standard_mounts(plan: LaunchPlan) -> list[MountPlan]:
    """/proc, /dev and what is below it, /sys, in the order of mounting. `dev` is the kind of the engine's own /dev.

    proc, mqueue and sysfs show the namespaces that init is in then: also those that it has joined or shares.
    """
    writable = plan.privileged
    return [
        MountPlan("proc", "/proc", flags=_NO),
        MountPlan("dev", "/dev", flags=("nosuid", "strictatime"), data="mode=755,size=65536k"),
        MountPlan("devpts", "/dev/pts", flags=("nosuid", "noexec"), data="newinstance,ptmxmode=0666,mode=0620,gid=5"),
        *_shared_memory(plan),
        MountPlan("mqueue", "/dev/mqueue", flags=_NO),
        MountPlan("sysfs", "/sys", flags=_NO, read_only=not writable),
        MountPlan("cgroup", "/sys/fs/cgroup", flags=_NO, read_only=not writable),
    ]


def _shared_memory(plan: LaunchPlan) -> list[MountPlan]:
    """/dev/shm: its own, none where it has no size, or that of whose IPC namespace is shared."""
    if "ipc" in plan.join:
        return [MountPlan("process", "/dev/shm", str(plan.join["ipc"]), flags=("bind", *_NO))]
    if "ipc" not in plan.namespaces:
        return [MountPlan("bind", "/dev/shm", "/dev/shm", flags=("bind", *_NO))]
    if plan.shm_size_bytes == 0:
        return []
    return [MountPlan("tmpfs", "/dev/shm", flags=_NO, data=f"mode=1777,size={plan.shm_size_bytes}")]


def all_mounts(plan: LaunchPlan) -> tuple[MountPlan, ...]:
    """The standard mounts that the plan's own do not replace, then the plan's, those nearer to the root first."""
    own = sorted(plan.mounts, key=lambda mount: normal_target(mount.target).count("/"))
    taken = {normal_target(mount.target) for mount in own}
    standard = [mount for mount in standard_mounts(plan) if mount.target not in taken]
    return (*standard, *own)


def normal_target(target: str) -> str:
    """A target without doubled and trailing slashes."""
    return "/" + "/".join(part for part in target.split("/") if part)
