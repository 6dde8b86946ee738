# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The directory that a layer is unpacked into, entered by descriptors only.

A path from an archive is resolved as the kernel would resolve it with that directory as its root: symbolic links count
from there, `..` never leads above it. Every step opens one component with O_NOFOLLOW below the descriptor of the one
before, so that no path, whatever it says, leads outside.
"""

from __future__ import annotations

import os
from stat import S_ISCHR, S_ISDIR, S_ISLNK

from .._base.errors import Damaged
from .tar import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 128
_MOST_LINKS = 40  # as the kernel has it
_MOST_STEPS = 20_000_000  # through links, in one layer: seconds, not hours
_LONGEST_PATH = 4000  # the kernel takes 4095 bytes
_FAR = 8  # components that are worth a try with one call


def normalise(name: bytes, max_depth: int) -> bytes:
    """A name from an archive as components joined by `/`; empty for the root. A leading `/` is the root's.

    Raises Damaged for `..`, which no honest layer has, and for a path that is too deep.
    """
    if name[-1:] == b"/":
        name = name.rstrip(b"/")
    if name[:2] == b"./":
        name = name[2:]
    if b"//" in name or b"/." in name or name[:1] in (b"/", b".", b""):
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise Damaged(f"unpack {shown(name)}: the name climbs out of the layer with ..")
        name = b"/".join(parts)
    if name.count(b"/") >= max_depth:
        raise Damaged(f"unpack {shown(name)}: deeper than {max_depth} directories")
    return name


def is_whiteout(found: os.stat_result) -> bool:
    """Whether a file is overlayfs's whiteout."""
    return S_ISCHR(found.st_mode) and found.st_rdev == 0


class Blocked(Damaged):
    """Something on the way to a directory is none, or a link to itself."""


class WhitedOut(FileNotFoundError):
    """A directory is missing because this layer deletes it."""


class Missing(FileNotFoundError):
    """A directory is missing. `path` is the one asked for with this layer's links resolved as far as it goes."""

    def __init__(self, path: bytes) -> None:
        super().__init__(os.fsdecode(path))
        self.path = path


