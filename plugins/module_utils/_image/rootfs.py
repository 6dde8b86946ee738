# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An image of one layer from a root file system's tarball: `docker export`, debootstrap, OpenVZ and LXC templates.

The tarball is taken as it is: names that begin with `.wh.` are files, not deletions.
"""

from __future__ import annotations

from .._base.clock import format_time
from .._base.codec import render
from .._base.digests import sha256_of
from .._base.errors import Damaged, HullError, Invalid, NotFound, SyscallError
from .._store.claims import claim
from .._store.garbage import sweep_temporary
from .changes import apply_changes
from .layer_store import bring_layer
from .manifest import OCI_LAYER, Descriptor
from .platform import host_platform
from .register import NewImage, discard_layers, register, render_manifest
from .source_date import created_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .compression import ByteStream
    from .platform import Platform
    from .reference import Reference
    from .unpack import Unpacked


def import_rootfs(
    paths: Paths,
    database: Database,
    path_or_stream: str | IO[bytes],
    reference: Reference | None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
) -> ImageRecord:
    """Make an image from a tarball, plain or compressed, at a path or in a stream, which stays open.

    `changes` are Dockerfile instructions (see changes.py). The image's time is SOURCE_DATE_EPOCH's, else now; without a
    platform it is the host's. Raises Invalid for a change, NotFound for a missing file, Damaged for what is no tar or
    is cut off; then nothing was added.
    """
    config: dict[str, Any] = {}
    apply_changes(config, tuple(changes))
    created = format_time(created_ns())  # before the work: a wrong SOURCE_DATE_EPOCH shall not cost it
    sweep_temporary(paths)  # what a killed process left takes space that this import may need
    layers: tuple[str, ...] = ()
    try:
        with claim(paths, database):
            if not isinstance(path_or_stream, str):
                unpacked = _bring_layer(paths, path_or_stream, "the tarball")
            else:
                with _open(path_or_stream) as file:
                    unpacked = _bring_layer(paths, file, path_or_stream)
            image = _image(unpacked, config, created, message, platform or host_platform(), reference)
            layers = image.layers
            records = register(paths, database, [image])
            if records is None:
                raise HullError("import: the layer was removed meanwhile", hint="import it again")
            return records[0]
    except BaseException:
        discard_layers(paths, database, layers)
        raise


def _open(path: str) -> IO[bytes]:
    try:
        return open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"import {path}: there is no such file", hint="check the path; it is one of this host"
        ) from error
    except IsADirectoryError as error:
        raise Invalid(f"import {path}: a directory", hint="pack it first: tar -C DIRECTORY -c .") from error
    except OSError as error:
        raise SyscallError(f"import {path}: {error.strerror}", errno=error.errno or 0) from error


def _bring_layer(paths: Paths, stream: ByteStream, what: str) -> Unpacked:
    def check(unpacked: Unpacked) -> None:
        if not unpacked.entries:
            raise Damaged("it holds no files", hint="it has to be a tarball of a root file system")

    try:
        return bring_layer(paths, stream, check=check)
    except Damaged as error:
        raise Damaged(f"import {what}: {error.message}", hint=error.hint or "it has to be a tarball") from error


def _image(
    unpacked: Unpacked,
    config: dict[str, Any],
    created: str,
    message: str,
    platform: Platform,
    reference: Reference | None,
) -> NewImage:
    document = {
        "architecture": platform.architecture,
        **({"variant": platform.variant} if platform.variant else {}),
        "os": platform.os,
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [unpacked.diff_id]},
        "history": [{"created": created, "comment": message or "imported from a root file system's tarball"}],
    }
    text = render(document)
    image_id = sha256_of(text.encode())
    layer = Descriptor(OCI_LAYER, unpacked.diff_id, unpacked.stream_bytes)
    manifest = render_manifest(image_id, len(text), [layer])
    references = (reference.canonical,) if reference else ()
    return NewImage(image_id, text, manifest, sha256_of(manifest.encode()), (unpacked.diff_id,), references)
