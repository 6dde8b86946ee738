# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Places inside a container's root: found, made, mounted on, hidden, without ever leaving it.

An image is somebody else's: any component of any path in it may be a symbolic link to anywhere. Every path is walked by
the kernel with the container's root as `/` (openat2, RESOLVE_IN_ROOT), every thing that is missing is made relative to
the descriptor of its parent, and every mount is attached to the descriptor that was looked at.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOSYS, ENOTDIR

from .._base.errors import Denied, HullError, Invalid, Unsupported
from .._sys.file_calls import openat2
from .._sys.mount_flags import AT_FDCWD
from .._sys.open_flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from .._sys.process_calls import setns
from .._sys.sched_flags import CLONE_NEWNS
from .failures import syscall_error
from .mounts import attach, clone_tree, new_filesystem, set_attributes, set_propagation
from .namespaces import open_namespace
from .own_mounts import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40
_MAX_RACES = 1000
_NULL_DEVICE = os.makedev(1, 3)
# The files of /proc that a resource view such as lxcfs replaces.
_REPLACEABLE = frozenset(
    "/proc/" + name for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
)


def open_inside(root_fd: int, path: str, flags: int = os.O_PATH, *, follow: bool = True) -> int:
    """Open what a path means inside the root; without `follow` a link anywhere in it is an OSError ELOOP.

    Raises OSError as open(2) does. The descriptor is close-on-exec and the caller's.
    """
    resolve = _INSIDE if follow else _INSIDE | RESOLVE_NO_SYMLINKS
    for _ in range(_MAX_RACES):
        try:
            return openat2(root_fd, path, flags, resolve=resolve)
        except BlockingIOError:  # EAGAIN: a mount or rename anywhere on the host while `..` was walked
            pass
    return openat2(root_fd, path, flags, resolve=resolve)


def open_target(root_fd: int, path: str, *, directory: bool) -> int:
    """An O_PATH descriptor of a place inside the root; what is missing of it is made, as a directory or an empty file.

    Links are followed, also one whose target is missing, but never out of the root. Missing parents get mode 0755, a
    file 0644. The caller closes it. Raises SyscallError, Denied, Unsupported.
    """
    try:
        return _open_or_make(root_fd, path, directory, _MAX_LINKS)
    except OSError as error:
        raise _target_error(path, error) from error


def _target_error(path: str, error: OSError) -> HullError:
    if error.errno == ELOOP:
        return Denied(f"open {path} in the container: too many or forbidden links")
    if error.errno == ENOSYS:
        return Unsupported(f"open {path} in the container: no openat2", hint="the engine needs Linux 5.10 or newer")
    return syscall_error(f"open {path} in the container", error)


def _open_or_make(root_fd: int, path: str, directory: bool, links: int) -> int:
    try:
        return open_inside(root_fd, path)
    except FileNotFoundError:
        pass
    if links == 0:
        raise OSError(ELOOP, os.strerror(ELOOP))
    parent, name = os.path.split(path.rstrip("/"))
    parent_fd = _open_or_make(root_fd, parent or "/", True, links)
    try:
        link = _make(parent_fd, name, directory)
    finally:
        os.close(parent_fd)
    if link:
        return _open_or_make(root_fd, os.path.join(parent, link), directory, links - 1)
    return open_inside(root_fd, path)


def _make(parent_fd: int, name: str, directory: bool) -> str:
    """Make an entry of an open directory. What a dangling link of that name points to, or empty."""
    if name in (".", ".."):
        return ""  # exist now that the parent does
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        else:
            os.mknod(name, stat.S_IFREG | 0o644, dir_fd=parent_fd)
    except FileExistsError:
        try:
            return os.readlink(name, dir_fd=parent_fd)
        except OSError:  # somebody else made it meanwhile; it is not a link
            return ""
    return ""


def path_inside(root_fd: int, fd: int) -> str:
    """The path inside the root of an open file, without links: what the kernel's walk arrived at. Needs /proc."""
    root = os.readlink(f"/proc/self/fd/{root_fd}").rstrip("/")
    path = os.readlink(f"/proc/self/fd/{fd}")
    return path[len(root) :] or "/" if path == root or path.startswith(root + "/") else path


