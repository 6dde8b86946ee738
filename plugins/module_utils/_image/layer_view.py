# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a stack of layers shows, read from the layers' directories without a mount.

Names are looked up as overlayfs does it: from the topmost layer down, where a whiteout, an opaque directory or anything
that is no directory ends the search, and directories of several layers are one. Symbolic links are resolved with the
stack as the root. Every directory is opened below its layer's descriptor without following any link, so no lookup
leaves the layers whatever they contain.

The topmost layer may be one that is to be settled: its *soft* directories are those that no entry of it describes. They
let the lower layers speak: a soft one shows the lower directory's attributes, and a lower link in its place shows
through. One that is hollow too (it holds whiteouts only) lets anything show through.
"""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISLNK

from .._base.errors import Damaged
from .._sys.file_calls import openat2
from .._sys.open_flags import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from .tar import shown
from .tree import is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"
_MOST_OPEN = 192
_MOST_KNOWN = 100_000
_MOST_LINKS = 40  # as the kernel has it
_MOST_LOOKUPS = 5_000_000  # of a name in a layer, for one image: minutes, not hours
_MOST_STEPS = 5_000_000  # through links, in all lookups together: seconds, not hours


class Found:
    """What a stack shows at a path: `status` of the file, link or directory that is seen in the layer `seen_in`.

    `layers` are those whose directories are merged here, topmost first; of anything else, the layer it is in.
    """

    __slots__ = ("layers", "path", "seen_in", "status")

    def __init__(self, path: bytes, layers: tuple[int, ...], seen_in: int, status: os.stat_result) -> None:
        self.path = path
        self.layers = layers
        self.seen_in = seen_in
        self.status = status

    @property
    def is_directory(self) -> bool:
        return S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return S_ISLNK(self.status.st_mode)


class OpenLayers:
    """The directories of a stack's layers, topmost first, as descriptors. A context manager.

    `lookups` is how often names were looked up in layers for the image so far, and with this from now on.
    """

    def __init__(self, directories: Sequence[str], *, lookups: int = 0) -> None:
        self.lookups = lookups
        self._roots: list[int] = []
        self._open: dict[tuple[int, bytes], int] = {}
        try:
            for directory in directories:
                self._roots.append(os.open(directory, _DIRECTORY))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._roots)

    def __enter__(self) -> OpenLayers:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (*self._open.values(), *self._roots):
            os.close(fd)
        self._open.clear()
        self._roots.clear()

    def directory(self, layer: int, path: bytes) -> int:
        """A descriptor of a directory of one layer, valid until the next call of anything here. Raises OSError."""
        if not path:
            return self._roots[layer]
        fd = self._open.get((layer, path))
        if fd is None:
            fd = openat2(self._roots[layer], path, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            if len(self._open) >= _MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[layer, path] = fd
        return fd

    def count(self, lookups: int) -> None:
        """Count before names are looked up. Raises Damaged where it has become too much."""
        self.lookups += lookups
        if self.lookups > _MOST_LOOKUPS:
            raise Damaged(f"settle layer: what its directories are takes over {_MOST_LOOKUPS} looks into lower layers")

    def is_opaque(self, layer: int, path: bytes) -> bool:
        """Whether a directory of a layer hides those below it."""
        try:
            return os.getxattr(self.directory(layer, path), _OPAQUE) == b"y"
        except OSError:
            return False

    def entries(self, layer: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        """The names in a directory of one layer and what they are, sorted."""
        with os.scandir(self.directory(layer, path)) as found:
            return sorted((os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in found)

    def files(self, layer: int) -> Iterator[tuple[bytes, os.stat_result]]:
        """All that a layer has but directories: path and status."""
        directories = [b""]
        for place in directories:  # grows meanwhile
            for name, status in self.entries(layer, place):
                path = place + b"/" + name if place else name
                if S_ISDIR(status.st_mode):
                    directories.append(path)
                else:
                    yield path, status


class LayerView:
    """What is shown of open layers. `soft` has the soft directories of the topmost one, and whether they are hollow.

    With `first`, the layers from that one down.
    """

    def __init__(self, layers: OpenLayers, soft: Mapping[bytes, bool], *, first: int = 0) -> None:
        self._layers = layers
        self._soft = soft
        self._known: dict[bytes, Found | None] = {}
        self._steps = 0
        shown_layers = tuple(range(first, len(layers)))
        self._root = Found(b"", shown_layers, first, os.fstat(layers.directory(first, b""))) if shown_layers else None

    def at(self, path: bytes) -> Found | None:
        """What is shown at a path on which no link lies; None where nothing is, or a link or file is on its way."""
        if path in self._known:
            return self._known[path]
        found = self._root
        for name in path.split(b"/") if path else ():
            if found is None or not found.is_directory:
                return None
            found = self.child(found, name)
        return found

    def child(self, parent: Found, name: bytes) -> Found | None:
        """What is shown under a name in a directory."""
        path = parent.path + b"/" + name if parent.path else name
        if path in self._known:
            return self._known[path]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = self._known[path] = self._look_up(parent, name, path)
        return found

    def _look_up(self, parent: Found, name: bytes, path: bytes) -> Found | None:
        merged: list[int] = []
        best: Found | None = None
        self._layers.count(len(parent.layers))
        is_closed = False  # what is below is seen through a soft directory, but not merged any more
        for layer in parent.layers:
            try:
                status = os.lstat(name, dir_fd=self._layers.directory(layer, parent.path))
            except FileNotFoundError:
                continue
            if is_whiteout(status):
                break
            is_soft = layer == 0 and path in self._soft
            is_directory = S_ISDIR(status.st_mode)
            if best is None or (best.seen_in == 0 and path in self._soft and self._shows(status, path)):
                best = Found(path, (), layer, status)
            if not is_directory:
                break
            if not is_closed:
                merged.append(layer)
            if self._layers.is_opaque(layer, path):
                if not is_soft:
                    break
                is_closed = True
            elif is_closed:
                break
        if best is not None:
            best.layers = tuple(merged) if best.is_directory else (best.seen_in,)
        return best

    def _shows(self, status: os.stat_result, path: bytes) -> bool:
        """Whether this shows through a soft directory."""
        return S_ISDIR(status.st_mode) or S_ISLNK(status.st_mode) or self._soft[path]

    def resolve(self, path: bytes, *, follow: bool) -> tuple[bytes, Found | None]:
        """The real path of what a path leads to, and what is there; with `follow` also through a link at its end.

        Where something is missing the rest is taken as it is. Raises Damaged for a file on the way, and for links that
        lead around in circles.
        """
        waiting = path.split(b"/")[::-1]
        real, found = b"", self._root
        links = 0
        while waiting:
            part = waiting.pop()
            if part == b"..":
                real = real.rpartition(b"/")[0]
                found = self.at(real)
                continue
            below = real + b"/" + part if real else part
            there = self.child(found, part) if found is not None else None
            if there is None or there.is_directory:
                real, found = below, there
            elif there.is_link and (waiting or follow):
                links += 1
                target = self.target(there)
                if target[:1] == b"/":
                    real, found = b"", self._root
                waiting += self._components(target, path, links)
            elif waiting:
                raise Damaged(f"{shown(below)} is not a directory")
            else:
                return below, there
        return real, found

    def target(self, link: Found) -> bytes:
        """Where a symbolic link leads."""
        parent, _, name = link.path.rpartition(b"/")
        return os.readlink(name, dir_fd=self._layers.directory(link.seen_in, parent))

    def _components(self, target: bytes, path: bytes, links: int) -> list[bytes]:
        steps = [step for step in target.split(b"/") if step not in (b"", b".")]
        self._steps += len(steps)
        if links > _MOST_LINKS or self._steps > _MOST_STEPS:
            raise Damaged(f"{shown(path)}: too many symbolic links on the way")
        return steps[::-1]
