# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's files as its processes see them, with what is mounted in it, running or not.

Whoever uses a tree does so in a forked process (`forked_work.py`, `ForkedStream`): `enter` changes that process for
good. Of a running container the root of its mount namespace is opened; that of a stopped one is built in a mount
namespace that ends with the process: its layers, volumes and binds. Nothing of the container is executed, and paths
keep their meaning on the host: a file of the container is reached by the root's descriptor only.

Owners are those inside. Of a stopped container that is how they lie on disk, of a running one with a user namespace of
its own how that namespace shows them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from stat import S_ISDIR

from .._base.errors import Conflict, HullError
from .._kernel.mounts import (
    attach_at,
    cover_root,
    new_filesystem,
    set_attributes,
    set_propagation,
)
from .._kernel.namespaces import enter, open_namespace
from .._kernel.overlay import overlay_mount
from .._kernel.own_mounts import own_root
from .._kernel.processes import open_process
from .._kernel.targets import attach_inside
from .._runtime.launch_plan import LaunchPlan, MountPlan
from .._runtime.mount_sources import is_recursive, open_source
from .._runtime.standard_mounts import all_mounts
from .._runtime.state import read_state
from .._sys.process_calls import setns, unshare
from .._sys.sched_flags import CLONE_NEWNS
from . import containers
from .declared import etc_directory, plan_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.records import ContainerRecord
    from .engine import Engine

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LOOKING = ("ro", "noatime")
_ON_DISK = ("bind", "image", "filesystem")
_SAFE = ("nodev", "nosuid", "noexec")


class ContainerTree:
    """`with ContainerTree(engine, record, write=...) as tree:`, then in a forked process `tree.enter()`.

    A container that does not run is kept from starting, and from being removed, as long as its tree is in use; a
    running one may end meanwhile. Without `write` nothing is changed on disk, not even a mount point made.
    """

    def __init__(self, engine: Engine, record: ContainerRecord, *, write: bool) -> None:
        self._engine, self._record, self._write = engine, record, write
        self._held = ExitStack()
        self._process_fd = -1
        self._has_user_namespace = False

    def __enter__(self) -> ContainerTree:
        with ExitStack() as stack:
            with ExitStack() as locked:
                self._record = locked.enter_context(containers.Held(self._engine, self._record))
                if not self._find_process(stack):
                    stack.push(locked.pop_all())
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._held.close()

    @property
    def is_running(self) -> bool:
        """Whether it is the tree of a running container."""
        return self._process_fd >= 0

    def _find_process(self, stack: ExitStack) -> bool:
        """Have a pidfd of the container's first process, if it runs."""
        now = containers.state(self._engine, self._record)
        if now.status == "restarting" and self._write:
            raise Conflict(
                f"copy to container {self._record.name}: it is between two starts",
                hint="stop it, or try again when it runs",
            )
        found = read_state(self._engine.paths.container_run(self._record.id)) if now.is_up else None
        fd = open_process(int(found["pid"]), int(found["start_time"])) if found else None
        if found is None or fd is None:
            return False
        stack.callback(os.close, fd)
        self._process_fd = fd
        self._has_user_namespace = bool(found.get("userns"))
        return True

    def enter(self) -> int:
        """In the forked process, once: a descriptor of the tree's root. The process's ids are then those inside."""
        if self.is_running:
            return self._join()
        return _assemble(plan_of(self._record), write=self._write)

    def _join(self) -> int:
        own = open_namespace("self", "mount")
        enter(self._process_fd, ("mount",))
        root = os.open("/", _ROOT)  # of the namespace: a process that has changed its own root does not matter
        setns(own, CLONE_NEWNS)
        os.close(own)
        if self._has_user_namespace:
            enter(self._process_fd, ("user",))
            os.setgroups(())
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        return root


def _assemble(plan: LaunchPlan, *, write: bool) -> int:
    """The root of a container that does not run, in a mount namespace of the calling process's own."""
    unshare(CLONE_NEWNS)
    own_root()
    root = _writable_root(plan) if write else _looked_at_root(plan)
    cover_root(root)
    empty = [fd for mount in _all_mounts(plan) if (fd := _mount(mount, root, write=write)) >= 0]
    for fd in empty:
        set_attributes(fd, ("ro",))
        os.close(fd)
    set_attributes(root, _SAFE if write and not plan.read_only else ("ro", *_SAFE))
    return root


def _writable_root(plan: LaunchPlan) -> int:
    return overlay_mount(plan.layers, f"{plan.root_directory}/upper", f"{plan.root_directory}/work")


def _looked_at_root(plan: LaunchPlan) -> int:
    """The layers and the container's own below a tmpfs, which takes the mount points that are missing."""
    place = f"{plan.root_directory}/work"
    memory = new_filesystem("tmpfs", options="mode=0700")
    attach_at(memory, place)
    os.close(memory)
    upper = f"{plan.root_directory}/upper"
    for name in ("upper", "work"):
        os.mkdir(f"{place}/{name}", 0o755)
    found = os.stat(upper)
    os.chown(f"{place}/upper", found.st_uid, found.st_gid)
    os.chmod(f"{place}/upper", found.st_mode & 0o7777)
    return overlay_mount((upper, *plan.layers), f"{place}/upper", f"{place}/work")


def _all_mounts(plan: LaunchPlan) -> list[MountPlan]:
    """What is mounted in the container when it runs, in order."""
    found = list(all_mounts(plan))
    taken = {mount.target for mount in found}
    for name in ("hosts", "hostname", "resolv.conf"):
        source = f"{etc_directory(plan)}/{name}"
        if f"/etc/{name}" not in taken and os.path.exists(source):
            found.append(MountPlan("bind", f"/etc/{name}", source, False, ("bind",)))
    return found


def _mount(mount: MountPlan, root: int, *, write: bool) -> int:
    """Attach one mount. A descriptor of an empty file system in place of one that lives in memory, to be made
    read-only when all is attached: what was written there would be gone with the next start. Else -1."""
    if mount.kind in _ON_DISK:
        _attach_source(mount, root, write=write)
        return -1
    fd = new_filesystem("tmpfs", options="mode=0755", source="empty")
    attach_inside(fd, root, mount.target, kind="proc" if mount.kind == "proc" else "tmpfs")
    return fd


def _attach_source(mount: MountPlan, root: int, *, write: bool) -> None:
    try:
        fd = open_source(mount)
        try:
            set_propagation(fd, "rprivate")
            if not write:
                set_attributes(fd, _LOOKING, recursive=is_recursive(mount))
            attach_inside(fd, root, mount.target, kind="bind", directory=S_ISDIR(os.fstat(fd).st_mode))
        finally:
            os.close(fd)
    except HullError:
        if write:
            raise  # else what is left of the container may still be looked at
