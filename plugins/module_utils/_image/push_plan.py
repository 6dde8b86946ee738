# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a push of an image comes to: which blobs, and the manifest that names them. Asks the records, no registry.

An image that came with a manifest keeps it, byte for byte. One that was made here (import, commit, a docker-archive)
has a manifest that names uncompressed layers; those are compressed when it is pushed, unless a registry's compressed
form of a layer is known and can be had.
"""

from __future__ import annotations

import os

from .._base.codec import parse, render
from .._base.digests import sha256_of
from .._base.errors import Damaged, Invalid
from .._base.values import Value
from .manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    parse_manifest,
)
from .register import render_manifest
from .registry import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import BlobRecord, ImageRecord
    from .reference import Reference

    Blobs = dict[str, Descriptor]  # by LayerToPush.subject

_PLATFORM_KEYS = ("architecture", "os", "os.version", "os.features", "variant")
_COMPRESSIONS = ("gzip", "zstd")


class LayerToPush(Value):
    """A layer as a push plans it. Without a blob it is compressed.

    `is_exact` where the image's manifest, which came from elsewhere, has this blob: another one changes its digest.
    """

    diff_id: str
    blob: Descriptor | None
    is_exact: bool
    sources: tuple[str, ...] = ()  # repositories of the same registry that are known to have the blob
    forms: tuple[str, ...] = ()  # digests of all compressed forms that are known of this layer

    @property
    def subject(self) -> str:
        """What progress and messages call it."""
        return self.blob.digest if self.blob else self.diff_id


class Plan(Value):
    """One image that is to be pushed. `is_ours`: its manifest was made here and may name its layers differently."""

    image: ImageRecord
    manifest: Manifest
    layers: tuple[LayerToPush | None, ...]  # as in the manifest; None for foreign ones, which no registry gets
    is_ours: bool

    @property
    def distinct(self) -> list[LayerToPush]:
        """Each layer once."""
        return list({layer.subject: layer for layer in self.layers if layer}.values())

    @property
    def known(self) -> Blobs:
        """The blobs that are settled before anything is compressed."""
        return {layer.subject: layer.blob for layer in self.distinct if layer.blob}

    def document(self, blobs: Blobs) -> Document | None:
        """The manifest with these blobs; None where they lack one. Without another blob it is the image's own text."""
        if any(layer.subject not in blobs for layer in self.distinct):
            return None
        other: dict[int, Descriptor] = {}
        for number, (layer, old) in enumerate(zip(self.layers, self.manifest.layers)):
            if layer and blobs[layer.subject].digest != old.digest:
                other[number] = blobs[layer.subject]
        if other:
            return _changed(self.manifest, other)
        return Document(self.manifest.text.encode(), self.manifest.media_type, self.manifest.digest)


def make_plan(paths: Paths, database: Database, image: ImageRecord, reference: Reference) -> Plan:
    """How to push an image to a repository."""
    manifest = parse_manifest(image.manifest.encode(), "", image.manifest_digest)
    if not isinstance(manifest, Manifest) or len(manifest.layers) != len(image.layers):
        raise Damaged(f"push image {image.id}: its manifest and its configuration disagree about its layers")
    is_ours = _is_ours(database, image, manifest)
    layers: list[LayerToPush | None] = []
    for diff_id, blob in zip(image.layers, manifest.layers):
        if blob.is_foreign:
            layers.append(None)
        elif is_ours and _is_plain(blob, diff_id):
            form = _known_form(paths, database, diff_id, reference)
            layers.append(_layer(database, diff_id, form, reference, is_exact=False))
        else:
            layers.append(_layer(database, diff_id, blob, reference, is_exact=True))
    return Plan(image, manifest, tuple(layers), is_ours)


def _is_plain(blob: Descriptor, diff_id: str) -> bool:
    return blob.digest == diff_id and blob.media_type == OCI_LAYER


def _is_ours(database: Database, image: ImageRecord, manifest: Manifest) -> bool:
    """Whether the manifest is what we write for an image without one, and no registry has it."""
    if manifest.text != render_manifest(manifest.config.digest, manifest.config.size, list(manifest.layers)):
        return False
    if any(tag.digest == manifest.digest for tag in database.tags_of(image.id)):
        return False
    plain = [blob for diff_id, blob in zip(image.layers, manifest.layers) if _is_plain(blob, diff_id)]
    return not plain or not all(database.blob_places(blob.digest) for blob in plain)


