# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Verbs on mounts, by file descriptor.

A mount is made detached (`clone_tree`, `new_filesystem`), shaped while nobody can see it (`set_attributes`,
`set_propagation`, `idmap`) and attached in one step. The descriptors are close-on-exec and the caller's; closing the
last one of a mount that was never attached removes it. Targets inside a container's root are found by `targets.py`.

Before Linux 5.12, `remounting.py` stands in for mount_setattr.
Source: open_tree(2), fsopen(2), fsmount(2), move_mount(2), mount_setattr(2).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENODEV, ENOENT, ENOSYS, EPERM

from .._base.errors import Denied, HullError, NotFound, Unsupported
from .._sys import mount_flags as m
from .._sys.mount_calls import (
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fscontext_log,
    fsmount,
    fsopen,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from .failures import syscall_error
from .mount_options import attribute_masks, propagation_flag, split_options, without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_OLD_KERNEL = "the engine needs Linux 5.10 or newer"


def _mount_error(operation: str, error: OSError) -> HullError:
    if error.errno == ENOSYS:
        return Unsupported(f"{operation}: this kernel does not know the call", hint=_OLD_KERNEL)
    return syscall_error(operation, error)


def clone_tree(path: str, *, dir_fd: int = m.AT_FDCWD, recursive: bool = True) -> int:
    """A detached copy of the mount tree that starts at a file or directory; an empty path means `dir_fd` itself.

    The copy is private to nobody yet: its propagation is the source's. Raises NotFound, Unsupported, SyscallError.
    """
    flags = m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if recursive else 0) | (0 if path else m.AT_EMPTY_PATH)
    try:
        return open_tree(dir_fd, path, flags)
    except OSError as error:
        if error.errno == ENOENT:
            raise NotFound(f"mount {path}: no such file or directory") from error
        raise _mount_error(f"clone the mount at {path or 'a descriptor'}", error) from error


def new_filesystem(
    kind: str, *, options: str = "", flags: Iterable[str] = (), source: str = "", read_only: bool = False
) -> int:
    """A detached mount of a new file system: tmpfs, proc, sysfs, mqueue, devpts, cgroup2 ...

    `options` is as in mount(8) -o and may mix words of the mount (`nosuid`) with those of the file system (`size=64m`).
    proc, sysfs and mqueue show the pid, net and ipc namespace of the caller. With `read_only` the file system itself is
    so, not only this mount of it. Raises Unsupported, Invalid, SyscallError.
    """
    words, data = split_options(options)
    attributes = attribute_masks((*words, *flags))[0]
    context = _open_context(kind)
    try:
        _configure(context, (f"source={source or kind}", *data, *(("ro",) if read_only else ())))
        return fsmount(context, attributes)
    except OSError as error:
        said = fscontext_log(context)
        raise syscall_error(f"mount {kind} ({without_secrets(options)})", error, detail=said) from error
    finally:
        os.close(context)


def _open_context(kind: str) -> int:
    try:
        return fsopen(kind)
    except OSError as error:
        if error.errno == ENODEV:
            raise Unsupported(f"mount {kind}: this kernel has no file system {kind}") from error
        raise _mount_error(f"mount {kind}", error) from error


def _configure(context: int, options: Iterable[str]) -> None:
    for option in options:
        key, equals, value = option.partition("=")
        if equals:
            fsconfig_string(context, key, value)
        else:
            fsconfig_flag(context, key)
    fsconfig_create(context)


def set_attributes(mount_fd: int, flags: Iterable[str], *, recursive: bool = False) -> None:
    """Give a mount, or with `recursive` its whole tree, these options (`ro`, `nosuid`, `exec` ...).

    A user namespace may not loosen what a more privileged one locked. Such an attribute stays set, on all mounts of the
    tree, and everything else is done; what was asked to be stricter is always stricter, or an error.
    """
    set_mask, clear_mask = attribute_masks(flags)
    if not set_mask and not clear_mask:
        return
    try:
        _change(mount_fd, recursive, set_=set_mask, clear=clear_mask)
    except OSError as error:
        if error.errno != EPERM or not clear_mask & ~m.MOUNT_ATTR__ATIME:
            raise _mount_error("set attributes of a mount", error) from error
        _set_and_loosen(mount_fd, recursive, set_mask, clear_mask)


