# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What comes from the host's side into a container: directories and files, images, file systems on devices.

Each becomes a detached mount, made in the caller's mount namespace with the caller's rights, so a path is resolved once
and what is attached later is what was found. A path inside a volume or an image is somebody else's: the kernel walks it
with the volume's top as `/`, so no link in it leads out (CVE-2024-23651).
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOTDIR, errorcode

from .._base.errors import HullError, LaunchError, NotFound, Unsupported
from .._kernel.mounts import attach_at, clone_tree, idmap, new_filesystem, set_attributes, set_propagation
from .._kernel.overlay import overlay_mount
from .._kernel.own_mounts import in_child, own_root
from .._kernel.targets import clone_of_process, open_inside
from .._sys.sched_flags import CLONE_NEWNS
from .launch_plan import MountPlan

HOST_KINDS = ("bind", "image", "filesystem", "process")
_TOP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_source(mount: MountPlan, idmap_fd: int = -1) -> int:
    """The mount of the plan as it will be attached: shaped, and with `idmap_fd`, a user namespace, owners on the host's
    side shown as those inside it. Raises LaunchError naming source and target."""
    fd = -1
    try:
        fd = clone_source(mount, idmap_fd)
        recursive = is_recursive(mount)
        set_attributes(fd, mount.flags, recursive=recursive)
        if mount.read_only:
            set_attributes(fd, ("ro",), recursive=recursive and mount.read_only_recursive)
        if idmap_fd >= 0 and mount.kind != "image":
            _idmap(mount, fd, idmap_fd, recursive)
        set_propagation(fd, mount.propagation)
        return fd
    except HullError as error:
        if fd >= 0:
            os.close(fd)
        raise LaunchError(f"mount {mount.source} at {mount.target}: {error.message}", hint=error.hint) from error


def is_recursive(mount: MountPlan) -> bool:
    """Whether what is mounted below the source comes along."""
    return "rbind" in mount.flags


def clone_source(mount: MountPlan, idmap_fd: int = -1) -> int:
    """The detached mount itself. Only that of an image is idmapped already. Raises the engine's errors."""
    if mount.kind == "bind":
        return _clone_bind(mount)
    if mount.kind == "process":
        return clone_of_process(int(mount.source), mount.target)
    if mount.kind == "image":
        top = overlay_mount(mount.layers, "", "", read_only=True, idmap_fd=idmap_fd)
    else:
        is_read_only = "ro" in mount.data.split(",")
        top = new_filesystem(mount.filesystem, options=mount.data, source=mount.source, read_only=is_read_only)
    if not mount.subpath:
        return top
    try:
        return in_child(CLONE_NEWNS, lambda: _clone_below(top, mount.subpath))
    except OSError as error:
        raise _subpath_error(mount, error) from error
    finally:
        os.close(top)


def _clone_bind(mount: MountPlan) -> int:
    if not mount.subpath:
        return clone_tree(mount.source, recursive=is_recursive(mount))
    try:
        top = os.open(mount.source, _TOP)
        try:
            place = open_inside(top, mount.subpath)
        finally:
            os.close(top)
    except OSError as error:
        raise _subpath_error(mount, error) from error
    try:
        return clone_tree("", dir_fd=place, recursive=is_recursive(mount))
    finally:
        os.close(place)


def _clone_below(top: int, subpath: str) -> int:
    """In a child: a copy of a part of a detached mount, which kernels before 6.15 make of an attached one only."""
    own_root()
    attach_at(top, "/")
    place = open_inside(top, subpath)
    return clone_tree("", dir_fd=place, recursive=False)


def _subpath_error(mount: MountPlan, error: OSError) -> HullError:
    if error.errno in (ENOENT, ENOTDIR):
        return NotFound(f"subpath {mount.subpath} does not exist in it", hint="make it first")
    return LaunchError(f"subpath {mount.subpath}: {errorcode.get(error.errno or 0, error)}")


def _idmap(mount: MountPlan, fd: int, idmap_fd: int, recursive: bool) -> None:
    try:
        idmap(fd, idmap_fd, recursive=recursive)
    except Unsupported as error:
        what = f"{mount.source}, or a mount below it," if recursive else mount.source
        raise Unsupported(
            f"the file system of {what} can't be idmapped", hint="use userns_mode: host, or leave the mount out"
        ) from error
