# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Layers of an archive that lies in files: brought into the store by one process per processor, each checked.

Progress is told as `progress(event, subject, done, total)`, the subject being the diff ID: `exists`, `load` (bytes of
the archived layer so far), `done`.
"""

from __future__ import annotations

import os

from .._base.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .archive_files import Destination, Piece, SeekableFiles
    from .archived_image import ArchivedLayer
    from .compression import ByteStream
    from .layer_store import Check
    from .unpack import Unpacked
    from .workers import Report

REPORT_EVERY = 4 * 1024 * 1024
_LOCK_TIMEOUT_S = 3600


def bring_layers(destination: Destination, files: SeekableFiles, layers: Sequence[ArchivedLayer]) -> None:
    """Have the layers in the store. Raises Damaged for one that is not what the archive says of it."""
    from .workers import Job, run_jobs

    jobs = []
    layers_by_id = {layer.diff_id: layer for layer in layers}
    for layer in layers_by_id.values():
        with files.open(layer.name) as piece:
            size = piece.size
        if is_here(destination, layer):
            destination.progress("exists", layer.diff_id, size, size)
            continue
        jobs.append(Job(layer.diff_id, size, _LayerJob(destination, files, layer).run))
        files.brought.add(layer.diff_id)
        files.kept.add(kept_digest(destination, layer))
    if jobs:
        from .layer_store import bring_layer  # noqa: F401  (loaded before the fork: every worker needs it)

    limit = len(os.sched_getaffinity(0))
    were_read = run_jobs(destination.paths, jobs, limit=limit, relay=lambda values: destination.progress(*values))
    files.checked |= {(layer.diff_id, layer.digest) for layer in layers_by_id.values() if were_read.get(layer.diff_id)}


def kept_digest(destination: Destination, layer: ArchivedLayer) -> str:
    """The digest under which the archived layer itself is kept; empty where it is not: the tar can be reproduced."""
    return layer.digest if destination.keep_blobs and layer.digest != layer.diff_id else ""


def is_here(destination: Destination, layer: ArchivedLayer) -> bool:
    """Whether the layer is in the store, not damaged, and its blob too if that shall be kept."""
    from .._store.layers import has_layer, needs_repair

    if needs_repair(destination.paths, layer.diff_id):
        return False
    blob = kept_digest(destination, layer)
    return has_layer(destination.paths, layer.diff_id) and (not blob or os.path.exists(destination.paths.blob(blob)))


class _LayerJob:
    """One layer, in a worker."""

    def __init__(self, destination: Destination, files: SeekableFiles, layer: ArchivedLayer) -> None:
        self._destination = destination
        self._files = files
        self._layer = layer

    def run(self, report: Report) -> bool:
        """Make sure that the layer is in the store. Whether the file was read for that."""
        from .._store.locks import lock

        layer = self._layer
        held = lock(self._destination.paths, "layer", layer.diff_id, timeout_s=_LOCK_TIMEOUT_S)
        with held, self._files.open(layer.name) as piece:
            is_missing = not is_here(self._destination, layer)
            if is_missing:
                self._bring(piece, report)
        report("done", layer.diff_id, piece.size, piece.size)
        return is_missing

    def _bring(self, piece: Piece, report: Report) -> None:
        layer, what = self._layer, self._files.what
        if layer.size not in (-1, piece.size):
            raise Damaged(f"load {what}: layer {layer.name} has {piece.size} bytes, its manifest says {layer.size}")
        wanted = layer.digest if layer.digest != layer.diff_id else ""  # the diff ID is checked anyway
        stream = HashingStream(piece, wanted, lambda: report("load", layer.diff_id, piece.position, piece.size))

        def check(unpacked: Unpacked) -> None:
            if stream.digest != wanted:
                raise Damaged(f"load {what}: the content of layer {layer.name} has another digest than {wanted}")
            check_diff_id(what, layer, unpacked.diff_id)

        blob = kept_digest(self._destination, layer)
        try:
            bring_or_repair(self._destination, layer.diff_id, stream, blob, check)
        except Damaged as error:
            raise located(error, what, layer.name) from error


def bring_or_repair(destination: Destination, diff_id: str, stream: ByteStream, blob: str, check: Check) -> Unpacked:
    """Bring a layer; one that is here and damaged is mended. `diff_id` may be empty: then nothing is mended."""
    from .._store.layers import needs_repair
    from .layer_store import bring_layer, repair_layer

    if diff_id and needs_repair(destination.paths, diff_id):
        return repair_layer(destination.paths, diff_id, stream, keep_blob_digest=blob, check=check)
    return bring_layer(destination.paths, stream, keep_blob_digest=blob, check=check)


def check_diff_id(what: str, layer: ArchivedLayer, diff_id: str) -> None:
    """Raise Damaged where the content of a layer is not what its image says."""
    if diff_id != layer.diff_id:
        raise Damaged(f"load {what}: layer {layer.name} has the diff ID {diff_id}, its image says {layer.diff_id}")


def located(error: Damaged, what: str, name: str) -> Damaged:
    """The error with the archive and the layer in it, where it does not name them."""
    prefix = f"load {what}: "
    return (
        error
        if error.message.startswith(prefix)
        else Damaged(f"{prefix}layer {name}: {error.message}", hint=error.hint)
    )


class HashingStream:
    """A layer's stream that counts its digest, of the algorithm of the digest that is wanted, and tells how far it is.

    `digest` is empty where none is wanted.
    """

    def __init__(self, stream: ByteStream, wanted: str, tell: Callable[[], None]) -> None:
        from hashlib import new

        self._stream = stream
        self._tell = tell
        self._left = 0
        self._algorithm = wanted.partition(":")[0]
        self._hash = new(self._algorithm) if wanted else None

    def read(self, size: int) -> bytes:
        """As a file's read."""
        data = self._stream.read(size)
        if self._hash is not None:
            self._hash.update(data)
        self._left -= len(data)
        if self._left <= 0:
            self._left = REPORT_EVERY
            self._tell()
        return data

    def read_to_end(self) -> None:
        """Read all of it for its digest alone."""
        while self.read(REPORT_EVERY):
            pass

    @property
    def digest(self) -> str:
        """The digest of what was read."""
        return f"{self._algorithm}:{self._hash.hexdigest()}" if self._hash is not None else ""
