# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a stack of layers means, by the letter of the OCI image specification, on a tree in memory.

It knows nothing of overlayfs and shares no code with the engine. Entries are applied one after another; deletions touch
what lower layers brought. Its result has the form of `tars.describe`.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
from typing import Any

KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
}
XATTR = "SCHILY.xattr."


class Node:
    """An inode. `layer` is the one that described it, or that made a directory again."""

    def __init__(self, kind: int, layer: int, *, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = 0) -> None:
        self.kind, self.layer = kind, layer
        self.mode, self.uid, self.gid, self.mtime = mode, uid, gid, mtime
        self.content: Any = None
        self.xattrs: dict[str, bytes] = {}
        self.children: dict[str, Node] = {}
        self.named_in: dict[str, int] = {}  # the layer that put a child there


class Model:
    """A root file system to which layers are applied."""

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR, 0)
        self._layer = 0

    def apply(self, *entries: tuple[tarfile.TarInfo, bytes]) -> None:
        """Apply one more layer. Raises LookupError for a hard link that leads nowhere, NotADirectoryError."""
        self._layer += 1
        for info, content in entries:
            parts = [part for part in info.name.split("/") if part not in ("", ".")]
            if not parts:
                self._describe(self.root, info)
            elif parts[-1].startswith(".wh."):
                self._delete(parts[:-1], parts[-1])
            else:
                self._add(parts, info, content)

    def _walk(self, parts: list[str], *, create: bool) -> Node | None:
        """The directory that a path leads to, with this tree as the root."""
        way = [self.root]
        waiting = parts[::-1]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                way = way[:-1] or way
                continue
            child = way[-1].children.get(part)
            if child is not None and child.kind == stat.S_IFLNK:
                links += 1
                if links > 40:
                    raise NotADirectoryError("a loop")
                if child.content.startswith("/"):
                    way = [self.root]
                waiting += [step for step in child.content.split("/") if step not in ("", ".")][::-1]
                continue
            if child is None:
                if not create:
                    return None
                child = Node(stat.S_IFDIR, self._layer)
                self._put(way[-1], part, child)
            if child.kind != stat.S_IFDIR:
                raise NotADirectoryError(part)
            way.append(child)
        return way[-1]

    def _put(self, parent: Node, name: str, node: Node) -> None:
        parent.children[name] = node
        parent.named_in[name] = self._layer

    def _add(self, parts: list[str], info: tarfile.TarInfo, content: bytes) -> None:
        parent = self._walk(parts[:-1], create=True)
        assert parent is not None
        name = parts[-1]
        if info.type == tarfile.LNKTYPE:
            target = [part for part in info.linkname.split("/") if part not in ("", ".")]
            place = self._walk(target[:-1], create=False)
            node = place.children.get(target[-1]) if place is not None else None
            if node is None or node.kind == stat.S_IFDIR:
                raise LookupError(info.linkname)
            self._put(parent, name, node)
            return
        old = parent.children.get(name)
        if old is not None and old.kind == stat.S_IFDIR and info.type == tarfile.DIRTYPE:
            node = old
        else:
            node = Node(KINDS[info.type], self._layer)
            self._put(parent, name, node)
        self._describe(node, info)
        if info.type == tarfile.REGTYPE:
            node.content = content
        elif info.type == tarfile.SYMTYPE:
            node.content = info.linkname
        elif info.type == tarfile.CHRTYPE:
            node.content = (info.devmajor << 8) | info.devminor

    def _describe(self, node: Node, info: tarfile.TarInfo) -> None:
        node.mode, node.uid, node.gid, node.mtime = info.mode, info.uid, info.gid, int(info.mtime)
        node.layer = self._layer
        node.xattrs = {
            key[len(XATTR) :]: value.encode() for key, value in info.pax_headers.items() if key.startswith(XATTR)
        }

    def _delete(self, parts: list[str], name: str) -> None:
        try:
            place = self._walk(parts, create=False)
        except NotADirectoryError:
            return
        if place is None:
            return
        if name == ".wh..wh..opq":
            for child in list(place.children):
                self._delete_child(place, child)
        else:
            self._delete_child(place, name[len(".wh.") :])

    def _delete_child(self, place: Node, name: str) -> None:
        """Remove what lower layers brought under a name; directories with something newer in them are made again."""
        child = place.children.get(name)
        if child is None or (child.kind != stat.S_IFDIR and place.named_in[name] == self._layer):
            return
        if child.kind != stat.S_IFDIR:
            del place.children[name]
            return
        for inner in list(child.children):
            self._delete_child(child, inner)
        if child.children and child.layer != self._layer:
            made = Node(stat.S_IFDIR, self._layer)
            made.children, made.named_in = child.children, child.named_in
            self._put(place, name, made)
        elif child.layer != self._layer:
            del place.children[name]

    def describe(self) -> dict[bytes, tuple[Any, ...]]:
        """As `tars.describe` of a directory with this tree in it."""
        result: dict[bytes, tuple[Any, ...]] = {}
        self._list("", self.root, result)
        result[b"."] = self._fields(self.root)
        return result

    def _list(self, path: str, node: Node, result: dict[bytes, tuple[Any, ...]]) -> None:
        for name, child in sorted(node.children.items()):
            relative = f"{path}{name}"
            result[relative.encode()] = self._fields(child)
        for name, child in sorted(node.children.items()):
            if child.kind == stat.S_IFDIR:
                self._list(f"{path}{name}/", child, result)

    def _fields(self, node: Node) -> tuple[Any, ...]:
        content: Any = node.content
        if node.kind == stat.S_IFREG:
            content = (len(content), hashlib.sha256(content).hexdigest())
        elif node.kind == stat.S_IFLNK:
            content = content.encode()
        elif node.kind == stat.S_IFDIR:
            content = None
        elif node.kind == stat.S_IFIFO:
            content = 0
        mode = 0o777 if node.kind == stat.S_IFLNK else node.mode
        return (
            *(node.kind, mode, node.uid, node.gid, node.mtime * 10**9, content),
            *(None if node.kind == stat.S_IFDIR else id(node), dict(node.xattrs)),
        )


def link_groups(tree: dict[bytes, tuple[Any, ...]]) -> list[list[bytes]]:
    """Which names are one file, for trees whose field for that has any values."""
    groups: dict[Any, list[bytes]] = {}
    for name, fields in tree.items():
        if fields[6] is not None:
            groups.setdefault(fields[6], []).append(name)
    return sorted(sorted(group) for group in groups.values())


def without_links(tree: dict[bytes, tuple[Any, ...]]) -> dict[bytes, tuple[Any, ...]]:
    return {name: (*fields[:6], fields[7]) for name, fields in tree.items()}
