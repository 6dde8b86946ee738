# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a layer deletes from the layers below, as its tar says it (`.wh.name`) and as overlayfs wants it.

A whiteout becomes a character device 0:0, an opaque directory gets `trusted.overlay.opaque=y`. The order of entries in
a layer is not fixed, so deletions are taken to come first: what the layer itself brings stays, and a directory that is
both deleted and made is opaque. Only this layer is in view; see `Unpacked.deferred` for what needs the lower ones.

A whiteout in a directory that no lower layer has would show as a name that can't be opened: overlayfs looks for
whiteouts only where it merges directories, or where a directory says that it was copied up. So each directory with
whiteouts says that, with an empty `trusted.overlay.origin`: copied up, from where is not known.

Source: OCI image specification, layer.md, "Representing Changes"; Linux Documentation/filesystems/overlayfs.rst,
"whiteouts and opaque directories"; fs/overlayfs/inode.c, ovl_get_inode.
"""

from __future__ import annotations

import os
from stat import S_IFCHR, S_ISDIR

from .._base.errors import Damaged
from .tar import shown
from .tree import Blocked, Missing, Tree, WhitedOut, is_whiteout

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # its own bookkeeping, which old images contain
_OPAQUE_XATTR = "trusted.overlay.opaque"
_ORIGIN_XATTR = "trusted.overlay.origin"


class Whiteouts:
    """The deletions of one layer. `implicit` are the directories that no entry has described so far.

    Of each, whether a lower layer may describe it: not where this layer deletes what the lower ones have there.
    """

    def __init__(self, root_fd: int) -> None:
        self.tree = Tree(root_fd, self._made)
        self.implicit: dict[bytes, bool] = {}
        self.implicit_bytes = 0  # of the names of all that ever were
        self.deletes_root = False  # an opaque root: all lower layers are hidden
        self._hollow: set[bytes] = set()  # implicit directories that hold whiteouts at most
        self._opaque: set[bytes] = set()
        self._marked: set[bytes] = set()  # directories with whiteouts, which say so
        self._is_deleting = False

    @property
    def has_whiteouts(self) -> bool:
        """Whether there may be whiteouts in the tree."""
        return bool(self._marked)

    def asking(self) -> list[tuple[bytes, bool]]:
        """The directories that a lower layer may describe, and whether they hold nothing but whiteouts."""
        return [
            (path, path in self._hollow)
            for path, may_ask in self.implicit.items()
            if may_ask and not self.hides(path, itself=False)
        ]

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
            found = self._directory_of_whiteout(parent)
            if found is not None:
                self.make_opaque(*found)
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
        """Note that this directory is gone; those below it are told one by one."""
        self.implicit.pop(path, None)
        for paths in (self._hollow, self._opaque, self._marked):
            paths.discard(path)

    def hides(self, path: bytes, *, itself: bool) -> bool:
        """Whether all of the lower layers is hidden at this path, with `itself` also whether in this directory."""
        if itself and path in self._opaque:
            return True
        while self._opaque and path:
            path = path.rpartition(b"/")[0]
            if path in self._opaque:
                return True
        return False

    def make_opaque(self, fd: int, path: bytes) -> None:
        """Hide what the lower layers have in this directory. `fd` is open on it."""
        if not path:  # overlayfs merges the roots of all layers whatever they say
            self.deletes_root = True
            return
        if self.hides(path, itself=True):
            return
        self._drop_whiteouts(path)
        self._opaque.add(path)
        fd, _real = self.tree.directory(path, create=False)
        os.setxattr(fd, _OPAQUE_XATTR, b"y")

    def replaces(self, path: bytes) -> None:
        """Note that this directory is made again after the lower layers' was deleted."""
        if path in self.implicit:
            self.implicit[path] = False
        self.make_opaque(*self.tree.directory(path, create=False))

    def _drop_whiteouts(self, top: bytes) -> None:
        """Remove the whiteouts below a directory that becomes opaque: nothing is left that they could hide.

        Directories that held nothing else go with them.
        """
        directories = [top]
        for place in directories:  # grows meanwhile
            for path, entry, fd in self.tree.entries(place):
                if entry.is_dir(follow_symlinks=False):
                    if path not in self._opaque:
                        directories.append(path)
                elif not entry.is_file(follow_symlinks=False) and is_whiteout(os.lstat(entry.name, dir_fd=fd)):
                    os.unlink(entry.name, dir_fd=fd)
            self._marked.discard(place)
        for place in reversed(directories[1:]):
            if place in self._hollow:
                self._remove_hollow(place)

    def _made(self, path: bytes, replaced: bool) -> None:
        self.implicit[path] = True
        self.implicit_bytes += len(path)
        if self._is_deleting:
            self._hollow.add(path)
        if replaced:
            self.replaces(path)

    def _directory_of_whiteout(self, parent: bytes) -> tuple[int, bytes] | None:
        try:
            return self.tree.directory(parent, create=False)
        except (WhitedOut, Blocked):
            return None  # what holds it is deleted already, or is no directory any more
        except Missing as error:
            if self.hides(error.path, itself=False):
                return None
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
        if self.hides(real, itself=True):
            return  # all of the lower layers is hidden there
        path = real + b"/" + name if real else name
        try:
            status = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            self._white_out(fd, real, name)
            return
        if not S_ISDIR(status.st_mode):
            return  # this layer's own file hides the lower one, or it is deleted already
        if path in self._hollow:
            self._remove_hollow(path)
            fd, _real = self.tree.directory(real, create=False)
            self._white_out(fd, real, name)
            return
        self.replaces(path)

    def _white_out(self, fd: int, directory: bytes, name: bytes) -> None:
        os.mknod(name, S_IFCHR, 0, dir_fd=fd)
        if directory not in self._marked:
            self._marked.add(directory)
            if directory:  # roots are always merged
                os.setxattr(fd, _ORIGIN_XATTR, b"")

    def _remove_hollow(self, path: bytes) -> None:
        """Remove an implicit directory that holds whiteouts only."""
        parent, _, name = path.rpartition(b"/")
        fd, _real = self.tree.directory(parent, create=False)
        for below, _entry, _fd in self.tree.below(path):
            self.forgets(below)
        self.forgets(path)
        self.tree.remove(fd, name, path, os.lstat(name, dir_fd=fd))
