# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images from archives: docker-archive, oci-archive, OCI layout directory, compressed or not, with one image or many.

All or nothing: the images appear with their names in one transaction after every configuration was read and every
layer is in the store with the diff ID that its image says. A file is read by several processes at once, a stream as it
comes and without a copy of it. Nothing in an archive names a file of the host.
"""

from __future__ import annotations

import os

from .._base.digests import sha256_of
from .._base.errors import Damaged, HullError
from .._base.values import Value
from .._store.claims import claim, read_claims
from .._store.garbage import sweep_temporary
from .._store.layers import describe
from .._store.records import BlobRecord
from .archive_files import Destination
from .archive_stream import open_archive
from .docker_archive import LIST, find_docker_images
from .manifest import OCI_LAYER, Descriptor
from .oci_layout import INDEX, MARK, find_oci_images
from .policy import check_local
from .register import NewImage, discard_layers, register, render_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from .._base.paths import Paths
    from .._store.database import Database
    from .archive_files import ArchiveFiles, Progress
    from .archived_image import ArchivedImage

_ATTEMPTS = 3


class Loaded(Value):
    """An image that an archive brought, and the canonical references that it has from there."""

    image_id: str
    references: tuple[str, ...]


def load(
    paths: Paths,
    database: Database,
    path_or_stream: str | IO[bytes],
    *,
    progress: Progress | None = None,
    accept: Callable[[list[Loaded]], None] | None = None,
    keep_blobs: bool = True,
) -> list[Loaded]:
    """Add the images of an archive to the store. A stream is read to its end and stays open.

    `accept` is shown what would be added, and raises what speaks against it. `keep_blobs` keeps compressed layers as
    they came, for saving and pushing the same bytes again. Raises Damaged where anything in the archive is not what it
    says, NotFound for a missing file or platform; then no image, name or layer of it was added.
    """
    check_local(paths, path_or_stream if isinstance(path_or_stream, str) else "a stream")
    sweep_temporary(paths)  # what a killed process left takes space that this load may need
    destination = Destination(paths, database, keep_blobs, progress or _silent)
    with open_archive(path_or_stream) as files:
        try:
            with claim(paths, database):
                return _load(destination, files, accept)
        finally:
            _discard(destination, files)


def _load(destination: Destination, files: ArchiveFiles, accept: Callable[[list[Loaded]], None] | None) -> list[Loaded]:
    files.receive(destination)
    found = find_images(files)
    loaded = [Loaded(image.config.digest, image.references) for image in found]
    if accept is not None:
        accept(loaded)
    layers = [layer for image in found for layer in image.layers]
    for _ in range(_ATTEMPTS):
        files.bring(destination, layers)
        images = [_new_image(destination.paths, image, files.checked) for image in found]
        if register(destination.paths, destination.database, images) is not None:
            return loaded
    raise HullError(f"load {files.what}: its layers vanish while it is loaded", hint="another process removes images")


class Content(Value):
    """What an archive holds, found without the layers; whether it is a docker-archive or an OCI layout."""

    is_docker: bool
    images: tuple[Loaded, ...]


def look(path_or_stream: str | IO[bytes]) -> Content:
    """What `load` would add. Nothing is stored and no layer looked at. Raises as `load` does."""
    with open_archive(path_or_stream) as files:
        files.look()
        found = find_images(files)
        return Content(files.has(LIST), tuple(Loaded(image.config.digest, image.references) for image in found))


def find_images(files: ArchiveFiles) -> list[ArchivedImage]:
    """The images in an archive; where it is both, Docker's list decides. Raises Damaged for what is no archive."""
    if files.has(LIST):
        return find_docker_images(files)
    if files.has(INDEX) and files.has(MARK):
        return find_oci_images(files)
    if files.has("repositories"):
        raise Damaged(f"load {files.what}: an archive of Docker before 1.10", hint="save it again with a current tool")
    raise Damaged(
        f"load {files.what}: neither a docker-archive ({LIST}) nor an OCI layout ({MARK}, {INDEX})",
        hint="a root file system's tarball is imported, not loaded",
    )


def _new_image(paths: Paths, image: ArchivedImage, checked: set[tuple[str, str]]) -> NewImage:
    """An image as it is recorded; that a file holds a layer only where it was read, see `pull._record`."""
    config = image.config
    manifest, manifest_digest = image.manifest, image.manifest_digest
    if not manifest:
        layers = [Descriptor(OCI_LAYER, diff_id, describe(paths, diff_id).stream_bytes) for diff_id in config.diff_ids]
        manifest = render_manifest(config.digest, len(config.text.encode()), layers)
        manifest_digest = sha256_of(manifest.encode())
    blobs = tuple(
        BlobRecord(
            *(layer.digest, layer.diff_id if (layer.diff_id, layer.digest) in checked else ""),
            *(layer.media_type, layer.size),
        )
        for layer in image.layers
        if layer.digest not in ("", layer.diff_id)
    )
    return NewImage(
        config.digest, config.text, manifest, manifest_digest, config.diff_ids, image.references, blobs=blobs
    )


def _discard(destination: Destination, files: ArchiveFiles) -> None:
    """Remove what came and no record knows: all of it after a failure, else what no image in the archive has."""
    paths, database = destination.paths, destination.database
    if files.brought:
        discard_layers(paths, database, files.brought)
    blobs = files.kept - {""}
    if not blobs:
        return
    with database.transaction():
        claims = read_claims(paths)
        for digest in blobs:
            if database.blob(digest) is None and not (claims.all or digest in claims.blobs):
                try:
                    os.unlink(paths.blob(digest))
                except FileNotFoundError:
                    pass


def _silent(_event: str, _subject: str, _done: int, _total: int) -> None:
    pass