def _change(mount_fd: int, recursive: bool, *, set_: int = 0, clear: int = 0) -> None:
    try:
        mount_setattr(mount_fd, "", m.AT_RECURSIVE if recursive else 0, set_=set_, clear=clear)
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        from .remounting import change_attributes

        change_attributes(mount_fd, set_=set_, clear=clear, recursive=recursive)


def _set_and_loosen(mount_fd: int, recursive: bool, set_mask: int, clear_mask: int) -> None:
    """Set what is to be set, then clear attribute by attribute what isn't locked."""
    atime = clear_mask & m.MOUNT_ATTR__ATIME
    try:
        if set_mask:
            _change(mount_fd, recursive, set_=set_mask, clear=atime)
    except OSError as error:
        raise Denied("set attributes of a mount: the kernel has locked them") from error
    loosened = clear_mask & ~m.MOUNT_ATTR__ATIME
    while loosened:
        lowest = loosened & -loosened
        loosened ^= lowest
        try:
            _change(mount_fd, recursive, clear=lowest)
        except OSError as error:
            if error.errno != EPERM:
                raise _mount_error("set attributes of a mount", error) from error


def set_propagation(where: int | str, word: str) -> None:
    """Set the propagation (`rprivate`, `slave` ...) of a mount given by descriptor or path."""
    flag, recursive = propagation_flag(word)
    try:
        _propagate(where, flag, recursive)
    except OSError as error:
        raise _mount_error(f"make {'a mount' if isinstance(where, int) else where} {word}", error) from error


def _propagate(where: int | str, flag: int, recursive: bool) -> None:
    dir_fd, path = (where, "") if isinstance(where, int) else (m.AT_FDCWD, where)
    try:
        mount_setattr(dir_fd, path, m.AT_RECURSIVE if recursive else 0, propagation=flag)
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        from .remounting import change_propagation

        change_propagation(where, flag, recursive=recursive)


def idmap(mount_fd: int, user_namespace_fd: int, *, recursive: bool = False) -> None:
    """Show owners through the id map of a user namespace. The mount must be detached and not idmapped yet.

    Raises Unsupported where the file system can't do it.
    """
    tree = m.AT_RECURSIVE if recursive else 0
    try:
        mount_setattr(mount_fd, "", tree, set_=m.MOUNT_ATTR_IDMAP, userns_fd=user_namespace_fd)
    except OSError as error:
        if error.errno in (EINVAL, ENOSYS):
            raise Unsupported(
                "map the ids of a mount: its file system can't be idmapped, or it is idmapped already",
                hint="ext4, xfs and btrfs can from Linux 5.12 to 5.15 on, tmpfs from 6.3",
            ) from error
        raise syscall_error("map the ids of a mount", error) from error


def attach(mount_fd: int, target_fd: int, *, name: str = "") -> None:
    """Attach a detached mount over the file or directory that `target_fd` is. `name` is the target in messages."""
    try:
        move_mount(mount_fd, target_fd, b"", m.MOVE_MOUNT_T_EMPTY_PATH)
    except OSError as error:
        raise _mount_error(f"mount on {name or 'a descriptor'}", error) from error


def attach_at(mount_fd: int, path: str) -> None:
    """Attach a detached mount at a path of the caller's mount namespace; a link at its end is not followed."""
    try:
        move_mount(mount_fd, m.AT_FDCWD, path)
    except OSError as error:
        raise _mount_error(f"mount on {path}", error) from error


def detach(path: str) -> None:
    """Take the topmost mount at a path and all below it out of the mount tree; the kernel frees it when unused."""
    try:
        umount2(path, m.MNT_DETACH | m.UMOUNT_NOFOLLOW)
    except OSError as error:
        raise _mount_error(f"unmount {path}", error) from error


def cover_root(mount_fd: int) -> None:
    """Attach the future root over `/` of the caller's mount namespace. No directory is needed, and the old tree stays
    reachable by paths until `pivot`, because the caller's root is still the mount beneath."""
    attach_at(mount_fd, "/")


def pivot(root_fd: int) -> None:
    """Make an attached mount the root of the caller's mount namespace, and drop the old root with all its mounts.

    The old root must not be shared, or the detaching would propagate: `own_root` first. Leaves
    the working directory at the new `/`. Descriptors into the old root keep their meaning: close them.
    Source: pivot_root(2), "pivot_root(".", ".")".
    """
    try:
        os.fchdir(root_fd)
        pivot_root(".", ".")
        umount2(".", m.MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise _mount_error("pivot to the container's root", error) from error
