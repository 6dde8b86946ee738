# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files of the store: written whole or not at all, removed without ever leaving the tree that is meant.

Imports next to nothing, since every start and every removal loads it.
"""

from __future__ import annotations

import os
from stat import S_IMODE, S_ISDIR

from .._base.errors import Conflict, Denied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 32  # open descriptors per removal; what lies deeper is moved up first
_BLOCK = 512  # of st_blocks, whatever the file system's
_RESERVE = 64 * 1024 * 1024  # free space that no layer may take
_RESERVED_PART = 64  # or this part of all space
_TRIES = 100  # how often a directory that is still being filled is emptied again


def fsync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: str, data: bytes, mode: int = 0o600, *, owner: tuple[int, int] | None = None) -> None:
    """Replace a file's content durably: a reader, or a host that crashes, sees the old or the new, never a mixture.

    The new file is written beside the old one, so the directory must be the engine's own. Raises OSError.
    """
    directory, name = os.path.split(path)
    draft = f"{directory}/.{name}.{os.urandom(4).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_all(fd, data)
            if owner:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    fsync_directory(directory)


def room_bytes(fd: int) -> int:
    """What layers may still take of the file system that `fd` lies on; negative where it is full.

    A part stays free for records and for others: 64 MiB, less on a small file system.
    """
    found = os.fstatvfs(fd)
    reserve = min(_RESERVE, found.f_blocks * found.f_frsize // _RESERVED_PART)
    return found.f_bavail * found.f_frsize - reserve


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def make_private_directory(path: str) -> None:
    """Make a directory that only its owner can enter; one that is there already becomes so. Idempotent.

    Raises Denied where something else has the name, or another user the directory.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        return
    except FileExistsError:
        found = os.lstat(path)
    if not S_ISDIR(found.st_mode):
        raise Denied(f"make directory {path}: something else has this name", hint="move it away")
    if found.st_uid != os.geteuid():
        raise Denied(f"make directory {path}: it belongs to user {found.st_uid}", hint="move it away")
    if S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)


def remove_tree(path: str) -> int:
    """Remove a file, a link, or a directory with all that is in it. Nothing there, or gone meanwhile, is no error.

    Gives the bytes that became free on the disk: a file counts when its last name goes, with the blocks that it had.
    Works on descriptors: links are removed, never followed, and a tree of any depth needs few descriptors. What is
    mounted in the tree is left alone with the directories above it: raises Conflict, naming the mount point.
    """
    parent, name = os.path.split(os.path.normpath(path))
    try:
        parent_fd = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        removal = _Removal(path, parent_fd)
        removal.remove(name)
        return removal.freed_bytes
    finally:
        os.close(parent_fd)


def mount_id(fd: int) -> bytes:
    """The number of the mount that a descriptor lies on. It differs for a bind mount of the same file system too.

    Source: proc_pid_fdinfo(5).
    """
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(info, 512).partition(b"mnt_id:")[2].partition(b"\n")[0]
    finally:
        os.close(info)


class _Removal:
    """One removal of the entry of a directory, on the mount that the directory lies on."""

    def __init__(self, path: str, parent_fd: int) -> None:
        self._path = path
        self._parent_fd = parent_fd
        self._mount = mount_id(parent_fd)
        self._top_fd = -1
        self.freed_bytes = 0

    def remove(self, name: str) -> None:
        try:
            is_directory = S_ISDIR(os.lstat(name, dir_fd=self._parent_fd).st_mode)
        except FileNotFoundError:
            return
        if is_directory:
            self._remove_directory(name, self._parent_fd, 0)
        else:
            self._remove_file(name, self._parent_fd)

    def _remove_file(self, name: str, parent_fd: int) -> None:
        try:
            found = os.lstat(name, dir_fd=parent_fd)
            os.unlink(name, dir_fd=parent_fd)
            if found.st_nlink == 1:
                self.freed_bytes += found.st_blocks * _BLOCK
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._explained(error, name) from error

    def _explained(self, error: OSError, name: str) -> Exception:
        from errno import EBUSY, EPERM

        if error.errno == EBUSY:
            return Conflict(f"remove {self._path}: {name} in it is a mount point", hint="unmount it first")
        if error.errno == EPERM:
            return Denied(
                f"remove {self._path}: the kernel refuses for {name} in it", hint="lsattr shows if it is immutable"
            )
        return error

    def _remove_directory(self, name: str, parent_fd: int, depth: int) -> None:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        try:
            if mount_id(fd) != self._mount:
                raise Conflict(f"remove {self._path}: {name} in it is a mount point", hint="unmount it first")
            if depth == 0:
                self._top_fd = fd
            blocks = os.fstat(fd).st_blocks
            for _attempt in range(_TRIES):
                self._empty(fd, depth)
                if self._rmdir(name, parent_fd):
                    self.freed_bytes += blocks * _BLOCK
                    return
            raise Conflict(f"remove {self._path}: {name} in it is being filled again and again")
        finally:
            os.close(fd)

    def _rmdir(self, name: str, parent_fd: int) -> bool:
        """Whether the directory is gone; False where it has entries again."""
        from errno import ENOTEMPTY

        try:
            os.rmdir(name, dir_fd=parent_fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno == ENOTEMPTY:
                return False
            raise self._explained(error, name) from error
        return True

    def _empty(self, fd: int, depth: int) -> None:
        for name, is_directory in _entries(fd):
            if not is_directory:
                self._remove_file(name, fd)
            elif depth < _DEEPEST:
                self._remove_directory(name, fd, depth + 1)
            else:
                self._move_up(name, fd)

    def _move_up(self, name: str, fd: int) -> None:
        """Move a directory to the top of the tree, whose next round finds it there."""
        try:
            os.rename(name, os.urandom(8).hex(), src_dir_fd=fd, dst_dir_fd=self._top_fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._explained(error, name) from error


def _entries(fd: int) -> Iterator[tuple[str, bool]]:
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    yield from entries
