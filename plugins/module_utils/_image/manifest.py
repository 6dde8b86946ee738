# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Manifests, indexes and image configurations: JSON from a registry or an archive, checked and made into values.

Nothing is fetched here. Everything that a document says is treated as written by an enemy: sizes, digests, counts.

Source: OCI image specification 1.1 (manifest.md, image-index.md, config.md, descriptor.md); Docker's "Image Manifest
Version 2, Schema 2".
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.digests import check_digest
from .._base.errors import Damaged, Invalid, NotFound, Unsupported
from .._base.values import Value
from .platform import Platform, accepted_platforms, normal_platform, rank

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEX_TYPES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFEST_TYPES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIG_TYPES = frozenset((OCI_CONFIG, DOCKER_CONFIG))
SCHEMA1_TYPES = frozenset((DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED))
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"
LAYER_TYPES = frozenset(
    [name + mark for name in (OCI_LAYER, OCI_FOREIGN_LAYER) for mark in ("", "+gzip", "+zstd")]
    + [name + mark for name in (DOCKER_LAYER, DOCKER_FOREIGN_LAYER) for mark in ("", ".gzip", ".zstd")]
)
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)

MAX_DOCUMENT = 4 * 1024 * 1024  # manifests, indexes and configurations
MAX_LAYERS = 500
MAX_INDEX_DEPTH = 3

MAX_URLS = 10  # of one layer

_LARGEST = (1 << 63) - 1  # bytes that a descriptor may claim
_GENERIC_TYPES = frozenset(("", "text/plain", "application/json", "application/octet-stream"))
_FOREIGN = (".nondistributable.", ".foreign.")
_ATTESTATION = "attestation-manifest"
_REFERENCE_TYPE = "vnd.docker.reference.type"


class Descriptor(Value):
    """A blob or document by digest, with the size in bytes that it must have.

    `data` is the whole content where the document carries it along, already checked against size and digest. `urls`
    are places outside the registry, as written; only those of foreign layers are ever asked.
    """

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    is_attestation: bool = False
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether this is a layer that registries need not have, because its licence forbids handing it on."""
        return any(mark in self.media_type for mark in _FOREIGN)

    def annotation(self, name: str) -> str:
        """The annotation of this name, or empty."""
        return next((value for key, value in self.annotations if key == name), "")


class Manifest(Value):
    """One image: its configuration and its layers, lowest first. `text` is the document exactly as it came."""

    media_type: str
    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    text: str


class Index(Value):
    """A choice of manifests (or further indexes) by platform, in the author's order. `text` is exact."""

    media_type: str
    digest: str
    manifests: tuple[Descriptor, ...]
    text: str


class ImageConfig(Value):
    """What an image configuration says about itself as far as storing needs it; `text` is exact."""

    digest: str
    platform: Platform
    diff_ids: tuple[str, ...]
    text: str


def parse_manifest(data: bytes, media_type: str, digest: str) -> Manifest | Index:
    """The manifest or index in a document whose bytes already match `digest`.

    `media_type` is the registry's Content-Type or the descriptor's; empty or a generic one lets the document decide.
    Raises Damaged for what is malformed or contradictory, Unsupported for what is well-formed but can't be run.
    """
    document = _read_object(data, digest)
    kind = _kind(document, media_type, digest)
    if kind in INDEX_TYPES:
        entries = _list(document, "manifests", digest)
        index = tuple(_descriptor(entry, f"manifest {digest}") for entry in entries)
        return Index(kind, digest, index, data.decode())
    manifest = _manifest(document, kind, digest, data.decode())
    _check_image(document, manifest)
    return manifest


def parse_artifact(data: bytes, media_type: str, digest: str) -> Manifest:
    """As `parse_manifest`, for a manifest whose configuration and layers may be of any type, such as signatures."""
    document = _read_object(data, digest)
    kind = _kind(document, media_type, digest)
    if kind in INDEX_TYPES:
        raise Damaged(f"read manifest {digest}: an index ({kind}), not a manifest")
    return _manifest(document, kind, digest, data.decode())


def _manifest(document: dict[str, Any], kind: str, digest: str, text: str) -> Manifest:
    layers = tuple(_descriptor(entry, f"manifest {digest}") for entry in _list(document, "layers", digest))
    config = _descriptor(document.get("config"), f"manifest {digest}: config")
    return Manifest(kind, digest, config, layers, text)


