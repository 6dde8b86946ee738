# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""New images made of images that are here: one more layer on top, or some layers replaced by one.

The layer comes as pieces of a tar and enters the store as any other does. What the new image says is the base image's
configuration with changes; its manifest names the blobs of the base image as that one does, and the new layer
uncompressed, until a push compresses it. The same input gives the same image.
"""

from __future__ import annotations

from .._base.codec import parse, render
from .._base.digests import sha256_of
from .._base.errors import HullError
from .._base.values import Value
from .layer_store import bring_layer
from .manifest import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from .packing import PieceStream
from .register import NewImage, discard_layers, register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .compression import ByteStream

    Document = dict[str, Any]

_CHUNK = 256 * 1024
_KEPT_KEYS = ("architecture", "variant", "os", "os.version", "os.features")


class NewLayer(Value):
    """A layer's tar: what it is known by, and its length."""

    diff_id: str
    size_bytes: int


class Statement(Value):
    """What the new image says of itself; `config` is the whole `config` object of its configuration."""

    config: Document
    created: str  # RFC 3339
    created_by: str = ""
    author: str = ""
    comment: str = ""


def layer_of(pieces: Iterator[bytes]) -> NewLayer | None:
    """What the layer would be, by reading all of it and keeping nothing; None where there are no pieces."""
    from hashlib import sha256

    digest, size = sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return NewLayer("sha256:" + digest.hexdigest(), size) if size else None


def bring(paths: Paths, stream: ByteStream) -> NewLayer | None:
    """Take a layer's tar into the store; None where the stream is empty. Raises as `bring_layer` does."""
    first = stream.read(_CHUNK)
    if not first:
        return None
    unpacked = bring_layer(paths, PieceStream(_with_first(first, stream)))
    return NewLayer(unpacked.diff_id, unpacked.stream_bytes)


def _with_first(first: bytes, stream: ByteStream) -> Iterator[bytes]:
    while first:
        yield first
        first = stream.read(_CHUNK)


def read_document(image: ImageRecord) -> Document:
    """An image's whole configuration."""
    document: Document = parse(image.config, source=f"the configuration of image {image.id}")
    return document


def derived_image(
    base: ImageRecord, keep: int, layer: NewLayer | None, statement: Statement, references: tuple[str, ...] = ()
) -> NewImage:
    """The image with the lowest `keep` layers of another and the new one, if there is one, above them."""
    old = read_document(base)
    diff_ids = [*base.layers[:keep], *((layer.diff_id,) if layer else ())]
    entry = {
        "created": statement.created,
        **({"created_by": statement.created_by} if statement.created_by else {}),
        **({"author": statement.author} if statement.author else {}),
        **({"comment": statement.comment} if statement.comment else {}),
        **({} if layer else {"empty_layer": True}),
    }
    document = {
        "created": statement.created,
        **({"author": statement.author} if statement.author else {}),
        **{key: old[key] for key in _KEPT_KEYS if old.get(key)},
        "config": statement.config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*history_below(old, keep), entry],
    }
    text = render(document)
    manifest = _manifest(base, keep, layer, text)
    return NewImage(sha256_of(text.encode()), text, manifest, sha256_of(manifest.encode()), tuple(diff_ids), references)


def history_below(document: Document, keep: int) -> list[Document]:
    """The history of the lowest `keep` layers; with all of them also of what changed nothing afterwards.

    Layers without a history get an entry, for readers that count them.
    """
    entries = [entry for entry in document.get("history") or [] if isinstance(entry, dict)]
    layers = len((document.get("rootfs") or {}).get("diff_ids") or [])
    told = sum(not entry.get("empty_layer") for entry in entries)
    created = document.get("created")
    missing: list[Document] = [{"created": created} if created else {} for _ in range(layers - told)]
    kept: list[Document] = []
    for entry in [*missing, *entries]:
        if not entry.get("empty_layer"):
            if not keep:
                break
            keep -= 1
        kept.append(entry)
    return kept


def _manifest(base: ImageRecord, keep: int, layer: NewLayer | None, config: str) -> str:
    old = parse(base.manifest, source=f"the manifest of image {base.id}")
    is_docker = old.get("mediaType") == DOCKER_MANIFEST
    layers = [_plain_descriptor(item) for item in old["layers"][:keep]]
    if layer:
        media_type = DOCKER_LAYER if is_docker else OCI_LAYER
        layers.append({"mediaType": media_type, "digest": layer.diff_id, "size": layer.size_bytes})
    return render(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if is_docker else OCI_MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG if is_docker else OCI_CONFIG,
                "digest": sha256_of(config.encode()),
                "size": len(config.encode()),
            },
            "layers": layers,
        }
    )


def _plain_descriptor(item: Document) -> Document:
    return {key: item[key] for key in ("mediaType", "digest", "size", "urls") if item.get(key)}


def publish(paths: Paths, database: Database, image: NewImage, what: str) -> ImageRecord:
    """Make the image visible; a layer that was brought for it goes again where that fails. Raises HullError."""
    try:
        records = register(paths, database, [image])
        if records is None:
            raise HullError(f"{what}: a layer was removed meanwhile", hint="do it again")
        return records[0]
    except BaseException:
        discard_layers(paths, database, image.layers)
        raise