def _layer(
    database: Database, diff_id: str, blob: Descriptor | None, reference: Reference, *, is_exact: bool
) -> LayerToPush:
    places = database.blob_places(blob.digest) if blob else []
    prefix = reference.domain + "/"
    sources = tuple(place[len(prefix) :] for place in places if place.startswith(prefix) and place != reference.name)
    forms = tuple(record.digest for record in database.blobs_of(diff_id))
    return LayerToPush(diff_id, blob, is_exact, sources, forms)


def _known_form(paths: Paths, database: Database, diff_id: str, reference: Reference) -> Descriptor | None:
    """The compressed form of a layer that costs least: in the repository, elsewhere in the registry, or kept here."""
    best: tuple[int, BlobRecord] | None = None
    for record in database.blobs_of(diff_id):
        if not record.media_type.endswith(_COMPRESSIONS) or record.digest == diff_id:
            continue
        places = database.blob_places(record.digest)
        if reference.name in places:
            cost = 0
        elif any(place.startswith(reference.domain + "/") for place in places):
            cost = 1
        elif os.path.exists(paths.blob(record.digest)):
            cost = 2
        else:
            continue
        if best is None or cost < best[0]:
            best = (cost, record)
    if best is None:
        return None
    compression = "zstd" if best[1].media_type.endswith("zstd") else "gzip"
    return Descriptor(layer_type(OCI_MANIFEST, compression), best[1].digest, best[1].size_bytes)


def layer_type(manifest_type: str, compression: str) -> str:
    """The media type of a compressed layer in a manifest of OCI's or Docker's kind."""
    return f"{DOCKER_LAYER}.{compression}" if manifest_type == DOCKER_MANIFEST else f"{OCI_LAYER}+{compression}"


def _document(value: Any, media_type: str) -> Document:
    data = render(value).encode()
    return Document(data, media_type, sha256_of(data))


def _changed(manifest: Manifest, blobs: dict[int, Descriptor]) -> Document:
    """The manifest with some other layers; what was said about those that they replace goes with them."""
    value = parse(manifest.text, source=f"manifest {manifest.digest}")
    for number, blob in blobs.items():
        value["layers"][number] = {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
    return _document(value, manifest.media_type)


def docker_form(document: Document) -> Document:
    """An image's OCI manifest in Docker's types, for registries that know no others. Configuration and layers stay."""
    value = parse(document.data, source=f"manifest {document.digest}")
    value["mediaType"] = DOCKER_MANIFEST
    value["config"]["mediaType"] = DOCKER_CONFIG
    for layer in value["layers"]:
        layer["mediaType"] = layer["mediaType"].replace(OCI_LAYER, DOCKER_LAYER).replace("+", ".")
    return _document(value, DOCKER_MANIFEST)


def platforms_of(plans: list[Plan]) -> list[dict[str, Any]]:
    """The platform object of each image. Raises Invalid where two are for the same one, or one does not say."""
    found: dict[str, dict[str, Any]] = {}
    for plan in plans:
        config = parse(plan.image.config, source=f"the configuration of image {plan.image.id}")
        platform = {key: config[key] for key in _PLATFORM_KEYS if config.get(key)}
        if not platform.get("os") or not platform.get("architecture"):
            raise Invalid(f"image {plan.image.id} does not say its platform", option="index")
        text = "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)
        if render(platform) in found:
            raise Invalid(f"two images are for {text}", option="index", hint="an index has one image per platform")
        found[render(platform)] = platform
    return list(found.values())


def index_document(platforms: list[dict[str, Any]], manifests: list[Document]) -> Document:
    """An index of images, in the given order; of Docker's kind where all of them are."""
    entries = [
        {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.data), "platform": platform}
        for platform, manifest in zip(platforms, manifests)
    ]
    only_docker = all(manifest.media_type == DOCKER_MANIFEST for manifest in manifests)
    kind = DOCKER_LIST if only_docker else OCI_INDEX
    return _document({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, kind)
