# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How a layer comes into the store, whatever brings it: unpacked, recorded, described, published.

Every way in (pull, load, import, commit, build) goes through `bring_layer`, so that no layer lacks what others have.
"""

from __future__ import annotations

import os

from .._base.clock import now_ns
from .._base.errors import Damaged
from .._store.layers import LayerDescription, stage_layer
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
