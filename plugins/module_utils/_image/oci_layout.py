# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The images of an OCI layout: `index.json`, `oci-layout` and blobs by digest, in a directory or in a tar.

Entries of one name are platforms of one image, of which the host's is chosen. A name is the annotation of containerd
and Docker, or the reference name where that is a whole name and not only a tag.

Source: OCI image specification 1.1, image-layout.md and annotations.md.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.digests import sha256_of
from .._base.errors import Damaged, Unsupported
from .._base.values import replace
from .archived_image import ArchivedImage, ArchivedLayer, canonical_reference
from .manifest import MAX_DOCUMENT, MAX_INDEX_DEPTH, Index, Manifest, choose_platform, parse_config, parse_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .archive_files import ArchiveFiles
    from .manifest import Descriptor

INDEX = "index.json"
MARK = "oci-layout"
VERSION = '{"imageLayoutVersion":"1.0.0"}'
FULL_NAME = "io.containerd.image.name"
REFERENCE_NAME = "org.opencontainers.image.ref.name"


def blob_name(digest: str) -> str:
    """Where a layout has a blob."""
    return "blobs/" + digest.replace(":", "/")


def find_oci_images(files: ArchiveFiles) -> list[ArchivedImage]:
    """The images of index.json, each once with all its names. Raises Damaged, Unsupported, NotFound."""
    index = _index(files)
    if not index.manifests:
        raise Damaged(f"load {files.what}: {INDEX} lists no images")
    names = [_name(files, entry) for entry in parse(index.text, source=INDEX)["manifests"]]
    groups: dict[str, list[Descriptor]] = {}
    for name, descriptor in zip(names, index.manifests):
        key = name or ("" if descriptor.platform else descriptor.digest)
        groups.setdefault(key, []).append(descriptor)
    found: dict[str, ArchivedImage] = {}
    for key, descriptors in groups.items():
        image = _image(files, _chosen(files, descriptors))
        known = found.get(image.config.digest, image)
        references = (*known.references, key) if key in names and key else known.references
        found[image.config.digest] = replace(known, references=references)
    return list(found.values())


def _index(files: ArchiveFiles) -> Index:
    data = files.read(INDEX, MAX_DOCUMENT)
    index = parse_manifest(data, "", sha256_of(data))
    if not isinstance(index, Index):
        raise Damaged(f"load {files.what}: {INDEX} is not an index")
    return index


def _name(files: ArchiveFiles, entry: Any) -> str:
    """The canonical reference that an entry is annotated with; empty where it has none, or only a tag."""
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    text = annotations.get(FULL_NAME) or annotations.get(REFERENCE_NAME)
    if not isinstance(text, str) or not (":" in text or "/" in text):
        return ""
    return canonical_reference(files, text, entry["digest"])


def _chosen(files: ArchiveFiles, descriptors: list[Descriptor]) -> Manifest:
    """The manifest for this host among those of one name."""
    descriptor = descriptors[0]
    if len(descriptors) > 1:
        descriptor = choose_platform(Index("", files.what, tuple(descriptors), ""), None)
    for _ in range(MAX_INDEX_DEPTH):
        document = _document(files, descriptor)
        if isinstance(document, Manifest):
            return document
        descriptor = choose_platform(document, None)
    raise Damaged(f"load {files.what}: more than {MAX_INDEX_DEPTH} indexes inside each other")


def _document(files: ArchiveFiles, descriptor: Descriptor) -> Manifest | Index:
    return parse_manifest(_blob(files, descriptor), descriptor.media_type, descriptor.digest)


def _blob(files: ArchiveFiles, descriptor: Descriptor) -> bytes:
    from hashlib import new

    data = files.read(blob_name(descriptor.digest), MAX_DOCUMENT)
    algorithm, _, digits = descriptor.digest.partition(":")
    if len(data) != descriptor.size or new(algorithm, data).hexdigest() != digits:
        raise Damaged(f"load {files.what}: the content of blob {descriptor.digest} has another digest or size")
    return data


def _image(files: ArchiveFiles, manifest: Manifest) -> ArchivedImage:
    data = _blob(files, manifest.config)
    config = parse_config(data, manifest.config.digest, layer_count=len(manifest.layers))
    layers = tuple(
        ArchivedLayer(diff_id, blob_name(layer.digest), layer.digest, layer.size, layer.media_type)
        for diff_id, layer in zip(config.diff_ids, manifest.layers)
    )
    return ArchivedImage(config, layers, (), manifest.text, manifest.digest)


def images_by_config(files: ArchiveFiles) -> dict[str, ArchivedImage]:
    """Every image whose manifest and configuration lie in the layout, by the configuration's digest, without names.

    For archives that list their images elsewhere: what is incomplete or no image is left out.
    """
    found: dict[str, ArchivedImage] = {}
    for manifest in _manifests(files, _index(files), MAX_INDEX_DEPTH, set()):
        if files.has(blob_name(manifest.config.digest)):
            found.setdefault(manifest.config.digest, _image(files, manifest))
    return found


def _manifests(files: ArchiveFiles, index: Index, depth: int, seen: set[str]) -> Iterator[Manifest]:
    for descriptor in index.manifests:
        if descriptor.digest in seen or not files.has(blob_name(descriptor.digest)):
            continue
        seen.add(descriptor.digest)
        try:
            document = _document(files, descriptor)
        except Unsupported:  # an attestation or another artifact
            continue
        if isinstance(document, Manifest):
            yield document
        elif depth > 1:
            yield from _manifests(files, document, depth - 1, seen)
