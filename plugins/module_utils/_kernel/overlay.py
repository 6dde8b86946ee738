# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container's root: layers and a writable directory stacked by overlayfs, as a mount that no path leads to yet.

Linux 6.7 and newer take layer by layer through the mount API, so neither their number nor the length of their paths
meets a limit before the kernel's own of 500 layers. Older ones take one option string of at most a page; there every
directory is opened and named by its number below /proc/self/fd, in a child with a mount namespace of its own, so that
hundreds of layers fit and the host's mount table does not show the intermediate mount either.

Extensions that make an upper directory depend on its lower layers (redirect_dir, metacopy, index) are off, whatever the
kernel's defaults are: an upper directory must stay a layer. Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENODEV, ENOENT, ENOSYS, EPERM, ESTALE

from .._base.errors import HullError, Invalid, NotFound, Unsupported
from .._sys.mount_calls import (
    fsconfig_create,
    fsconfig_fd,
    fsconfig_flag,
    fsconfig_string,
    fscontext_log,
    fsmount,
    fsopen,
    mount,
)
from .._sys.privilege_calls import capget, capset
from .._sys.sched_flags import CLONE_NEWNS
from .failures import syscall_error
from .mounts import attach_at, clone_tree, idmap, set_attributes, set_propagation
from .own_mounts import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LAYERS = 500  # OVL_MAX_STACK in fs/overlayfs/params.h
_MAX_STRING = 255  # of one fsconfig value
_PAGE = 4096
_LAYERS_SINCE = (6, 7)  # asked for one by one, an older kernel writes an error to its log at every start
_DESCRIPTORS_SINCE = (6, 13)  # layers as descriptors of O_PATH, which idmapped ones are; EBADF before
_EVERYTHING_SINCE = (6, 16)  # on detached mounts (6.15)
_OPTIONS = (("redirect_dir", "off"), ("metacopy", "off"), ("index", "off"), ("nfs_export", "off"))


def overlay_mount(layers: Sequence[str], upper: str, work: str, *, read_only: bool = False, idmap_fd: int = -1) -> int:
    """A descriptor of a detached mount that shows the layers (topmost first) below the writable `upper`.

    `upper` and `work` are existing directories in one directory, `work` is the kernel's own; both are empty for a mount
    of layers alone, which is read-only. With `idmap_fd`, a user namespace, owners on disk are those inside it (Linux
    5.19). The caller owns the descriptor; closing it frees a mount that was not attached.

    Raises NotFound naming a missing layer, Unsupported without overlayfs, Invalid, SyscallError.
    """
    if not layers and not upper:
        raise Invalid("mount an overlay: neither layers nor a writable directory")
    if not layers or (len(layers) == 1 and not upper):  # overlayfs wants two directories
        mount_fd = _single(upper or layers[0], idmap_fd)
    else:
        mount_fd = _stack(layers, upper, work, idmap_fd)
    try:
        if read_only or not upper:
            set_attributes(mount_fd, ("ro",))
    except BaseException:
        os.close(mount_fd)
        raise
    return mount_fd


def _single(directory: str, idmap_fd: int) -> int:
    mount_fd = clone_tree(directory, recursive=False)
    try:
        set_propagation(mount_fd, "private")
        if idmap_fd >= 0:
            idmap(mount_fd, idmap_fd)
    except BaseException:
        os.close(mount_fd)
        raise
    return mount_fd


def _stack(layers: Sequence[str], upper: str, work: str, idmap_fd: int) -> int:
    release = kernel_release()
    try:
        if release >= (_LAYERS_SINCE if idmap_fd < 0 else _DESCRIPTORS_SINCE):
            if idmap_fd < 0:
                return _stack_one_by_one(layers, upper, work, idmap_fd)
            return in_child(0, lambda: _stack_one_by_one(layers, upper, work, idmap_fd))
    except OSError as error:
        if error.errno != EINVAL or release >= _EVERYTHING_SINCE:
            raise _overlay_error(error, layers, upper, work) from error
    try:
        return stack_by_option_string(layers, upper, work, idmap_fd)
    except OSError as error:
        raise _overlay_error(error, layers, upper, work) from error


def kernel_release() -> tuple[int, int]:
    """(6, 1) on a Linux 6.1.0-18-amd64."""
    major, minor = os.uname().release.split(".")[:2]
    digits = len(minor) - len(minor.lstrip("0123456789"))
    return int(major), int(minor[:digits] or "0")


def _stack_one_by_one(layers: Sequence[str], upper: str, work: str, idmap_fd: int) -> int:
    held: list[int] = []
    context = fsopen("overlay")
    try:
        for key, path in _directories(layers, upper, work):
            if idmap_fd >= 0:
                fsconfig_fd(context, key, _idmapped(path, idmap_fd, held, key))
            else:
                fsconfig_string(context, key, _short_path(path, held))
        for key, value in _OPTIONS:
            fsconfig_string(context, key, value)
        if _in_user_namespace():
            fsconfig_flag(context, "userxattr")
        if idmap_fd >= 0:
            _act_as_owner(held[-1])
        fsconfig_create(context)
        return fsmount(context)
    except OSError as error:
        said = fscontext_log(context)
        raise OSError(error.errno, f"{error.strerror}: {said}" if said else error.strerror) from error
    finally:
        for fd in (*held, context):
            os.close(fd)


def _directories(layers: Sequence[str], upper: str, work: str) -> list[tuple[str, str]]:
    """Every directory of the stack with the option that takes it; layers topmost first."""
    writable = [("upperdir", upper), ("workdir", work)] if upper else []
    return [*(("lowerdir+", layer) for layer in layers), *writable]


