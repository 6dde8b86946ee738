# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One file of a copy, written beside what has its name, and then in its place.

A file gets content, owner and mode by descriptor, and where the file system can do that, before it has any name: so
nothing is left of it if the writer is killed, and nobody can swap something else in.
"""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, EINVAL, ENOTSUP, EOPNOTSUPP, EPERM
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISREG

from .._image.attributes import CAPABILITY, is_kept_attribute
from .._image.tar import BLOCK_DEVICE, CHARACTER, FIFO, shown
from .._store.files import mount_id, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._image.tar import Entry, TarReader

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_CHUNK = 1024 * 1024
_LAST_NS = ((1 << 33) - 1) * 10**9


class FileWriter:
    """Writes entries, each as `name` in an open directory. `warnings` tells what could not be kept.

    `set_ids`: whether file capabilities are.
    """

    def __init__(self, *, set_ids: bool) -> None:
        self.warnings: list[str] = []
        self._set_ids = set_ids

    def file(self, entry: Entry, reader: TarReader, directory: int, name: str) -> None:
        """A regular file."""
        fd, draft = _new_file(directory, name)
        try:
            _fill(fd, entry, reader)
            self.describe(fd, entry)
            if not draft:
                if _link_new(fd, directory, name):
                    return
                draft = _draft_name(name)
                os.link(f"/proc/self/fd/{fd}", draft, dst_dir_fd=directory, follow_symlinks=True)
            try:
                self._put(draft, directory, name)
                draft = ""
            except OSError as error:
                if error.errno != EBUSY:
                    raise
                _overwrite(fd, directory, name)
        finally:
            os.close(fd)
            if draft:
                _unlink(draft, directory)

    def _put(self, draft: str, directory: int, name: str) -> None:
        """Give a finished draft its name, in the place of what has it. Raises OSError EBUSY for a mount point."""
        status = lstat(directory, name)
        aside = ""
        if status is not None and S_ISDIR(status.st_mode):
            aside = move_aside(directory, name)
        elif status is not None:
            _refuse_mount_point(directory, name)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        if aside:
            remove_tree(f"/proc/self/fd/{directory}/{aside}")

    def symlink(self, entry: Entry, directory: int, name: str) -> None:
        """A symbolic link."""
        draft = _draft_name(name)
        os.symlink(entry.link, draft, dir_fd=directory)
        try:
            os.chown(draft, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            os.utime(draft, ns=_times(entry), dir_fd=directory, follow_symlinks=False)
            self._put(draft, directory, name)
            draft = ""
        finally:
            if draft:
                _unlink(draft, directory)

    def hard_link(self, source: int, target: bytes, directory: int, name: str) -> None:
        """Make a further name of a file, which is `target` in another open directory."""
        draft = _draft_name(name)
        os.link(target, draft, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        try:
            self._put(draft, directory, name)
        finally:
            _unlink(draft, directory)  # it stays where both names are one file already

    def node(self, entry: Entry, directory: int, name: str) -> None:
        """A FIFO or a device, where this process may make one."""
        kind = {FIFO: S_IFIFO, CHARACTER: S_IFCHR, BLOCK_DEVICE: S_IFBLK}[entry.kind]
        draft = _draft_name(name)
        try:
            os.mknod(draft, kind | 0o600, os.makedev(*entry.device), dir_fd=directory)
        except PermissionError:
            self.warnings.append(f"{shown(entry.name)} is a device, which can't be made there, and was left out")
            return
        try:
            self._describe_node(entry, draft, directory)
            self._put(draft, directory, name)
            draft = ""
        finally:
            if draft:
                _unlink(draft, directory)

    def _describe_node(self, entry: Entry, name: str, directory: int) -> None:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            mode = os.fstat(fd).st_mode
            if not (S_ISFIFO(mode) or S_ISCHR(mode) or S_ISBLK(mode)):
                raise FileExistsError(EEXIST, "was replaced while it was made", name)
            os.chown(f"/proc/self/fd/{fd}", entry.uid, entry.gid)
            os.chmod(f"/proc/self/fd/{fd}", entry.mode)
            os.utime(f"/proc/self/fd/{fd}", ns=_times(entry))
        finally:
            os.close(fd)

    def describe(self, fd: int, entry: Entry) -> None:
        """Owner, then mode (chown clears set-user-ID), then attributes (chown clears capabilities), then times."""
        os.chown(fd, entry.uid, entry.gid)
        os.chmod(fd, entry.mode)
        for key, value in (entry.xattrs or {}).items():
            if not is_kept_attribute(key) or (key == CAPABILITY and not self._set_ids):
                continue
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno not in (ENOTSUP, EPERM):
                    raise
                self.warnings.append(f"{shown(entry.name)}: attribute {shown(key)} can't be kept there")
        os.utime(fd, ns=_times(entry))


def lstat(directory: int, name: str) -> os.stat_result | None:
    """What a name in an open directory (-1: none) is; None where there is nothing."""
    try:
        return os.lstat(name, dir_fd=directory) if directory >= 0 else None
    except FileNotFoundError:
        return None


def _times(entry: Entry) -> tuple[int, int]:
    time_ns = min(max(entry.mtime_ns, 0), _LAST_NS)
    return time_ns, time_ns


def _draft_name(name: str) -> str:
    return f".{os.fsdecode(os.fsencode(name)[:200])}.{os.urandom(6).hex()}"


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def move_aside(directory: int, name: str) -> str:
    """Give a name in an open directory another one, which is returned. Raises OSError EBUSY for a mount point."""
    _refuse_mount_point(directory, name)
    aside = _draft_name(name)
    os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
    return aside


def _refuse_mount_point(directory: int, name: str) -> None:
    """Raise OSError EBUSY where something is mounted on a name in an open directory.

    The kernel itself refuses only for a mount of the caller's own namespace. One of another it would take away, from a
    running container in this case. Source: rename(2), fs/namei.c vfs_rename.
    """
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        if mount_id(fd) != mount_id(directory):
            raise OSError(EBUSY, "something is mounted there", name)
    finally:
        os.close(fd)


def _new_file(directory: int, name: str) -> tuple[int, str]:
    """A file that nobody else has: without a name, so that nothing is left of it whatever happens, where the file
    system can do that; else with a draft's name."""
    try:
        return os.open(".", _UNNAMED, 0o600, dir_fd=directory), ""
    except OSError as error:
        if error.errno not in (EOPNOTSUPP, EINVAL):
            raise
    draft = _draft_name(name)
    return os.open(draft, _NEW, 0o600, dir_fd=directory), draft


def _link_new(fd: int, directory: int, name: str) -> bool:
    """Give a file without a name its name; False where something else has it."""
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _overwrite(fd: int, directory: int, name: str) -> None:
    """Put the content of a file into one that can't be replaced."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not S_ISREG(os.fstat(place).st_mode):
            raise FileExistsError(EEXIST, "something that is not a file is mounted there", name)
        out = os.open(f"/proc/self/fd/{place}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        offset, status = 0, os.fstat(fd)
        while sent := os.sendfile(out, fd, offset, _CHUNK):
            offset += sent
        os.chown(out, status.st_uid, status.st_gid)
        os.chmod(out, S_IMODE(status.st_mode))
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(out)


def _fill(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write an entry's data; what is not in its segments stays a hole."""
    piece: bytes | memoryview = b""
    for offset, length in ((0, entry.size),) if entry.segments is None else entry.segments:
        end = offset + length
        while offset < end:
            piece = piece or reader.read_some()
            written = os.pwrite(fd, piece[: end - offset], offset)
            offset, piece = offset + written, piece[written:]
    os.ftruncate(fd, entry.size)