class Tree:
    """The tree below `root_fd`, which stays the caller's.

    Paths are bytes, relative, of real directories only: a symbolic link on the way is resolved before a path is kept.
    `on_implicit` is told of every directory that was made because an entry needed it.
    """

    def __init__(self, root_fd: int, on_implicit: Callable[[bytes, bool], None]) -> None:
        self._root_fd = root_fd
        self._open: dict[bytes, int] = {}
        self._on_implicit = on_implicit
        self._steps = 0

    def close(self) -> None:
        """Close every descriptor but the root's."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def directory(self, path: bytes, *, create: bool) -> tuple[int, bytes]:
        """A descriptor of the directory and its real path. It is valid until the next call.

        With `create`, what is missing is made, 0755 and root's. Raises Blocked where something on the way is no
        directory, Missing or WhitedOut where it is missing, Damaged beyond the limits.
        """
        fd = self._open.get(path)
        if fd is not None:
            return fd, path
        if not path:
            return self._root_fd, path
        fd = self._shortcut(path)
        return self._walk(path, create) if fd < 0 else (fd, path)

    def _shortcut(self, path: bytes) -> int:
        """A descriptor of a directory that is there and has no link on its way, in one step; -1 where that fails."""
        parent, _, name = path.rpartition(b"/")
        parent_fd = self._open.get(parent) if parent else self._root_fd
        try:
            if parent_fd is not None:
                return self._keep(path, os.open(name, _DIRECTORY, dir_fd=parent_fd))
            if path.count(b"/") < _FAR or len(path) > _LONGEST_PATH:
                return -1
            from .._sys.file_calls import openat2
            from .._sys.open_flags import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS

            return self._keep(
                path, openat2(self._root_fd, path, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            )
        except OSError:
            return -1

    def _walk(self, path: bytes, create: bool) -> tuple[int, bytes]:
        waiting = path.split(b"/")[::-1]
        fd, real = self._root_fd, b""
        links = 0
        while waiting:
            part = waiting.pop()
            if part == b"..":  # only from a link's target
                real = real.rpartition(b"/")[0]
                fd = self._reopen(real)
                continue
            below = real + b"/" + part if real else part
            known = self._open.get(below)
            if known is not None:
                fd, real = known, below
                continue
            if len(below) > _LONGEST_PATH:
                raise Damaged(f"unpack {shown(path)}: a path of over {_LONGEST_PATH} bytes")
            try:
                target = self._enter(part, fd, below, create)
            except WhitedOut:
                raise
            except FileNotFoundError:
                raise Missing(b"/".join([below, *reversed(waiting)])) from None
            if target is None:
                fd, real = self._open[below], below
                continue
            links += 1
            if links > _MOST_LINKS:
                raise Blocked(f"unpack {shown(path)}: too many symbolic links on the way")
            if target[:1] == b"/":
                fd, real = self._root_fd, b""
            steps = [step for step in target.split(b"/") if step not in (b"", b".")]
            self._steps += len(steps)
            if self._steps > _MOST_STEPS:
                raise Damaged(f"unpack {shown(path)}: the ways through symbolic links are too long in this layer")
            waiting += steps[::-1]
        return fd, real

    def _reopen(self, real: bytes) -> int:
        """The descriptor of a directory whose path is known to be real."""
        fd = self._open.get(real) if real else self._root_fd
        return self._keep(real, os.open(real, _DIRECTORY, dir_fd=self._root_fd)) if fd is None else fd

    def _enter(self, part: bytes, fd: int, path: bytes, create: bool) -> bytes | None:
        """Open the directory `part` in `fd`, made if need be; the target where it is a symbolic link instead."""
        try:
            self._keep(path, os.open(part, _DIRECTORY, dir_fd=fd))
            return None
        except FileNotFoundError:
            if not create:
                raise
            replaced = False
        except OSError:
            found = os.lstat(part, dir_fd=fd)
            if S_ISLNK(found.st_mode):
                return os.readlink(part, dir_fd=fd)
            if not is_whiteout(found):
                raise Blocked(f"unpack: {shown(path)} is not a directory, but an entry lies below it") from None
            if not create:
                raise WhitedOut(os.fsdecode(path)) from None
            os.unlink(part, dir_fd=fd)
            replaced = True
        os.mkdir(part, 0o755, dir_fd=fd)
        os.fchmod(self._keep(path, os.open(part, _DIRECTORY, dir_fd=fd)), 0o755)  # whatever the umask is
        self._on_implicit(path, replaced)
        return None

    def _keep(self, path: bytes, fd: int) -> int:
        if len(self._open) >= _MOST_OPEN:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))
        self._open[path] = fd
        return fd

    def forget(self, path: bytes) -> None:
        """Close what is open of a directory that is about to go, and of those below it."""
        below = path + b"/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))

    def remove(self, fd: int, name: bytes, path: bytes, found: os.stat_result) -> None:
        """Remove the entry `name` of the directory `fd`, with what is below it."""
        if not S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=fd)
            return
        self.forget(path)
        directories = [path]
        for below, entry, place_fd in self.below(path):
            if entry.is_dir(follow_symlinks=False):
                directories.append(below)
            else:
                os.unlink(entry.name, dir_fd=place_fd)
        for place in reversed(directories):
            os.rmdir(place, dir_fd=self._root_fd)

    def below(self, path: bytes) -> Iterator[tuple[bytes, os.DirEntry[str], int]]:
        """All that is below a directory, in no other order than directories before what they hold; as `entries`."""
        directories = [path]
        for place in directories:  # grows meanwhile
            for found in self.entries(place):
                if found[1].is_dir(follow_symlinks=False):
                    directories.append(found[0])
                yield found

    def entries(self, path: bytes) -> Iterator[tuple[bytes, os.DirEntry[str], int]]:
        """What is in a directory, as it was when asked: path, entry and the directory's descriptor.

        The path is a real one, so there is no link on its way. The entries may be removed meanwhile.
        """
        fd = os.open(path or b".", _DIRECTORY, dir_fd=self._root_fd)
        try:
            with os.scandir(fd) as found:
                entries = list(found)
            for entry in entries:
                name = os.fsencode(entry.name)
                yield path + b"/" + name if path else name, entry, fd
        finally:
            os.close(fd)
