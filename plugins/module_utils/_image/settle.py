# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The stack of directories that shows an image's layers as its author meant them.

Layers are unpacked one by one, without the lower ones in view, and shared by all images. What a layer means only in one
stack is said in a further directory directly above it:

    settled/<hex of the OCI chain ID>/fs      see settled_layer.py

Most layers need none, and then this reads their descriptions and nothing else. A settled layer is complete if it
exists: it is made in `tmp/`, synced and renamed. It depends on nothing but the layers that its chain ID names.
"""

from __future__ import annotations

import os

from .._base.errors import Damaged
from .._store.claims import chain
from .._store.layers import describe
from .attributes import kept_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._base.paths import Paths
    from .settled_layer import Settling

_PLAIN_ROOT = (0o40755, 0, 0)


class _Spent:
    """What it took so far to settle one image's layers: a few bytes in each of many could ask for very much."""

    def __init__(self) -> None:
        self.copied_bytes = 0
        self.lookups = 0


def settle(paths: Paths, diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The directories below the root that overlayfs stacks for these layers, lowest first; made where they are missing.

    All layers are in the store. Idempotent, safe beside others that settle the same. Raises Damaged, naming the layer,
    for what a layer can't mean above these lower ones, SyscallError and OSError for the host's troubles.
    """
    stack: list[str] = []
    root = ""  # whose root describes the whole stack's
    spent = _Spent()
    for number, (diff_id, chain_id) in enumerate(zip(diff_ids, chain(diff_ids))):
        deferred = describe(paths, diff_id).deferred
        kinds = {kind for kind, _path in deferred}
        directory = "layers/" + diff_id.partition(":")[2]
        if "opaque-root" in kinds:
            stack = []
        if directory in stack:  # all that it has is in this one, and overlayfs takes no directory twice
            stack.remove(directory)
        if ("implicit-parent", b"") not in deferred:
            root = directory
        is_last = number == len(diff_ids) - 1
        if _may_be_needed(kinds, deferred, is_lowest=not stack) or (is_last and _hides_root(paths, directory, root)):
            layers = [directory, *reversed(stack)]
            stack.append(directory)
            if _make(paths, diff_id, chain_id, layers, root, deferred, spent, is_last=is_last):
                stack.append("settled/" + chain_id.partition(":")[2])
        else:
            stack.append(directory)
    return tuple(stack)


def _may_be_needed(kinds: set[str], deferred: Sequence[tuple[str, bytes]], *, is_lowest: bool) -> bool:
    """Whether it takes a look at the layers to say if this one means more here than it says."""
    if is_lowest:
        return not kinds.isdisjoint(("hollow", "hard-link", "whiteouts"))
    return not kinds.isdisjoint(("hollow", "hard-link")) or any(
        kind == "implicit-parent" and path for kind, path in deferred
    )


def _hides_root(paths: Paths, directory: str, root: str) -> bool:
    """Whether the topmost layer, which says nothing about the root, hides what a lower one says.

    Not where it is no more than a time: that is no reason for one more layer in every stack.
    """
    if root in ("", directory):
        return False
    place = f"{paths.root}/{root}/fs"
    found = os.lstat(place)
    return (found.st_mode, found.st_uid, found.st_gid) != _PLAIN_ROOT or bool(kept_attributes(os.fsencode(place)))


def _make(
    paths: Paths,
    diff_id: str,
    chain_id: str,
    layers: list[str],
    root: str,
    deferred: Sequence[tuple[str, bytes]],
    spent: _Spent,
    *,
    is_last: bool,
) -> bool:
    """Make the settled layer above the first of these layers, topmost first. Whether it is needed, and there."""
    target = paths.settled_layer(chain_id)
    if os.path.isdir(target):
        return True
    from .layer_view import OpenLayers
    from .settled_layer import Settling

    soft = {path: kind == "hollow" for kind, path in deferred if kind in ("implicit-parent", "hollow") and path}
    borrowed = [text.partition(b"\0")[::2] for kind, text in deferred if kind == "hard-link"]
    directories = [f"{paths.root}/{name}/fs" for name in layers]
    try:
        with OpenLayers(directories, lookups=spent.lookups) as opened:
            settling = Settling(opened, soft, borrowed, spent.copied_bytes)
            is_forced = (is_last and _hides_root(paths, layers[0], root)) or (
                len(layers) == 1 and any(kind == "whiteouts" for kind, _path in deferred)
            )
            is_needed = is_forced or settling.is_needed()
            if is_needed:
                _publish(paths, target, settling, f"{paths.root}/{root}/fs" if root else "")
            spent.copied_bytes, spent.lookups = settling.copied_bytes, opened.lookups
    except Damaged as error:
        cause = error.message.partition("settle layer: ")[2] or error.message
        hint = "the image was made wrongly, or for other lower layers"
        raise Damaged(f"settle layer {diff_id}: {cause}", hint=hint) from error
    return is_needed


def _publish(paths: Paths, target: str, settling: Settling, root: str) -> None:
    """Make a settled layer in `tmp/` and give it its place. Another process that was faster is as good."""
    from .._store.files import fsync_directory, make_private_directory
    from .._store.temporary import OwnedDirectory
    from .._sys.file_calls import syncfs

    with OwnedDirectory(paths, "settled") as owned:
        os.mkdir(owned.path + "/fs", 0o755)
        fd = os.open(owned.path + "/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchmod(fd, 0o755)  # whatever the umask is
            settling.write(fd, root)
        finally:
            os.close(fd)
        make_private_directory(paths.settled)
        syncfs(owned.fd)
        try:
            os.rename(owned.path, target)
        except OSError:
            if not os.path.isdir(target):
                raise
        fsync_directory(paths.settled)
