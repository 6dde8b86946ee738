# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a layer deletes from the layers below, as its tar says it (`.wh.name`) and as overlayfs wants it.

A whiteout becomes a character device 0:0, an opaque directory gets `trusted.overlay.opaque=y`. The order of entries in
a layer is not fixed, so deletions are taken to come first: what the layer itself brings stays, and a directory that is
both deleted and made is opaque. Only this layer is in view; see `Unpacked.deferred` for what needs the lower ones.

Source: OCI image specification, layer.md, "Representing Changes"; Linux Documentation/filesystems/overlayfs.rst,
"whiteouts and opaque directories".
"""

from __future__ import annotations

import os
from stat import S_IFCHR, S_ISDIR

from .._base.errors import Damaged
from .tar import shown
from .tree import Tree, WhitedOut, is_whiteout

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # its own bookkeeping, which old images contain
_OPAQUE_XATTR = "trusted.overlay.opaque"


class Whiteouts:
    """The deletions of one layer. `implicit` are the directories that no entry has described so far."""

    def __init__(self, root_fd: int) -> None:
        self.tree = Tree(root_fd, self._made)
        self.implicit: dict[bytes, None] = {}
        self.deletes_root = False  # an opaque root: all lower layers are hidden
        self._hollow: set[bytes] = set()  # implicit directories that hold whiteouts and nothing else
        self._opaque: set[bytes] = set()
        self._is_deleting = False

    def take(self, path: bytes) -> bool:
        """Whether the entry of this name is no file but a statement about deletions; then it was carried out.

        Raises Damaged for whiteouts without a sensible name.
        """
        parts = path.split(b"/")
        name = parts.pop()
        if any(part.startswith(_AUFS) for part in parts) or (name.startswith(_AUFS) and name != OPAQUE):
            return True
        if any(part.startswith(PREFIX) for part in parts):
            raise Damaged(f"unpack {shown(path)}: it lies below a whiteout")
        if not name.startswith(PREFIX):
            return False
        parent = b"/".join(parts)
        if name == OPAQUE:
            fd, real = self.tree.directory(parent, create=True)
            self.make_opaque(fd, real)
            return True
        target = name[len(PREFIX) :]
        if target in (b"", b".", b".."):
            raise Damaged(f"unpack {shown(path)}: a whiteout of nothing that could be deleted")
        self._delete(parent, target)
        return True

    def fills(self, path: bytes) -> None:
        """Note that an entry of the layer lies in this directory: it holds more than whiteouts."""
        while self._hollow and path:
            self._hollow.discard(path)
            path = path.rpartition(b"/")[0]

    def describes(self, path: bytes) -> None:
        """Note that an entry describes this directory."""
        self.implicit.pop(path, None)
        self.fills(path)

    def forgets(self, path: bytes) -> None:
        """Note that this directory is about to be removed."""
        below = path + b"/"
        for known in [known for known in self.implicit if known == path or known.startswith(below)]:
            del self.implicit[known]
        for paths in (self._hollow, self._opaque):
            paths.difference_update([known for known in paths if known == path or known.startswith(below)])

    def make_opaque(self, fd: int, path: bytes) -> None:
        """Hide what the lower layers have in this directory. `fd` is open on it."""
        self.fills(path)
        if not path:  # overlayfs merges the roots of all layers whatever they say
            self.deletes_root = True
            return
        if self._is_in_opaque(path, itself=True):
            return
        self._opaque.add(path)
        below = path + b"/"
        for hollow in sorted(known for known in self._hollow if known.startswith(below)):
            self._remove_hollow(hollow)
        fd, _real = self.tree.directory(path, create=False)
        _drop_whiteouts(fd)
        os.setxattr(fd, _OPAQUE_XATTR, b"y")

    def _made(self, path: bytes, replaced: bool) -> None:
        self.implicit[path] = None
        if self._is_deleting:
            self._hollow.add(path)
        if replaced:
            fd, real = self.tree.directory(path, create=False)
            self.make_opaque(fd, real)

    def _is_in_opaque(self, path: bytes, *, itself: bool) -> bool:
        if not self._opaque:
            return False
        if itself and path in self._opaque:
            return True
        return any(path.startswith(known + b"/") for known in self._opaque)

    def _directory_of_whiteout(self, parent: bytes) -> tuple[int, bytes] | None:
        try:
            return self.tree.directory(parent, create=False)
        except WhitedOut:
            return None  # what holds it is deleted already
        except FileNotFoundError:
            pass
        self._is_deleting = True
        try:
            return self.tree.directory(parent, create=True)
        finally:
            self._is_deleting = False

    def _delete(self, parent: bytes, name: bytes) -> None:
        found = self._directory_of_whiteout(parent)
        if found is None:
            return
        fd, real = found
        if self._is_in_opaque(real, itself=True):
            return  # all of the lower layers is hidden there
        path = real + b"/" + name if real else name
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            os.mknod(name, S_IFCHR, 0, dir_fd=fd)
            return
        if not S_ISDIR(status.st_mode):
            return  # this layer's own file hides the lower one, or it is deleted already
        if path in self._hollow:
            self._remove_hollow(path)
            fd, _real = self.tree.directory(real, create=False)
            os.mknod(name, S_IFCHR, 0, dir_fd=fd)
            return
        self.make_opaque(*self.tree.directory(path, create=False))

    def _remove_hollow(self, path: bytes) -> None:
        """Remove an implicit directory that held whiteouts only; it may be gone with the one above it."""
        parent, _, name = path.rpartition(b"/")
        try:
            fd, _real = self.tree.directory(parent, create=False)
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            return
        self.forgets(path)
        self.tree.remove(fd, name, path, status)


def _drop_whiteouts(fd: int) -> None:
    """Remove the whiteouts below a directory that became opaque: nothing is left that they could hide.

    Overlayfs shows a whiteout without a lower layer as a name that can't be opened.
    """
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_directory in entries:
        if is_directory:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                _drop_whiteouts(inner)
            finally:
                os.close(inner)
        elif is_whiteout(os.lstat(name, dir_fd=fd)):
            os.unlink(name, dir_fd=fd)
