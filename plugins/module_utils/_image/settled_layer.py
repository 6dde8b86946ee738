# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Making a settled layer: what one layer means above certain lower ones, beyond what it can say by itself.

A settled layer is stacked directly above its layer. It holds, as far as they are needed,

- directories that the layer has without describing them, with the lower ones' owner, mode, attributes and time;
- symbolic links that such directories hide, and what the layer has in the directory, moved to where the link leads;
- lower files that the layer links to, under the new name and under their own;
- whiteouts over directories that hold nothing but whiteouts of what is not there.

It is loaded only where one of these is needed. Only the layers' directories are read, and only `root_fd` is written.
"""

from __future__ import annotations

import os
from errno import EDQUOT, ENOSPC
from stat import S_IFCHR, S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from .._base.errors import Damaged, SyscallError
from .._store.files import room_bytes
from .attributes import kept_attributes, named
from .layer_view import LayerView
from .tar import shown
from .tree import Blocked, Tree, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .layer_view import Found, OpenLayers

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"
_CHUNK = 1024 * 1024
_BLOCK = 512
_FICLONE = 0x40049409
_MOST_COPIED = 4 << 30  # bytes of lower files that one image may ask to be copied, with a few bytes of its layers
_PLAIN = 0o755
_VIEW = b"\0"


class Settling:
    """The settling of the topmost of some layers, which stay the caller's.

    `soft` are its directories that no entry describes, and whether they are hollow; `borrowed` its hard links to files
    that it does not have. `copied_bytes` of lower files were copied for the image so far, and with `write` more.
    """

    def __init__(
        self,
        layers: OpenLayers,
        soft: Mapping[bytes, bool],
        borrowed: Sequence[tuple[bytes, bytes]],
        copied_bytes: int = 0,
    ) -> None:
        self.copied_bytes = copied_bytes
        self._layers = layers
        self._view = LayerView(layers, soft)
        self._lower = LayerView(layers, {}, first=1)
        self._soft = soft
        self._borrowed = borrowed

    def is_needed(self) -> bool:
        """Whether the layer means something here that it can't say by itself."""
        return bool(self._borrowed) or any(self._asks(self._view.at(path)) for path in self._soft)

    def _asks(self, found: Found | None) -> bool:
        """Whether a soft directory has to be shown in another way than it is."""
        if found is None or not found.is_directory:
            return found is not None
        if found.seen_in == 0:
            return self._soft[found.path]
        status = found.status
        plain = (S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns) == (_PLAIN, 0, 0, 0)
        return not plain or bool(kept_attributes(self._layers.directory(found.seen_in, found.path)))

    def write(self, root_fd: int, root: str) -> None:
        """Fill the settled layer. `root` is the directory whose own attributes the whole stack's root has.

        Raises Damaged for what the layer can't mean, SyscallError for the host's troubles.
        """
        with _Output(root_fd, self._layers, self._view, self.copied_bytes) as output:
            try:
                self._settle_directories(output)
                self._settle_links(output)
                output.link_further_names()
                output.describe(root)
                self.copied_bytes = output.copied_bytes
            except OSError as error:
                hint = "free some space, or move the state directory" if error.errno in (ENOSPC, EDQUOT) else ""
                text = os.strerror(error.errno or 0).lower()
                raise SyscallError(f"settle layer: {text}", errno=error.errno or 0, hint=hint) from error

    def _settle_directories(self, output: _Output) -> None:
        gone = b"\0"
        for path in sorted(self._soft, key=lambda path: path.split(b"/")):
            if output.is_moved(path) or path.startswith(gone):
                continue
            found = self._view.at(path)
            if found is None or not self._asks(found):
                continue
            if found.is_link:
                output.borrow(found, path)
                self._move(path, path, output)
            elif not found.is_directory:
                output.borrow(found, path)
                gone = path + b"/"
            elif found.seen_in == 0:
                if output.is_free(path):  # else something from elsewhere fills it
                    output.white_out(path)
                    gone = path + b"/"
            else:
                output.directory(path)

    # what lies in a soft directory where the stack has a link

    def _move(self, source: bytes, link: bytes, output: _Output) -> None:
        """Say what the layer has in its directory `source` where the link at a real path leads."""
        try:
            target, there = self._view.resolve(link, follow=True)
            if there is not None and not there.is_directory:
                raise Damaged(f"settle layer: {shown(source)} leads to {shown(target)}, which is not a directory")
        except Damaged:
            if not self._soft[source]:
                raise
            output.moved[source] = source  # nothing is there that whiteouts could hide
            return
        self._transfer(source, target, output)

    def _transfer(self, source: bytes, target: bytes, output: _Output) -> None:
        """Say in the real directory `target` what the layer has in its directory `source`."""
        output.moved[source] = target
        there = self._view.at(target)
        if not self._soft.get(source, False):
            output.directory(target)
        elif there is None:
            return
        if self._layers.is_opaque(0, source):
            self._hide(target, there, output)
        for name, status in self._layers.entries(0, source):
            inner = source + b"/" + name
            place = target + b"/" + name if target else name
            hidden = self._view.child(there, name) if there is not None and there.is_directory else None
            if S_ISDIR(status.st_mode):
                self._transfer_directory(inner, place, hidden, output)
            elif not is_whiteout(status):
                output.copy(0, inner, place)
            elif hidden is not None and hidden.seen_in != 0:
                output.white_out(place)

    def _hide(self, path: bytes, there: Found | None, output: _Output) -> None:
        """Hide what the lower layers have in a directory, but not what this layer has there under its own name."""
        if there is None or not there.is_directory or 0 not in there.layers:
            output.make_opaque(path)
            return
        own = {name: status for name, status in self._layers.entries(0, path) if not is_whiteout(status)}
        lower = {name for layer in there.layers if layer for name, _status in self._layers.entries(layer, path)}
        for name in sorted(lower):
            found = self._view.child(there, name)
            if found is not None and name not in own:
                output.white_out(path + b"/" + name if path else name)
            elif found is not None and found.is_directory and 0 in found.layers:
                if found.path in self._soft:
                    output.directory(found.path, described_by=found.path)
                self._hide(found.path, found, output)

    def _transfer_directory(self, source: bytes, target: bytes, hidden: Found | None, output: _Output) -> None:
        if source not in self._soft:
            output.directory(target, described_by=source)
            self._transfer(source, target, output)
        elif hidden is not None and hidden.is_link:
            self._move(source, target, output)
        elif self._soft[source] and (hidden is None or not hidden.is_directory):
            output.moved[source] = target
        else:
            self._transfer(source, target, output)

    # hard links to lower files

    def _settle_links(self, output: _Output) -> None:
        for path, target in self._borrowed:
            real, found = self._lower.resolve(target, follow=False)
            if found is None or found.is_directory:
                what = "a directory" if found is not None else "not there, in this layer before it or in a lower one"
                raise Damaged(f"settle layer: {shown(path)} is a hard link to {shown(target)}, which is {what}")
            output.borrow(found, output.landing(path))
            if _is_same(self._view.at(real), found.seen_in) and output.is_free(real):
                output.borrow(found, real)


