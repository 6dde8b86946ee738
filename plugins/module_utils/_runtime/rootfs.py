# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The container's file tree, built by init in its own namespaces.

The root lies over the host's `/` of the new mount namespace; everything is attached inside it by descriptor, then
`pivot` drops the host's tree. Sources on the host are resolved on the host's side, once (`open_sources`): what is
attached is exactly what was opened.
"""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, EPERM, errorcode
from stat import S_ISDIR

from .._base.errors import HullError, LaunchError
from .._kernel.mounts import cover_root, new_filesystem, pivot, set_attributes
from .._kernel.own_mounts import own_root
from .._kernel.targets import Masks, attach_inside, open_target, protect
from .._sys.file_calls import openat2
from .._sys.open_flags import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from .cgroup_view import attach_cgroups
from .device_nodes import fill_dev
from .launch_plan import LaunchPlan, MountPlan
from .mount_sources import HOST_KINDS, open_source
from .standard_mounts import all_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.cgroups import CgroupHost


class Sources:
    """Detached mounts that are made on the host's side: what the plan brings from there, and /dev."""

    def __init__(self) -> None:
        self.mounts: dict[str, int] = {}  # by target
        self.dev = -1

    def close(self) -> None:
        """Close what was not attached."""
        for fd in (*self.mounts.values(), self.dev):
            if fd >= 0:
                os.close(fd)
        self.mounts, self.dev = {}, -1


def open_sources(plan: LaunchPlan, idmap_fd: int = -1) -> Sources:
    """Open every source of the plan in the caller's mount namespace, and make its /dev, which neither the devices
    cgroup nor a user namespace would allow later. With `idmap_fd`, a user namespace, owners on the host's side are
    those inside it. Raises LaunchError naming the mount."""
    sources = Sources()
    try:
        for mount in all_mounts(plan):
            if mount.kind in HOST_KINDS:
                sources.mounts[mount.target] = open_source(mount, idmap_fd)
            elif mount.kind == "dev":
                sources.dev = new_filesystem("tmpfs", options=mount.data, flags=_words(mount))
                owner = plan.userns[0] if plan.userns is not None else 0
                fill_dev(sources.dev, plan.devices, owner, console=plan.process.tty)
    except OSError as error:
        sources.close()
        raise LaunchError(f"make /dev: {errorcode.get(error.errno or 0, error)}") from error
    except BaseException:
        sources.close()
        raise
    return sources


def _words(mount: MountPlan) -> tuple[str, ...]:
    return (*mount.flags, "ro") if mount.read_only else mount.flags


def build_root(plan: LaunchPlan, root_fd: int, sources: Sources, host: CgroupHost) -> None:
    """Make the detached mount `root_fd` the caller's root with all that belongs into it. Raises the engine's errors."""
    own_root()
    cover_root(root_fd)
    proc_fd = -1
    for mount in all_mounts(plan):
        try:
            if mount.kind == "proc":
                proc_fd = _attach_proc(mount, root_fd)
            else:
                _attach(mount, root_fd, sources, host)
        except OSError as error:
            raise LaunchError(f"mount {mount.target}: {errorcode.get(error.errno or 0, error)}") from error
    _write_sysctls(proc_fd, plan)
    _make_working_dir(root_fd, plan.process.working_dir)
    with Masks(root_fd) as masks:
        for path in plan.masked_paths:
            masks.hide(path)
    for path in plan.read_only_paths:
        protect(root_fd, path)
    set_attributes(root_fd, _root_flags(plan))
    pivot(root_fd)


def _root_flags(plan: LaunchPlan) -> list[str]:
    """Device nodes that an image brings are dead, and set-uid files where they could do nothing anyway."""
    flags = ["ro"] if plan.read_only else []
    if not plan.privileged:
        flags.append("nodev")
        if plan.process.no_new_privileges:
            flags.append("nosuid")
    return flags


def _attach_proc(mount: MountPlan, root_fd: int) -> int:
    fd = new_filesystem("proc", options=mount.data, flags=_words(mount))
    attach_inside(fd, root_fd, mount.target, kind="proc")
    return fd


def _attach(mount: MountPlan, root_fd: int, sources: Sources, host: CgroupHost) -> None:
    if mount.kind == "cgroup":
        place = open_target(root_fd, mount.target, directory=True)
        try:
            attach_cgroups(host, mount, place)
        finally:
            os.close(place)
        return
    if mount.kind in HOST_KINDS:
        fd = sources.mounts[mount.target]
        attach_inside(fd, root_fd, mount.target, kind="bind", directory=S_ISDIR(os.fstat(fd).st_mode))
        return
    if mount.kind == "dev":
        attach_inside(sources.dev, root_fd, mount.target, kind="tmpfs")
        return
    fd = new_filesystem(mount.kind, options=mount.data, flags=_words(mount))
    try:
        attach_inside(fd, root_fd, mount.target, kind=mount.kind)
    finally:
        os.close(fd)


def _write_sysctls(proc_fd: int, plan: LaunchPlan) -> None:
    """Write settings of the caller's own namespaces through its own proc, which nobody else has seen yet."""
    for key, value in plan.sysctls.items():
        try:
            resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
            fd = openat2(proc_fd, "sys/" + key.replace(".", "/"), os.O_WRONLY, resolve=resolve)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            cause = "this kernel has no such setting" if error.errno == ENOENT else errorcode.get(error.errno or 0, "")
            mapped = plan.userns is not None and error.errno in (EACCES, EPERM)
            hint = "use userns_mode: host; some kernels let only the host's root change it" if mapped else ""
            raise LaunchError(f"sysctls: {key}={value}: {cause}", hint=hint) from error


def _make_working_dir(root_fd: int, path: str) -> None:
    """Make the working directory if it is missing: before the root becomes read-only, and inside it only."""
    try:
        os.close(open_target(root_fd, path, directory=True))
    except HullError as error:
        raise LaunchError(f"working_dir: {path}: {error.message}") from error
