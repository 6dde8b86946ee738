# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Unpacked layers on disk, each under its own diff ID and shared by all images that contain it.

    layers/<hex of the diff ID>/
        fs/           what overlayfs stacks; never changed again
        layer.json    {"diff_id": ..., "size_bytes": ..., "created_ns": ...}

A layer's directory is complete if it exists: it is filled in `tmp/`, synced and renamed. Which image needs which layer
is in the records, not here. Who removes a layer or relies on one that is there holds the lock of kind `layer` or works
inside a transaction of the records.
"""

from __future__ import annotations

import os

from .._base.clock import now_ns
from .._base.codec import parse, render
from .._base.digests import HEX_LENGTHS, check_digest, hex_of, is_digest
from .._base.errors import Damaged
from .files import fsync_directory, make_private_directory, remove_tree, write_atomic
from .records import LayerRecord
from .removal import bury
from .temporary import OwnedDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .._base.paths import Paths


def has_layer(paths: Paths, diff_id: str) -> bool:
    """Whether the layer is here, complete. Raises Invalid for what is not a digest."""
    return os.path.isdir(paths.layer(check_digest(diff_id, what="diff ID")) + "/fs")


def layer_record(paths: Paths, diff_id: str) -> LayerRecord:
    """What the store knows about a layer that is here. Raises Damaged where its description can't be read."""
    path = paths.layer(check_digest(diff_id, what="diff ID")) + "/layer.json"
    try:
        with open(path, "rb") as file:
            fields = parse(file.read(), source=path)
        return LayerRecord(diff_id, int(fields["size_bytes"]), int(fields["created_ns"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"read {path}: {error}", hint="remove the images that contain this layer") from error


def list_layers(paths: Paths) -> list[str]:
    """The diff IDs of all layers on disk, sorted."""
    try:
        names = os.listdir(paths.layers)
    except FileNotFoundError:
        return []
    algorithms = {length: algorithm for algorithm, length in HEX_LENGTHS.items()}
    diff_ids = (f"{algorithms.get(len(name), '')}:{name}" for name in names)
    return sorted(diff_id for diff_id in diff_ids if is_digest(diff_id))


def remove_layer(paths: Paths, diff_id: str) -> None:
    """Remove a layer; its name is free at once, whatever happens after. No error if there is none."""
    grave = bury(paths, paths.layer(check_digest(diff_id, what="diff ID")))
    if grave:
        remove_tree(grave)


def stage_layer(paths: Paths) -> StagedLayer:
    """A new, empty layer to be filled, for use with `with`; removed at the end unless it was published."""
    return StagedLayer(paths)


class StagedLayer:
    """A layer that is being made in `tmp/`: `fs` is the directory to fill, `directory` the one that holds it."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._owned = OwnedDirectory(paths, "layer")
        self.directory = ""
        self.fs = ""

    def __enter__(self) -> StagedLayer:
        self._owned.__enter__()
        self.directory = self._owned.path
        self.fs = self.directory + "/fs"
        try:
            os.mkdir(self.fs, 0o755)
            os.chmod(self.fs, 0o755)  # whatever the umask is
        except BaseException:
            self._owned.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.__exit__(kind, error, trace)

    def publish(self, diff_id: str, size_bytes: int) -> None:
        """Give the layer its place, durably and in one step. Where it is there already, that one stays.

        `size_bytes` is the size of the uncompressed tar's files. Raises OSError, as when the disk is full.
        """
        from .._sys.file_calls import syncfs

        description = {"diff_id": diff_id, "size_bytes": size_bytes, "created_ns": now_ns()}
        target = f"{self._paths.layers}/{hex_of(diff_id)}"
        if os.path.isdir(target):
            return
        write_atomic(self.directory + "/layer.json", render(description).encode())
        make_private_directory(self._paths.layers)
        syncfs(self._owned.fd)
        try:
            os.rename(self.directory, target)
        except FileExistsError:
            return
        except OSError as error:
            if os.path.isdir(target):  # ENOTEMPTY: another process was faster
                return
            raise error
        fsync_directory(self._paths.layers)