def _is_same(shown_there: Found | None, layer: int) -> bool:
    """Whether what the stack shows is what this layer has: no upper one replaces or deletes it."""
    return shown_there is not None and not shown_there.is_directory and shown_there.seen_in == layer


class _Output:
    """The settled layer as it is written. Paths are real ones in the view, layers are the view's."""

    def __init__(self, root_fd: int, layers: OpenLayers, view: LayerView, copied_bytes: int) -> None:
        self.moved: dict[bytes, bytes] = {}  # directories of the layer, and where their content went
        self._root_fd = root_fd
        self._layers = layers
        self._view = view
        self._tree = Tree(root_fd, self._made)
        self._directories: dict[bytes, bytes] = {}  # and the layer's directory that describes them, or _VIEW
        self._opaque: set[bytes] = set()
        self._names: dict[tuple[int, int], bytes] = {}  # layer and inode of files with several names: where one is here
        self._further: dict[tuple[int, int], int] = {}  # how many names they have that are not here
        self.copied_bytes = copied_bytes

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tree.close()

    def _made(self, path: bytes, replaced: bool) -> None:
        self._directories.setdefault(path, _VIEW)
        if replaced:
            self._opaque.add(path)

    # where things go

    def is_moved(self, path: bytes) -> bool:
        """Whether what the layer has at this path was dealt with together with a directory above it."""
        return bool(self._moved_above(path))

    def landing(self, path: bytes) -> bytes:
        """Where something that the layer has at this path is shown."""
        above = self._moved_above(path)
        return self.moved[above] + path[len(above) :] if above else path

    def _moved_above(self, path: bytes) -> bytes:
        """The nearest directory at or above a path that was moved, empty where there is none."""
        while self.moved and path:
            if path in self.moved:
                return path
            path = path.rpartition(b"/")[0]
        return b""

    def directory(self, path: bytes, *, described_by: bytes = _VIEW) -> int:
        """A directory, made if it is missing, as the view shows it or as the layer describes one at another path."""
        fd, _real = self._tree.directory(path, create=True)
        if described_by != _VIEW:
            self._directories[path] = described_by
        return fd

    def make_opaque(self, path: bytes) -> None:
        self.directory(path)
        self._opaque.add(path)

    def is_free(self, path: bytes) -> bool:
        """Whether what the layers have at a real path is seen there: nothing here replaces or hides it."""
        above = path.rpartition(b"/")[0]
        while self._opaque and above:
            if above in self._opaque:
                return False
            above = above.rpartition(b"/")[0]
        parent, _, name = path.rpartition(b"/")
        try:
            os.lstat(name, dir_fd=self._tree.directory(parent, create=False)[0])
        except FileNotFoundError:
            return True
        except Blocked:
            pass
        return False

    def _clear(self, path: bytes) -> tuple[int, bytes]:
        """The parent's descriptor and the name, with nothing under it."""
        parent, _, name = path.rpartition(b"/")
        fd, _real = self._tree.directory(parent, create=True)
        try:
            found = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return fd, name
        if S_ISDIR(found.st_mode):
            raise Damaged(f"settle layer: {shown(path)} is a file and a directory")
        os.unlink(name, dir_fd=fd)
        return fd, name

    def white_out(self, path: bytes) -> None:
        """Hide what is below."""
        fd, name = self._clear(path)
        os.mknod(name, S_IFCHR, 0, dir_fd=fd)

    # files

    def copy(self, layer: int, source: bytes, path: bytes) -> None:
        """Put a copy of a layer's file, link or device here; a further name of one that is here is linked to it."""
        parent, _, name = source.rpartition(b"/")
        status = os.lstat(name, dir_fd=self._layers.directory(layer, parent))
        key = (layer, status.st_ino)
        if key in self._names:
            self._further[key] -= 1
            self._link(self._names[key], path)
            return
        fd, new_name = self._clear(path)
        if layer:
            self._count(status)
        _copy(self._layers.directory(layer, parent), name, status, fd, new_name)
        if status.st_nlink > 1:
            self._names[key] = path
            self._further[key] = status.st_nlink - 1

    def borrow(self, found: Found, path: bytes) -> None:
        """Put a lower file here, the same one as under its other names here."""
        key = (found.seen_in, found.status.st_ino)
        if key in self._names:
            self._link(self._names[key], path)
            return
        self.copy(found.seen_in, found.path, path)
        self._names[key] = path
        self._further[key] = found.status.st_nlink - 1

    def _link(self, first: bytes, path: bytes) -> None:
        if first == path:
            return
        fd, name = self._clear(path)
        fd = os.dup(fd)  # looking up the other directory may close it
        try:
            parent, _, first_name = first.rpartition(b"/")
            first_fd, _real = self._tree.directory(parent, create=False)
            os.link(first_name, name, src_dir_fd=first_fd, dst_dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _count(self, status: os.stat_result) -> None:
        self.copied_bytes += status.st_blocks * _BLOCK
        if self.copied_bytes > _MOST_COPIED:
            raise Damaged(f"settle layer: it takes copies of more than {_MOST_COPIED} bytes of lower layers' files")
        if room_bytes(self._root_fd) < status.st_blocks * _BLOCK:
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def link_further_names(self) -> None:
        """Keep files one that have further names in their layer, beside those that were copied."""
        for layer in {layer for (layer, _inode), count in self._further.items() if count > 0}:
            for path, status in self._layers.files(layer):
                first = self._names.get((layer, status.st_ino)) if status.st_nlink > 1 else None
                if first is None or (layer == 0 and self.is_moved(path)):
                    continue
                if _is_same(self._view.at(path), layer) and self.is_free(path):
                    self._link(first, path)

    # directories, at last

    def describe(self, root: str) -> None:
        """Give the directories their attributes, when nothing is added to them any more; `root` has the root's."""
        for path, described_by in self._directories.items():
            there = self._view.at(path)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root_fd)
            try:
                if described_by != _VIEW:
                    _describe_like(self._layers.directory(0, described_by), fd)
                elif there is not None and there.is_directory:
                    _describe_like(self._layers.directory(there.seen_in, path), fd)
                else:
                    os.utime(fd, ns=(0, 0))
                if path in self._opaque:
                    os.setxattr(fd, _OPAQUE, b"y")
            finally:
                os.close(fd)
        _describe_root(root, self._root_fd)


