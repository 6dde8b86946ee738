# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How a layer comes into the store, whatever brings it: unpacked, recorded, described, published.

Every way in (pull, load, import, commit, build) goes through `bring_layer`, so that no layer lacks what others have.
"""

from __future__ import annotations

import os

from .._base.clock import now_ns
from .._base.errors import Damaged
from .._store.layers import (
    LayerDescription,
    finish_repair,
    has_layer,
    mark_damaged,
    stage_layer,
)
from .._store.tree_digest import tree_digest
from .tar_record import RecordWriter
from .unpack import DEFAULT_LIMITS, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._base.paths import Paths
    from .._store.layers import StagedLayer
    from .compression import ByteStream
    from .unpack import Unpacked, UnpackLimits

    Check = Callable[[Unpacked], None]


def bring_layer(
    paths: Paths,
    stream: ByteStream,
    *,
    diff_id: str = "",
    keep_blob_digest: str = "",
    check: Check | None = None,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> Unpacked:
    """Unpack a layer from a stream, compressed or not, and publish it; where it is here already, that one stays.

    `check` is called when all of the stream was read and before anything is visible: what it raises undoes all. With
    `diff_id` the content has to be that. With `keep_blob_digest` the bytes of the stream as they came are kept under
    that digest, which the stream itself or `check` has to verify. Raises as `unpack` does, and OSError.
    """
    with stage_layer(paths) as staged:
        unpacked = fill(staged, stream, diff_id, keep_blob_digest, check, limits)
        staged.publish(description_of(staged.fs, unpacked), blob_digest=keep_blob_digest)
        return unpacked


def fill(
    staged: StagedLayer,
    stream: ByteStream,
    diff_id: str,
    keep_blob_digest: str,
    check: Check | None,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> Unpacked:
    """Unpack into a staged layer and record it; the arguments are those of `bring_layer`."""
    with RecordWriter(staged.directory) as record:
        if keep_blob_digest:
            with open(staged.directory + "/blob", "xb", buffering=0) as file:
                unpacked = unpack(_Kept(stream, file.fileno()), staged.fs, limits=limits, record=record)
        else:
            unpacked = unpack(stream, staged.fs, limits=limits, record=record)
    if check is not None:
        check(unpacked)
    if diff_id and unpacked.diff_id != diff_id:
        raise Damaged(
            f"unpack layer: its content has the diff ID {unpacked.diff_id}, the image says {diff_id}",
            hint="the image was made wrongly; make and push it again",
        )
    return unpacked


def description_of(fs: str, unpacked: Unpacked) -> LayerDescription:
    """What is to be known of a layer that was unpacked just now into this directory."""
    return LayerDescription(
        unpacked.diff_id,
        unpacked.size_bytes,
        now_ns(),
        unpacked.stream_bytes,
        tree_digest(fs),
        tuple((item.kind, item.path) for item in unpacked.deferred),
    )


def repair_layer(
    paths: Paths,
    diff_id: str,
    stream: ByteStream,
    *,
    keep_blob_digest: str = "",
    check: Check | None = None,
) -> Unpacked:
    """Mend a layer that is here, from a stream as `bring_layer` takes it, while containers that use it keep running.

    The stream is unpacked beside the layer first, and nothing is changed should it not be the layer. Then what differs
    is mended: a damaged file's bytes in the same inode, which a running container sees at once. The caller holds the
    layer's lock. Killed in the middle, the layer stays marked as damaged. A layer that is not here is brought.
    """
    if not has_layer(paths, diff_id):
        return bring_layer(paths, stream, diff_id=diff_id, keep_blob_digest=keep_blob_digest, check=check)
    from .._store.tree_comparison import mend

    with stage_layer(paths) as staged:
        unpacked = fill(staged, stream, diff_id, keep_blob_digest, check)
        description = description_of(staged.fs, unpacked)
        fs = paths.layer(diff_id) + "/fs"
        mark_damaged(paths, diff_id)
        mend(staged.fs, fs)
        if tree_digest(fs) != description.tree_digest:
            raise Damaged(f"repair layer {diff_id}: it is still not what its tar says", hint="does anyone write to it?")
        finish_repair(paths, staged.directory, description, blob_digest=keep_blob_digest)
    return unpacked


class _Kept:
    """A stream whose bytes are written to a file as they are read."""

    def __init__(self, stream: ByteStream, fd: int) -> None:
        self._stream = stream
        self._fd = fd

    def read(self, size: int) -> bytes:
        """As the stream's."""
        data = self._stream.read(size)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        return data
