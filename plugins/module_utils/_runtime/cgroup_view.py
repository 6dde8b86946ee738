# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container sees at /sys/fs/cgroup: its own cgroups, as the roots that its cgroup namespace makes of them."""

from __future__ import annotations

import os

from .._kernel.mounts import attach, new_filesystem, set_attributes
from .._sys.mount_calls import move_mount
from .launch_plan import MountPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.cgroups import CgroupHost


def attach_cgroups(host: CgroupHost, mount: MountPlan, place: int) -> None:
    """Mount the host's hierarchies as the caller's cgroup namespace shows them.

    Version 2 alone is one mount; otherwise a tmpfs with a directory per hierarchy, links for controllers that share
    one, and `unified`. All are read-only, the tmpfs too, where the plan says so. A host without any shows nothing.
    """
    flags = (*mount.flags, "ro") if mount.read_only else mount.flags
    if host.version == "2":
        _attach_new("cgroup2", "", flags, place)
    elif host.version:
        top = new_filesystem("tmpfs", options="mode=755,size=64k", flags=mount.flags)
        try:
            attach(top, place, name=mount.target)
            _fill(host, flags, top)
            if mount.read_only:
                set_attributes(top, ("ro",))
        finally:
            os.close(top)


def _attach_new(kind: str, options: str, flags: tuple[str, ...], place: int) -> None:
    fd = new_filesystem(kind, options=options, flags=flags)
    try:
        attach(fd, place, name="/sys/fs/cgroup")
    finally:
        os.close(fd)


def hierarchies(host: CgroupHost) -> dict[str, str]:
    """Directory name to the mount options that select the hierarchy, for version 1 and hybrid hosts. Pure."""
    found: dict[str, list[str]] = {}
    for controller, root in host.mounts.items():
        if root != host.unified:
            found.setdefault(root, []).append(controller)
    result = {}
    for controllers in found.values():
        name = ",".join(controller[5:] if controller.startswith("name=") else controller for controller in controllers)
        named = controllers[0].startswith("name=")
        result[name] = ",".join(["none", *controllers] if named else controllers)
    return result


def _fill(host: CgroupHost, flags: tuple[str, ...], top: int) -> None:
    wanted = [(name, "cgroup", options) for name, options in hierarchies(host).items()]
    if host.unified:
        wanted.append(("unified", "cgroup2", ""))
    for name, kind, options in wanted:
        os.mkdir(name, 0o755, dir_fd=top)
        fd = new_filesystem(kind, options=options, flags=flags)
        try:
            move_mount(fd, top, name)
        finally:
            os.close(fd)
        parts = name.split(",")
        for part in parts if len(parts) > 1 else ():
            os.symlink(name, part, dir_fd=top)