def _describe_root(root: str, fd: int) -> None:
    """Give a directory the attributes of another one; an empty name stands for what a root is by default."""
    if not root:
        os.utime(fd, ns=(0, 0))
        return
    source = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _describe_like(source, fd)
    finally:
        os.close(source)


def _describe_like(source: int, fd: int) -> None:
    """Owner, mode, attributes and time of one open file to another; in this order, see unpack.py."""
    status = os.fstat(source)
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, S_IMODE(status.st_mode))
    for name, value in kept_attributes(source).items():
        os.setxattr(fd, name, value)
    os.utime(fd, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _copy(source_fd: int, source: bytes, status: os.stat_result, fd: int, name: bytes) -> None:
    """Copy what is no directory, with all that an image may say about it."""
    if S_ISREG(status.st_mode):
        old = os.open(source, _OLD_FILE, dir_fd=source_fd)
        try:
            new = os.open(name, _NEW_FILE, 0o600, dir_fd=fd)
            try:
                _copy_content(old, new, status.st_size)
                _describe_like(old, new)
            finally:
                os.close(new)
        finally:
            os.close(old)
        return
    if S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source, dir_fd=source_fd), name, dir_fd=fd)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=fd)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=fd, follow_symlinks=False)
    if not S_ISLNK(status.st_mode):
        os.chmod(name, S_IMODE(status.st_mode), dir_fd=fd)
    for key, value in kept_attributes(named(source_fd, source)).items():
        os.setxattr(named(fd, name), key, value, follow_symlinks=False)
    os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=fd, follow_symlinks=False)


def _copy_content(old: int, new: int, size: int) -> None:
    """The same content with the same holes; shared with the old file where the file system can do that."""
    from fcntl import ioctl

    try:
        ioctl(new, _FICLONE, old)
        return
    except OSError:
        pass
    start = 0
    while start < size:
        try:
            start = os.lseek(old, start, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            break
        end = os.lseek(old, start, os.SEEK_HOLE)
        while start < end:
            data = os.pread(old, min(_CHUNK, end - start), start)
            if not data:
                break
            start += os.pwrite(new, data, start)
    os.ftruncate(new, size)
