# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The last step of whatever brings images: records of images, layers, blobs and names, in one transaction."""

from __future__ import annotations

import os

from .._base.clock import now_ns
from .._base.codec import render
from .._base.values import Value
from .._store.layers import has_layer, layer_record
from .._store.records import ImageRecord
from .._store.removal import bury
from .manifest import OCI_CONFIG, OCI_MANIFEST
from .settle import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import BlobRecord
    from .manifest import Descriptor


class NewImage(Value):
    """An image whose layers are in the store. `references` are canonical."""

    id: str
    config: str
    manifest: str
    manifest_digest: str
    layers: tuple[str, ...]  # diff IDs, lowest first
    references: tuple[str, ...] = ()
    digest: str = ""  # what a registry has under the references: the digest of an index or of the manifest
    blobs: tuple[BlobRecord, ...] = ()  # compressed forms of the layers
    repository: str = ""  # `domain/path` of the registry that has these blobs


def render_manifest(config_digest: str, config_size: int, layers: list[Descriptor]) -> str:
    """An OCI manifest for an image that came without one."""
    return render(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config_digest, "size": config_size},
            "layers": [{"mediaType": item.media_type, "digest": item.digest, "size": item.size} for item in layers],
        }
    )


def register(paths: Paths, database: Database, images: Sequence[NewImage]) -> list[ImageRecord] | None:
    """Make images and their names visible, all at once; one without a registry's digest keeps the manifest it has.

    None, and nothing changed, where a layer was removed meanwhile: then the caller brings the layers again. Inside the
    transaction no other process removes layers.
    """
    if not _have_layers(paths, images):
        return None
    stacks = [settle(paths, image.layers) for image in images]
    with database.transaction():
        if not _have_layers(paths, images) or not all(_is_there(paths, stack) for stack in stacks):
            return None
        return [_register_one(paths, database, image, stack) for image, stack in zip(images, stacks)]


def _have_layers(paths: Paths, images: Sequence[NewImage]) -> bool:
    return all(has_layer(paths, diff_id) for image in images for diff_id in image.layers)


def _is_there(paths: Paths, stack: tuple[str, ...]) -> bool:
    return all(os.path.isdir(directory) for directory in paths.stack(stack))


def _register_one(paths: Paths, database: Database, image: NewImage, stack: tuple[str, ...]) -> ImageRecord:
    known = database.image(image.id)
    if known is None or image.digest or known.stack != stack:
        _put_image(paths, database, image, known, stack)
    for blob in image.blobs:
        database.put_blob(blob)
        if image.repository:
            database.put_blob_place(blob.digest, image.repository)
    for reference in image.references:
        database.put_tag(reference, image.id, image.digest)
    record = database.image(image.id)
    assert record is not None
    return record


def _put_image(
    paths: Paths, database: Database, image: NewImage, known: ImageRecord | None, stack: tuple[str, ...]
) -> None:
    layers = {diff_id: layer_record(paths, diff_id) for diff_id in image.layers}
    for layer in layers.values():
        database.put_layer(layer)
    size_bytes = sum(layers[diff_id].size_bytes for diff_id in image.layers)
    told = known if known is not None and not image.digest else image
    database.put_image(
        ImageRecord(
            *(image.id, image.config, told.manifest, told.manifest_digest),
            *(image.layers, size_bytes, now_ns(), stack),
        )
    )


def discard_layers(paths: Paths, database: Database, diff_ids: Iterable[str]) -> None:
    """Remove those of the layers that no record knows and nobody has claimed: what an operation brought that failed.

    Its own claim has to be given up before.
    """
    from .._store.claims import read_claims
    from .._store.files import remove_tree

    with database.transaction():
        claims = read_claims(paths)
        kept = set(diff_ids) if claims.all else claims.diff_ids
        unknown = [diff_id for diff_id in diff_ids if diff_id not in kept and database.layer(diff_id) is None]
        graves = [bury(paths, paths.layer(diff_id)) for diff_id in unknown]
    for grave in filter(None, graves):
        remove_tree(grave)