def _open_directory(path: str, held: list[int], dir_fd: int | None = None) -> int:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    held.append(fd)
    return fd


def _short_path(path: str, held: list[int]) -> str:
    """A name of the directory that the mount API takes verbatim; `held` keeps the descriptor it may go through."""
    if len(os.fsencode(path)) <= _MAX_STRING and "\\" not in path:
        return path
    return f"/proc/self/fd/{_open_directory(path, held)}"


def _idmapped(path: str, idmap_fd: int, held: list[int], key: str) -> int:
    """The directory as seen through an idmapped copy of its mount; upper and work share the copy of their parent."""
    if key == "lowerdir+":
        mount_fd = clone_tree(path, recursive=False)
        held.append(mount_fd)
        idmap(mount_fd, idmap_fd)
        return mount_fd
    parent, name = os.path.split(path.rstrip("/"))
    if key == "upperdir":
        parent_fd = clone_tree(parent, recursive=False)
        held.append(parent_fd)
        idmap(parent_fd, idmap_fd)
    else:
        parent_fd = held[-2]  # the copy made for upperdir, before upperdir itself
    return _open_directory(name, held, parent_fd)


def _in_user_namespace() -> bool:
    """Whether trusted.* attributes are out of reach, so that user.* have to serve."""
    with open("/proc/self/uid_map", "rb") as file:
        return file.read().split() != [b"0", b"0", b"4294967295"]


def _act_as_owner(directory_fd: int) -> None:
    """Become the owner of a directory for the file system's purposes, with all capabilities; in a child only.

    overlayfs works on its layers with the credentials of whoever mounted it. Below an idmapped mount an owner that has
    no place in the map, such as the host's root, can't make files (EOVERFLOW, and the overlay would be read-only).
    """
    owner = os.fstat(directory_fd)
    permitted = capget()[1]
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    capset(permitted, permitted, 0)


def stack_by_option_string(layers: Sequence[str], upper: str, work: str, idmap_fd: int = -1) -> int:
    """The detached overlay as kernels before 6.7 can make it. Raises OSError."""
    return in_child(CLONE_NEWNS, lambda: _mount_in_private(layers, upper, work, idmap_fd))


def _mount_in_private(layers: Sequence[str], upper: str, work: str, idmap_fd: int) -> int:
    set_propagation("/", "rprivate")
    held: list[int] = []
    try:
        if idmap_fd >= 0:
            _cover_with_idmapped(layers, upper, idmap_fd, held)
        lower = ":".join(str(_open_directory(layer, held)) for layer in layers)
        options = [f"lowerdir={lower}", *(f"{key}={value}" for key, value in _OPTIONS)]
        if upper:
            names = [_open_directory(path, held) for path in (upper, work)]
            options.append(f"upperdir={names[0]},workdir={names[1]}")
            if idmap_fd >= 0:
                _act_as_owner(names[0])
        if _in_user_namespace():
            options.append("userxattr")
        data = ",".join(options)
        if len(data) >= _PAGE:
            raise OSError(
                EINVAL, f"mount: {len(layers)} layers don't fit in the {_PAGE} bytes of this kernel's mount call"
            )
        os.chdir("/proc/self/fd")  # where each directory has its descriptor's number for a name
        mount("overlay", layers[-1], "overlay", 0, data)  # covers the layer in this mount namespace alone
        return clone_tree(layers[-1], recursive=False)
    finally:
        for fd in held:
            os.close(fd)


def _cover_with_idmapped(layers: Sequence[str], upper: str, idmap_fd: int, held: list[int]) -> None:
    """Put idmapped copies over the layers and over the directory of upper and work; for this mount namespace alone."""
    for path in (*layers, *((os.path.dirname(upper.rstrip("/")),) if upper else ())):
        mount_fd = clone_tree(path, recursive=False)
        held.append(mount_fd)
        idmap(mount_fd, idmap_fd)
        attach_at(mount_fd, path)


def _overlay_error(error: OSError, layers: Sequence[str], upper: str, work: str) -> HullError:
    operation = f"mount an overlay with {upper}" if upper else f"mount an overlay of {len(layers)} layers"
    if error.errno == ENODEV:
        return Unsupported(f"{operation}: this kernel has no overlayfs", hint="load its module: modprobe overlay")
    if error.errno == ENOSYS:
        return Unsupported(f"{operation}: this kernel has no mount API", hint="the engine needs Linux 5.10 or newer")
    if error.errno == ENOENT:
        missing = [path for path in (*layers, upper, work) if path and not os.path.isdir(path)]
        return NotFound(f"{operation}: {missing[0] if missing else 'a layer'} does not exist")
    if error.errno == EINVAL and len(layers) > MAX_LAYERS:
        return syscall_error(
            operation, error, detail=f"{len(layers)} lower layers, this kernel's limit is {MAX_LAYERS}"
        )
    hint = ""
    if error.errno in (EINVAL, ESTALE) and upper:
        hint = "the writable directory must be on ext4, xfs, btrfs or tmpfs, and work beside it"
    if error.errno == EPERM:
        hint = "overlayfs needs CAP_SYS_ADMIN, in a user namespace Linux 5.11"
    return syscall_error(operation, error, detail=_kernel_words(error), hint=hint)


def _kernel_words(error: OSError) -> str:
    """What the kernel said beyond the errno."""
    return (error.strerror or "").partition(": ")[2].replace("\n", "; ")