def check_target(kind: str, target: str, actual: str) -> None:
    """Refuse a place where a mount would let the container, or an image's link, fool what comes after.

    `target` is what was asked for, `actual` what it resolved to (`path_inside`). proc and sysfs belong on real
    directories; nothing else may replace /proc or what is below it, for the process's own attributes are written there
    (CVE-2019-16884, CVE-2019-19921). Pure. Raises Invalid, Denied.
    """
    if actual == "/":
        raise Invalid(f"{target!r} is the container's root and can't be mounted on")
    if kind in ("proc", "sysfs", "cgroup", "cgroup2") and actual != os.path.normpath("/" + target.lstrip("/")):
        raise Denied(f"mount {kind} on {target}: a link in the image leads to {actual}")
    if kind == "proc" and actual == "/proc" or kind == "bind" and actual in _REPLACEABLE:
        return
    if actual == "/proc" or actual.startswith("/proc/"):
        raise Denied(f"mount on {target}: nothing may be mounted on or below /proc")


def attach_inside(mount_fd: int, root_fd: int, target: str, *, kind: str, directory: bool = True) -> None:
    """Attach a detached mount at a place inside the root, which is made if it is missing.

    `kind` is the file system's, or `bind`. The place must be of the mount's shape: `directory`, or a file. Raises
    Invalid, Denied, SyscallError.
    """
    target_fd = open_target(root_fd, target, directory=directory)
    try:
        check_target(kind, target, path_inside(root_fd, target_fd))
        if stat.S_ISDIR(os.fstat(target_fd).st_mode) != directory:
            shape = "a directory" if directory else "a file"
            raise Invalid(f"mount on {target}: {shape} can't be mounted there, the container has another kind of file")
        attach(mount_fd, target_fd, name=target)
    finally:
        os.close(target_fd)


def bind(
    root_fd: int,
    source: str,
    target: str,
    *,
    flags: Iterable[str] = (),
    recursive: bool = True,
    propagation: str = "rprivate",
) -> None:
    """Show a file or directory of the host inside the root. `flags` such as `ro` and `nosuid` hold for the whole tree.

    Call it before `pivot`, while the host's paths are there. Raises NotFound where the source is missing.
    """
    mount_fd = clone_tree(source, recursive=recursive)
    try:
        set_attributes(mount_fd, flags, recursive=recursive)
        set_propagation(mount_fd, propagation)
        directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
        attach_inside(mount_fd, root_fd, target, kind="bind", directory=directory)
    finally:
        os.close(mount_fd)


def clone_of_process(pid: int, path: str) -> int:
    """A detached copy of the mount at a place as a process sees it, for instance another container's /dev/shm.

    Root there may have made of the path what it likes: a link anywhere in it is refused, and whatever is found is in
    that process's mount namespace, which a child enters to look. Raises NotFound, Denied, SyscallError.
    """
    namespace_fd = open_namespace(pid, "mount")
    try:
        return in_child(0, lambda: _clone_there(namespace_fd, path))
    except OSError as error:
        if error.errno == ELOOP:
            raise Denied(f"open {path} of process {pid}: it is or lies behind a link") from error
        raise syscall_error(f"open {path} of process {pid}", error) from error
    finally:
        os.close(namespace_fd)


