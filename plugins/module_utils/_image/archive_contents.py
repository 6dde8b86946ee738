# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which files make up an archive of images: names, sizes and where their bytes come from, in the order of writing.

Documents come first, so that who reads a stream knows what the layers are for; a layer that several images share is
there once. Equal images give equal files. Nothing is written here.

    docker-archive   manifest.json, <hex>.json (configurations), <hex>.tar (layers, not compressed)
    OCI layout       oci-layout, index.json, blobs/<algorithm>/<hex>; compressed layers as they came

An OCI layout has an image's manifest bit for bit, so that its digest stays, where that is one of OCI and all layers can
be had in the form that it says: kept as blobs, or not compressed. Else it gets a new manifest: Docker's are not looked
for in a layout by other tools, and a compressed layer that was not kept is written without compression.

Source: as in docker_archive.py and oci_layout.py.
"""

from __future__ import annotations

import io
import os

from .._base.codec import render
from .._base.digests import sha256_of
from .._base.errors import Damaged
from .._base.values import Value
from .docker_archive import LIST
from .layer_tar import open_layer_tar
from .manifest import (
    DOCKER_LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    parse_config,
    parse_manifest,
)
from .oci_layout import FULL_NAME, INDEX, MARK, REFERENCE_NAME, VERSION, blob_name
from .register import render_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .compression import ByteStream


_OCI_TYPES = {DOCKER_LAYER + suffix: OCI_LAYER + suffix.replace(".", "+") for suffix in ("", ".gzip", ".zstd")}


class SavedImage(Value):
    """An image that goes into an archive, and the canonical references, with tags, that it has there."""

    record: ImageRecord
    references: tuple[str, ...] = ()


class ArchivedFile(Value):
    """One file of an archive. What `open` gives is read to its end, which is only told if all bytes were right."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[ByteStream]]


class _Store(Value):
    """Where layers come from."""

    paths: Paths
    database: Database

    def layer(self, name: str, diff_id: str) -> ArchivedFile:
        """A layer's tar as a file. Raises NotFound where it can't be made again."""
        blobs = [blob.digest for blob in self.database.blobs_of(diff_id)]

        def open_layer() -> Any:
            return open_layer_tar(self.paths, diff_id, blobs=blobs)

        with open_layer() as tar:
            return ArchivedFile(name, tar.size_bytes, open_layer)

    def blob(self, name: str, digest: str) -> ArchivedFile | None:
        """A kept blob as a file; None where it is not kept."""
        path = self.paths.blob(digest)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return None
        return ArchivedFile(name, size, lambda: _CheckedBlob(path, digest))


class _CheckedBlob:
    """A blob of the store that is checked as it is read."""

    def __init__(self, path: str, digest: str) -> None:
        from hashlib import new

        algorithm, _, self._wanted = digest.partition(":")
        self._digest = digest
        self._hash = new(algorithm)
        self._file = open(path, "rb", buffering=0)

    def __enter__(self) -> _CheckedBlob:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """As a file's read. Raises Damaged instead of telling the end of what is not what it should be."""
        data: bytes = self._file.read(size)
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._wanted:
            raise Damaged(
                f"read blob {self._digest}: its content has another digest",
                hint="pull or load the image again",
            )
        return data


def _document(name: str, text: str) -> ArchivedFile:
    data = text.encode()
    return ArchivedFile(name, len(data), lambda: io.BytesIO(data))


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def docker_files(paths: Paths, database: Database, images: Sequence[SavedImage]) -> list[ArchivedFile]:
    """The files of a docker-archive. Raises NotFound for a layer that can't be had."""
    store = _Store(paths, database)
    files: dict[str, ArchivedFile] = {}
    listed = []
    for image in images:
        record = image.record
        config = f"{_hex(record.id)}.json"
        layers = [f"{_hex(diff_id)}.tar" for diff_id in record.layers]
        listed.append({"Config": config, "RepoTags": image.references, "Layers": layers})
        files[config] = _document(config, record.config)
    tars = {diff_id: f"{_hex(diff_id)}.tar" for image in images for diff_id in image.record.layers}
    layers_of_all = [store.layer(name, diff_id) for diff_id, name in tars.items()]
    return [_document(LIST, render(listed)), *files.values(), *layers_of_all]


def oci_files(paths: Paths, database: Database, images: Sequence[SavedImage]) -> list[ArchivedFile]:
    """The files of an OCI layout. Raises NotFound for a layer that can't be had."""
    store = _Store(paths, database)
    documents: dict[str, ArchivedFile] = {}
    layers: dict[str, ArchivedFile] = {}
    entries: list[dict[str, Any]] = []
    for image in images:
        manifest, its_layers = _manifest(store, image.record)
        layers.update({file.name: file for file in its_layers})
        for digest, text in ((manifest.digest, manifest.text), (manifest.config.digest, image.record.config)):
            documents[digest] = _document(blob_name(digest), text)
        entries += _entries(manifest, image)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return [_document(MARK, VERSION), _document(INDEX, render(index)), *documents.values(), *layers.values()]


def _entries(manifest: Manifest, image: SavedImage) -> list[dict[str, Any]]:
    """The entries of the index for one image: one per name, as there is no other way to have several."""
    record = image.record
    platform = parse_config(record.config.encode(), record.id, layer_count=len(record.layers)).platform
    fields = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    entry = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.text.encode()),
        **({"platform": {key: value for key, value in fields.items() if value}} if platform.architecture else {}),
    }
    named = [{**entry, "annotations": {FULL_NAME: name, REFERENCE_NAME: name}} for name in image.references]
    return named or [entry]


def _manifest(store: _Store, record: ImageRecord) -> tuple[Manifest, list[ArchivedFile]]:
    """The image's manifest and its layers, which are what it says."""
    manifest = _parsed(record.manifest, record.manifest_digest)
    descriptors, files = [], []
    for layer, diff_id in zip(manifest.layers, record.layers):
        blob = store.blob(blob_name(layer.digest), layer.digest) if layer.digest != diff_id else None
        file = blob or store.layer(blob_name(diff_id), diff_id)
        media_type = _OCI_TYPES.get(layer.media_type, layer.media_type) if blob else OCI_LAYER
        descriptors.append(Descriptor(media_type, layer.digest if blob else diff_id, file.size))
        files.append(file)
    had = [(item.digest, item.size) for item in descriptors]
    if manifest.media_type == OCI_MANIFEST and had == [(layer.digest, layer.size) for layer in manifest.layers]:
        return manifest, files
    text = render_manifest(record.id, len(record.config.encode()), descriptors)
    return _parsed(text, sha256_of(text.encode())), files


def _parsed(text: str, digest: str) -> Manifest:
    manifest = parse_manifest(text.encode(), "", digest)
    if not isinstance(manifest, Manifest):
        raise Damaged(f"read manifest {digest}: it is an index")
    return manifest
