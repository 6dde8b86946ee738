# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Filling a new volume with what the image has at its mount point, as Docker does.

The source is resolved inside the image's root (openat2), so a link in the image can't lead out of it, and everything is
copied descriptor-relative: owner, mode, times, xattrs, links, hard links and FIFOs. Devices are left out: they are dead
in a container, but alive where the volume is a directory of the host. A volume that has any content is left as it is.
What is copied appears in the volume in one step, unless other containers have it.
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST

from .._base.errors import NotFound
from .._store.files import remove_tree
from .._store.locks import lock
from .volume_options import volume_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths
    from .._store.records import ImageRecord, VolumeRecord
    from .engine import Engine

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTR_PREFIXES = ("user.", "security.capability", "system.posix_acl")
_DRAFT = "_filling"


def copy_up(engine: Engine, volume: VolumeRecord, image: ImageRecord, target: str) -> bool:
    """Copy the image's directory `target` into the volume if that is empty. Whether anything was copied.

    A volume that is a file system of its own is never filled: each container mounts it for itself.
    """
    source = volume_source(volume.options, option=f"volume {volume.name}")
    if source is not None and not source.is_bind:
        return False
    with lock(engine.paths, "volume", volume.name):
        if source is not None:
            return _fill(engine.paths, image, target, _open_device(volume, source.device))
        return _fill_own(engine, volume.name, image, target)


def _open_device(volume: VolumeRecord, device: str) -> int:
    try:
        return os.open(device, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(
            f"volume {volume.name}: {device}: {(error.strerror or str(error)).lower()}", hint="make the directory first"
        ) from error


def _fill(paths: Paths, image: ImageRecord, target: str, destination: int) -> bool:
    """Copy into an open directory, which is closed."""
    try:
        return not _has_entries(destination) and _copy_from_image(paths, image, target, destination)
    finally:
        os.close(destination)


def _fill_own(engine: Engine, name: str, image: ImageRecord, target: str) -> bool:
    """Fill a directory beside the empty one and put it into its place: who is killed leaves the volume empty.

    A container that has the volume would not see that: then it is filled where it is.
    """
    path = engine.paths.volume(name)
    draft = f"{os.path.dirname(path)}/{_DRAFT}"
    remove_tree(draft)
    if os.listdir(path):
        return False
    os.mkdir(draft, 0o755)
    os.chmod(draft, 0o755)
    is_filled = _fill(engine.paths, image, target, os.open(draft, _DIRECTORY))
    with engine.records.transaction():  # no container is recorded meanwhile, and none starts before it is
        is_used = bool(engine.records.volume_users(name))
        if is_filled and not is_used:
            os.rename(draft, path)
            return True
    remove_tree(draft)
    return is_filled and _fill(engine.paths, image, target, os.open(path, _DIRECTORY))


def _has_entries(directory: int) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is not None


def _copy_from_image(paths: Paths, image: ImageRecord, target: str, destination: int) -> bool:
    from .._kernel.overlay import overlay_mount
    from .._sys.file_calls import openat2
    from .._sys.open_flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS

    root = overlay_mount(paths.stack(image.stack), "", "", read_only=True)
    try:
        source = openat2(
            root, target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        )
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        os.close(root)
    try:
        _Copy(destination).directory(source, destination, "")
    finally:
        os.close(source)
    return True


class _Copy:
    """One copy of a tree; remembers inodes with several names, so that they stay one file."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: dict[tuple[int, int], str] = {}

    def directory(self, source: int, destination: int, path: str) -> None:
        """Copy the entries and then the attributes of one directory, `path` below the root with a slash at its end."""
        for name in os.listdir(source):
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._subdirectory(source, destination, name, path)
            elif not self._link(destination, name, found, path):
                _copy_entry(source, destination, name, found)
        _copy_attributes(source, destination, os.fstat(source))

    def _subdirectory(self, source: int, destination: int, name: str, path: str) -> None:
        os.mkdir(name, 0o700, dir_fd=destination)
        inner_source = os.open(name, _DIRECTORY, dir_fd=source)
        inner_destination = os.open(name, _DIRECTORY, dir_fd=destination)
        try:
            self.directory(inner_source, inner_destination, f"{path}{name}/")
        finally:
            os.close(inner_source)
            os.close(inner_destination)

    def _link(self, destination: int, name: str, found: os.stat_result, path: str) -> bool:
        """Make a further name of a file that was copied already. Whether it was."""
        if found.st_nlink < 2:
            return False
        first = self._names.setdefault((found.st_dev, found.st_ino), path + name)
        if first == path + name:
            return False
        parent, _, base = first.rpartition("/")
        directory = _open_plain(self._root, parent or ".")
        try:
            os.link(base, name, src_dir_fd=directory, dst_dir_fd=destination, follow_symlinks=False)
        finally:
            os.close(directory)
        return True


def _open_plain(root: int, path: str) -> int:
    """Open a directory of the volume by a path without links: a container that has the volume may swap in some."""
    from .._sys.file_calls import openat2
    from .._sys.open_flags import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    return openat2(root, path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, resolve=resolve)


def _copy_entry(source: int, destination: int, name: str, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        _copy_file(source, destination, name, found)
        return
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=destination)
    elif stat.S_ISFIFO(found.st_mode):
        os.mkfifo(name, stat.S_IMODE(found.st_mode), dir_fd=destination)
    else:
        return
    os.chown(name, found.st_uid, found.st_gid, dir_fd=destination, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        _change_mode(destination, name, found.st_mode)
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=destination, follow_symlinks=False)


def _change_mode(directory: int, name: str, mode: int) -> None:
    """Set the mode of what was just made; raises OSError where it is something else by now, a link perhaps."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if stat.S_IFMT(os.fstat(fd).st_mode) != stat.S_IFMT(mode):
            raise FileExistsError(EEXIST, "was replaced while the volume was filled", name)
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
    finally:
        os.close(fd)


def _copy_file(source: int, destination: int, name: str, found: os.stat_result) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(name, flags, 0o600, dir_fd=destination)
        try:
            offset = 0
            while offset < found.st_size:
                sent = os.sendfile(writer, reader, offset, _CHUNK)
                if not sent:
                    break
                offset += sent
            _copy_attributes(reader, writer, found)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_attributes(source: int, destination: int, found: os.stat_result) -> None:
    """Owner, then mode (chown clears setuid), then xattrs (chown clears capabilities), then times."""
    os.fchown(destination, found.st_uid, found.st_gid)
    os.fchmod(destination, stat.S_IMODE(found.st_mode))
    for attribute in os.listxattr(source):
        if attribute.startswith(_XATTR_PREFIXES):
            os.setxattr(destination, attribute, os.getxattr(source, attribute))
    os.utime(destination, ns=(found.st_atime_ns, found.st_mtime_ns))