def _read_object(data: bytes, digest: str) -> dict[str, Any]:
    if len(data) > MAX_DOCUMENT:
        raise Damaged(f"read manifest {digest}: {len(data)} bytes, the limit is {MAX_DOCUMENT}")
    document = parse(data, source=f"manifest {digest}")
    if not isinstance(document, dict):
        raise Damaged(f"read manifest {digest}: not a JSON object")
    return {name: value for name, value in document.items() if value is not None}


def _kind(document: dict[str, Any], media_type: str, digest: str) -> str:
    """The one media type that header, field and shape of a document agree on.

    A document that can be read in two ways would be verified as one thing and run as another (CVE-2021-41190).
    """
    media_type = media_type.partition(";")[0].strip().lower()
    declared = document.get("mediaType") or ""
    if not isinstance(declared, str):
        raise Damaged(f"read manifest {digest}: mediaType is not text")
    if document.get("schemaVersion") == 1 or media_type in SCHEMA1_TYPES or declared in SCHEMA1_TYPES:
        raise Unsupported(
            f"read manifest {digest}: Docker image manifest version 2, schema 1 is not supported",
            hint="push the image again with a current tool; schema 1 was replaced in 2016",
        )
    if document.get("schemaVersion") != 2:
        raise Damaged(f"read manifest {digest}: schemaVersion is {document.get('schemaVersion')!r}, not 2")
    if declared and media_type not in _GENERIC_TYPES and media_type != declared:
        raise Damaged(f"read manifest {digest}: sent as {media_type}, but it says that it is {declared}")
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index == is_manifest:
        raise Damaged(f"read manifest {digest}: it has {'both' if is_index else 'neither'} manifests and layers")
    default = (OCI_INDEX if is_index else OCI_MANIFEST) if media_type in _GENERIC_TYPES else media_type
    kind = declared or default
    if kind not in (INDEX_TYPES if is_index else MANIFEST_TYPES):
        if kind in INDEX_TYPES or kind in MANIFEST_TYPES:
            raise Damaged(f"read manifest {digest}: its content does not fit its type {kind}")
        raise Unsupported(f"read manifest {digest}: {kind[:100]} is not an image")
    return kind


def _list(document: dict[str, Any], name: str, digest: str) -> list[Any]:
    entries = document.get(name)
    if not isinstance(entries, list):
        raise Damaged(f"read manifest {digest}: {name} is not a list")
    if len(entries) > MAX_LAYERS:
        raise Damaged(f"read manifest {digest}: {len(entries)} {name}, the limit is {MAX_LAYERS}")
    return entries


def _descriptor(entry: Any, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise Damaged(f"read {where}: a descriptor is missing or not an object")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise Damaged(f"read {where}: a descriptor lacks its mediaType or digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST:
        raise Damaged(f"read {where}: the descriptor of {digest[:80]} has no valid size")
    try:
        check_digest(digest)
    except Invalid as error:
        raise Damaged(f"read {where}: {error}") from error
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    return Descriptor(
        media_type,
        digest,
        size,
        _platform(entry.get("platform"), where),
        annotations.get(_REFERENCE_TYPE) == _ATTESTATION,
        _urls(entry.get("urls"), f"{where}: {digest}"),
        _data(entry.get("data"), digest, size, where),
        str(entry.get("artifactType") or ""),
        tuple((name, value) for name, value in annotations.items() if isinstance(value, str)),
    )


def _urls(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise Damaged(f"read {where}: urls is not a list of text")
    if len(value) > MAX_URLS:
        raise Damaged(f"read {where}: {len(value)} urls, the limit is {MAX_URLS}")
    return tuple(value)


def _data(value: Any, digest: str, size: int, where: str) -> bytes | None:
    """The content that a descriptor carries along in base64, checked; None where it carries none."""
    if value is None:
        return None
    data = read_base64(value) if isinstance(value, str) else None
    if data is None:
        raise Damaged(f"read {where}: the data embedded for {digest} is not base64")
    from .blobs import new_hasher

    algorithm, _, digits = digest.partition(":")
    hasher = new_hasher(algorithm)
    hasher.update(data)
    if len(data) != size or hasher.hexdigest() != digits:
        raise Damaged(f"read {where}: the data embedded for {digest} has another size or digest than it says")
    return data


def read_base64(text: str) -> bytes | None:
    """The bytes in the one right base64 form (RFC 4648 section 4, padded) of them; None for any other text."""
    from binascii import Error, a2b_base64, b2a_base64

    try:
        data = a2b_base64(text)
    except (Error, ValueError):
        return None
    return data if b2a_base64(data, newline=False) == text.encode() else None


def _platform(value: Any, where: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Damaged(f"read {where}: a platform is not an object")
    parts = [value.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        raise Damaged(f"read {where}: a platform's fields are not text")
    return normal_platform(*parts)


def _check_image(document: dict[str, Any], manifest: Manifest) -> None:
    """Refuse manifests that are well-formed but not container images that can be run."""
    digest, config_type = manifest.digest, manifest.config.media_type
    if document.get("artifactType") or config_type not in CONFIG_TYPES:
        kind = document.get("artifactType") or config_type
        raise Unsupported(
            f"read manifest {digest}: an artifact of type {str(kind)[:100]}, not a container image",
            hint="name an image, not a chart, signature or other artifact",
        )
    for layer in manifest.layers:
        if layer.media_type not in LAYER_TYPES:
            problem = "encrypted" if layer.media_type.endswith("+encrypted") else "of a type that is not supported"
            raise Unsupported(
                f"read manifest {digest}: layer {layer.digest} is {problem}: {layer.media_type[:100]}",
                hint="push the image again with tar layers, plain or compressed with gzip or zstd",
            )


def choose_platform(index: Index, wanted: Platform | None, what: str = "") -> Descriptor:
    """The entry of an index that suits best: by platform, then in the author's order. None wants the host's.

    Entries without a platform (nested indexes have none) come last. Raises NotFound, which
    names `what` was asked for and what is on offer.
    """
    accepted = accepted_platforms(wanted)
    best: tuple[int, Descriptor] | None = None
    for entry in index.manifests:
        place = _place(entry, accepted)
        if place is not None and (best is None or place < best[0]):
            best = (place, entry)
    if best is None:
        offered = sorted({str(entry.platform) for entry in index.manifests if _is_image(entry) and entry.platform})
        raise NotFound(
            f"choose platform {accepted[0]} in {what or 'index ' + index.digest}: not on offer",
            hint="it has " + (", ".join(offered[:20]) or "no images at all") + "; choose one with the option platform",
        )
    return best[1]


def _is_image(entry: Descriptor) -> bool:
    unknown = entry.platform is not None and "unknown" in (entry.platform.os, entry.platform.architecture)
    is_other = unknown or entry.is_attestation or entry.artifact_type
    return not is_other and entry.media_type in INDEX_TYPES | MANIFEST_TYPES


def _place(entry: Descriptor, accepted: tuple[Platform, ...]) -> int | None:
    if not _is_image(entry):
        return None
    if entry.platform is None:
        return len(accepted)
    return rank(entry.platform, accepted)


def parse_config(data: bytes, digest: str, *, layer_count: int) -> ImageConfig:
    """The image configuration in bytes that already match `digest`, for a manifest with so many layers.

    Raises Damaged where it is malformed or does not fit the manifest, Unsupported for diff IDs by sha512, which nobody
    makes.
    """
    where = f"image configuration {digest}"
    document = parse(data, source=where)
    if not isinstance(document, dict):
        raise Damaged(f"read {where}: not a JSON object")
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise Damaged(f"read {where}: rootfs is missing or not of type layers")
    if diff_ids is None:
        diff_ids = []
    if not isinstance(diff_ids, list) or not all(isinstance(item, str) for item in diff_ids):
        raise Damaged(f"read {where}: rootfs.diff_ids is not a list of digests")
    if len(diff_ids) != layer_count:
        raise Damaged(f"read {where}: {len(diff_ids)} diff IDs for {layer_count} layers")
    try:
        checked = tuple(check_digest(item, what="diff ID") for item in diff_ids)
    except Invalid as error:
        raise Damaged(f"read {where}: {error}") from error
    other = next((item for item in checked if not item.startswith("sha256:")), "")
    if other:
        raise Unsupported(f"read {where}: diff ID {other[:40]}... is not a sha256 digest", hint="build the image again")
    return ImageConfig(digest, _platform(document, where) or Platform("", ""), checked, data.decode())