def _clone_there(namespace_fd: int, path: str) -> int:
    setns(namespace_fd, CLONE_NEWNS)
    place = openat2(AT_FDCWD, path, os.O_PATH, resolve=RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    try:
        return clone_tree("", dir_fd=place, recursive=False)
    finally:
        os.close(place)


def mount_inside(root_fd: int, kind: str, target: str, *, options: str = "", flags: Iterable[str] = ()) -> None:
    """A new file system (tmpfs, proc, sysfs, mqueue, devpts) at a directory inside the root."""
    mount_fd = new_filesystem(kind, options=options, flags=flags)
    try:
        attach_inside(mount_fd, root_fd, target, kind=kind)
    finally:
        os.close(mount_fd)


def _open_existing(root_fd: int, path: str) -> int | None:
    """What a path without links is; None where there is nothing. Raises Denied for a link."""
    try:
        return open_inside(root_fd, path, follow=False)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return None
        if error.errno == ELOOP:
            raise Denied(f"protect {path} in the container: it is or lies behind a link") from error
        raise _target_error(path, error) from error


def protect(root_fd: int, path: str) -> None:
    """Make a path inside the root and all mounts below it read-only. Nothing happens where it does not exist.

    Its mounts' other attributes stay. Raises Denied where a link is in the way.
    """
    target_fd = _open_existing(root_fd, path)
    if target_fd is None:
        return
    mount_fd = -1
    try:
        mount_fd = clone_tree("", dir_fd=target_fd)
        set_attributes(mount_fd, ("ro",), recursive=True)
        attach(mount_fd, target_fd, name=path)
    finally:
        os.close(target_fd)
        if mount_fd >= 0:
            os.close(mount_fd)


class Masks:
    """Hides paths inside a root: a file under /dev/null, a directory under one empty read-only tmpfs.

    The null device is opened by the caller's own path and checked, never taken from the image on trust
    (CVE-2025-31133). Its mount must be in the caller's mount namespace, so use it before the old root is dropped. A
    context manager.
    """

    def __init__(self, root_fd: int, null_path: str = "/dev/null") -> None:
        self._root_fd = root_fd
        self._empty_fd = -1
        self._null_fd = os.open(null_path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not is_null(self._null_fd):
            self.close()
            raise Denied(f"hide paths of the container: {null_path} is not the null device")

    def __enter__(self) -> Masks:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is held; what was hidden stays hidden."""
        for fd in (self._null_fd, self._empty_fd):
            if fd >= 0:
                os.close(fd)
        self._null_fd = self._empty_fd = -1

    def hide(self, path: str) -> None:
        """Hide a file or directory. Nothing happens where it does not exist. Raises Denied where it can't be hidden."""
        target_fd = _open_existing(self._root_fd, path)
        if target_fd is None:
            return
        try:
            if stat.S_ISDIR(os.fstat(target_fd).st_mode):
                self._cover_directory(path, target_fd)
            else:
                self._cover_file(path, target_fd)
        finally:
            os.close(target_fd)

    def _cover_file(self, path: str, target_fd: int) -> None:
        mount_fd = clone_tree("", dir_fd=self._null_fd, recursive=False)
        try:
            set_attributes(mount_fd, ("ro", "nosuid", "noexec"))  # or the container could chmod the host's device
            attach(mount_fd, target_fd, name=path)
        finally:
            os.close(mount_fd)
        covered_fd = self._look_again(path)
        try:
            if not is_null(covered_fd):
                raise Denied(f"hide {path} of the container: it is still visible")
        finally:
            os.close(covered_fd)

    def _cover_directory(self, path: str, target_fd: int) -> None:
        mount_fd = self._empty_directory()
        try:
            attach(mount_fd, target_fd, name=path)
        finally:
            os.close(mount_fd)
        covered_fd = self._look_again(path)
        if os.path.samestat(os.fstat(covered_fd), os.fstat(target_fd)):
            os.close(covered_fd)
            raise Denied(f"hide {path} of the container: it is still visible")
        if self._empty_fd < 0:
            self._empty_fd = covered_fd
        else:
            os.close(covered_fd)

    def _empty_directory(self) -> int:
        """A detached mount of an empty directory: new the first time, then copies of the one that is attached."""
        if self._empty_fd >= 0:
            return clone_tree("", dir_fd=self._empty_fd, recursive=False)
        return new_filesystem("tmpfs", options="nr_inodes=1,mode=0755,ro,nosuid,nodev,noexec", source="masked")

    def _look_again(self, path: str) -> int:
        fd = _open_existing(self._root_fd, path)
        if fd is None:
            raise Denied(f"hide {path} of the container: it has gone")
        return fd


def is_null(fd: int) -> bool:
    """Whether a descriptor is of the null device."""
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE
