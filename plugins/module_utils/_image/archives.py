# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images from files: docker-archive, oci-archive, OCI layout directory, compressed or not, with one image or many.

All or nothing: the images appear with their names in one transaction after every configuration was read and every
layer is in the store with the diff ID that its image says. Where an archive is both (Docker 25 and later), its
manifest.json is followed. Nothing in an archive names a file of the host.

Progress is told as `progress(event, subject, done, total)`, the subject being a layer's diff ID: `exists`, `load`
(bytes of the archived layer so far), `done`.

Source: OCI image specification, image-layout.md and annotations.md; moby image/spec/v1.2.md, "Combined Image JSON +
Filesystem Changeset Format".
"""

from __future__ import annotations

import os

from .._base.codec import parse
from .._base.digests import is_digest, sha256_of
from .._base.errors import Damaged, HullError, Invalid
from .._base.values import Value
from .._store.garbage import sweep_temporary
from .archive_files import open_archive
from .compression import sniff
from .manifest import (
    MAX_DOCUMENT,
    MAX_INDEX_DEPTH,
    MAX_LAYERS,
    OCI_LAYER,
    Descriptor,
    Index,
    Manifest,
    choose_platform,
    parse_config,
    parse_manifest,
)
from .reference import parse_reference
from .register import NewImage, discard_layers, register, render_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .archive_files import ArchiveFiles, Piece
    from .workers import Report

    Progress = Callable[[str, str, int, int], None]

_FULL_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_REPORT_EVERY = 4 * 1024 * 1024
_ATTEMPTS = 3
_LOCK_TIMEOUT_S = 3600


class Loaded(Value):
    """An image that an archive brought, and the canonical references that it has from there."""

    image_id: str
    references: tuple[str, ...]


class _Part(Value):
    """One layer in the archive: the file's name there, and the digest and size that the file must have."""

    diff_id: str
    name: str
    digest: str
    size: int


class _Found(Value):
    """One image in the archive, with its layers lowest first."""

    image: NewImage
    parts: tuple[_Part, ...]


def load(
    paths: Paths,
    database: Database,
    path_or_stream: str | IO[bytes],
    *,
    progress: Progress | None = None,
    accept: Callable[[list[Loaded]], None] | None = None,
) -> list[Loaded]:
    """Add the images of an archive to the store. A stream is read from where it stands and stays open.

    `accept` is shown what would be added, and raises what speaks against it. Raises Damaged where anything in the
    archive is not what it says, NotFound for a missing file or platform; then no image, name or layer of it was added.
    """
    sweep_temporary(paths)  # what a killed process left takes space that this load may need
    with open_archive(paths, path_or_stream) as files:
        found = _find_images(files)
        loaded = [Loaded(image.image.id, image.image.references) for image in found]
        if accept is not None:
            accept(loaded)
        parts = {part.diff_id: part for image in found for part in image.parts}
        for _ in range(_ATTEMPTS):
            missing = _missing(paths, parts, progress)
            try:
                _bring_layers(paths, files, missing, progress)
                records = register(paths, database, [image.image for image in found])
            except BaseException:
                discard_layers(paths, database, [part.diff_id for part in missing])
                raise
            if records is not None:
                return loaded
    raise HullError(f"load {files.what}: its layers vanish while it is loaded", hint="another process removes images")


# what is in the archive


def _find_images(files: ArchiveFiles) -> list[_Found]:
    if files.has("manifest.json"):
        return _docker_images(files)
    if files.has("index.json") and files.has("oci-layout"):
        return _oci_images(files)
    if files.has("repositories"):
        raise Damaged(f"load {files.what}: an archive of Docker before 1.10", hint="save it again with a current tool")
    raise Damaged(
        f"load {files.what}: neither a docker-archive (manifest.json) nor an OCI layout (oci-layout, index.json)",
        hint="a root file system's tarball is imported, not loaded",
    )


def _document(files: ArchiveFiles, name: str) -> Any:
    return parse(files.read(name, MAX_DOCUMENT), source=f"{name} in {files.what}")


def _docker_images(files: ArchiveFiles) -> list[_Found]:
    entries = _document(files, "manifest.json")
    if not isinstance(entries, list) or not entries:
        raise Damaged(f"load {files.what}: manifest.json lists no images")
    return [_docker_image(files, entry) for entry in entries]


def _docker_image(files: ArchiveFiles, entry: Any) -> _Found:
    fields = entry if isinstance(entry, dict) else {}
    config_name, layers, tags = fields.get("Config"), fields.get("Layers") or [], fields.get("RepoTags") or []
    if not isinstance(config_name, str) or not _are_texts(layers) or not _are_texts(tags) or len(layers) > MAX_LAYERS:
        raise Damaged(f"load {files.what}: manifest.json has an entry without valid Config, Layers and RepoTags")
    data = files.read(config_name, MAX_DOCUMENT)
    digest = sha256_of(data)
    stated = "sha256:" + config_name.rpartition("/")[2].partition(".")[0]
    if is_digest(stated) and stated != digest:
        raise Damaged(f"load {files.what}: the image configuration {config_name} has the digest {digest}")
    config = parse_config(data, digest, layer_count=len(layers))
    described = [_described(files, name, diff_id) for name, diff_id in zip(layers, config.diff_ids)]
    manifest = render_manifest(digest, len(data), [descriptor for _part, descriptor in described])
    references = tuple(_reference(files, tag) for tag in tags if tag != "<none>:<none>")
    image = NewImage(digest, config.text, manifest, sha256_of(manifest.encode()), config.diff_ids, references)
    return _Found(image, tuple(part for part, _descriptor in described))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _described(files: ArchiveFiles, name: str, diff_id: str) -> tuple[_Part, Descriptor]:
    """A layer of a docker-archive, which does not say how it is compressed nor what its digest is."""
    with files.open(name) as piece:
        kind = sniff(piece.read(6))
        piece.position = 0
        if kind == "plain":
            return _Part(diff_id, name, diff_id, piece.size), Descriptor(OCI_LAYER, diff_id, piece.size)
        digest = _digest_of(piece)
        return _Part(diff_id, name, digest, piece.size), Descriptor(f"{OCI_LAYER}+{kind}", digest, piece.size)


def _digest_of(piece: Piece) -> str:
    from hashlib import sha256

    digest = sha256()
    while True:
        data = piece.read(1024 * 1024)
        if not data:
            return "sha256:" + digest.hexdigest()
        digest.update(data)


def _reference(files: ArchiveFiles, text: str) -> str:
    try:
        return parse_reference(text).canonical
    except Invalid as error:
        raise Damaged(f"load {files.what}: it names an image {text[:100]!r}: {error.message}") from error


def _oci_images(files: ArchiveFiles) -> list[_Found]:
    """The images of index.json: entries of one name are platforms of one image, of which one is chosen."""
    data = files.read("index.json", MAX_DOCUMENT)
    index = parse_manifest(data, "", sha256_of(data))
    if not isinstance(index, Index) or not index.manifests:
        raise Damaged(f"load {files.what}: index.json lists no images")
    names = [_name(files, entry) for entry in _document(files, "index.json")["manifests"]]
    groups: dict[str, list[Descriptor]] = {}
    for name, descriptor in zip(names, index.manifests):
        key = name or ("" if descriptor.platform else descriptor.digest)
        groups.setdefault(key, []).append(descriptor)
    found: dict[str, _Found] = {}
    for key, descriptors in groups.items():
        image = _oci_image(files, descriptors, (key,) if key in names and key else ())
        known = found.get(image.image.id)
        references = (*(known.image.references if known else ()), *image.image.references)
        fields = {**image.image.fields(), "references": tuple(dict.fromkeys(references))}
        found[image.image.id] = _Found(NewImage(**fields), image.parts)
    return list(found.values())


def _name(files: ArchiveFiles, entry: Any) -> str:
    """The canonical reference that an entry is annotated with; empty where it has none, or only a tag."""
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    text = annotations.get(_FULL_NAME) or annotations.get(_REF_NAME)
    if not isinstance(text, str) or not (":" in text or "/" in text):
        return ""
    return _reference(files, text)


def _oci_image(files: ArchiveFiles, descriptors: list[Descriptor], references: tuple[str, ...]) -> _Found:
    descriptor = descriptors[0]
    if len(descriptors) > 1:
        descriptor = choose_platform(Index("", files.what, tuple(descriptors), ""), None)
    for _ in range(MAX_INDEX_DEPTH):
        document = parse_manifest(_blob(files, descriptor), descriptor.media_type, descriptor.digest)
        if isinstance(document, Manifest):
            return _oci_manifest(files, document, references)
        descriptor = choose_platform(document, None)
    raise Damaged(f"load {files.what}: more than {MAX_INDEX_DEPTH} indexes inside each other")


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _blob(files: ArchiveFiles, descriptor: Descriptor) -> bytes:
    data = files.read(_blob_name(descriptor.digest), MAX_DOCUMENT)
    if len(data) != descriptor.size or not _has_digest(data, descriptor.digest):
        raise Damaged(f"load {files.what}: the content of blob {descriptor.digest} has another digest or size")
    return data


def _has_digest(data: bytes, digest: str) -> bool:
    from hashlib import new

    algorithm, _, digits = digest.partition(":")
    return new(algorithm, data).hexdigest() == digits


def _oci_manifest(files: ArchiveFiles, manifest: Manifest, references: tuple[str, ...]) -> _Found:
    data = _blob(files, manifest.config)
    config = parse_config(data, manifest.config.digest, layer_count=len(manifest.layers))
    parts = tuple(
        _Part(diff_id, _blob_name(layer.digest), layer.digest, layer.size)
        for diff_id, layer in zip(config.diff_ids, manifest.layers)
    )
    image_id = manifest.config.digest
    image = NewImage(image_id, config.text, manifest.text, manifest.digest, config.diff_ids, references)
    return _Found(image, parts)


# bringing it into the store


def _missing(paths: Paths, parts: dict[str, _Part], progress: Progress | None) -> list[_Part]:
    from .._store.layers import has_layer

    missing = []
    for diff_id, part in parts.items():
        if not has_layer(paths, diff_id):
            missing.append(part)
        elif progress:
            progress("exists", diff_id, part.size, part.size)
    return missing


def _bring_layers(paths: Paths, files: ArchiveFiles, parts: list[_Part], progress: Progress | None) -> None:
    from .workers import Job, run_jobs

    jobs = [Job(part.diff_id, part.size, _LayerJob(paths, files, part).run) for part in parts]
    if jobs:
        from .unpack import unpack  # noqa: F401  (loaded before the fork: every worker needs it)
    limit = len(os.sched_getaffinity(0))
    run_jobs(jobs, limit=limit, relay=lambda values: progress(*values) if progress else None)


class _LayerJob:
    """One layer, in a worker: unpack, check and publish it."""

    def __init__(self, paths: Paths, files: ArchiveFiles, part: _Part) -> None:
        self._paths = paths
        self._files = files
        self._part = part

    def run(self, report: Report) -> None:
        """Make sure that the layer is in the store."""
        from .._store.layers import has_layer
        from .._store.locks import lock

        part = self._part
        with lock(self._paths, "layer", part.diff_id, timeout_s=_LOCK_TIMEOUT_S):
            if not has_layer(self._paths, part.diff_id):
                with self._files.open(part.name) as piece:
                    self._unpack(piece, report)
        report("done", part.diff_id, part.size, part.size)

    def _unpack(self, piece: Piece, report: Report) -> None:
        from .._store.layers import stage_layer
        from .unpack import unpack

        part, what = self._part, self._files.what
        if piece.size != part.size:
            raise Damaged(f"load {what}: layer {part.name} has {piece.size} bytes, its manifest says {part.size}")
        with stage_layer(self._paths) as staged:
            stream = _Checked(piece, part, report)
            unpacked = unpack(stream, staged.fs)
            if not stream.is_right():
                raise Damaged(f"load {what}: the content of layer {part.name} has another digest than {part.digest}")
            if unpacked.diff_id != part.diff_id:
                raise Damaged(
                    f"load {what}: layer {part.name} has the diff ID {unpacked.diff_id}, its image says {part.diff_id}"
                )
            staged.publish(part.diff_id, unpacked.size_bytes)


class _Checked:
    """A layer's stream that counts its digest, unless the diff ID is the same, and reports how far it is."""

    def __init__(self, piece: Piece, part: _Part, report: Report) -> None:
        from hashlib import new

        self._piece = piece
        self._part = part
        self._report = report
        self._next = 0
        algorithm, _, self._wanted = part.digest.partition(":")
        self._digest = new(algorithm) if part.digest != part.diff_id else None

    def read(self, size: int) -> bytes:
        """As a file's read."""
        data = self._piece.read(size)
        if self._digest is not None:
            self._digest.update(data)
        if self._piece.position >= self._next:
            self._next = self._piece.position + _REPORT_EVERY
            self._report("load", self._part.diff_id, self._piece.position, self._piece.size)
        return data

    def is_right(self) -> bool:
        """Whether what was read, which must be all of it, has the digest."""
        return self._digest is None or self._digest.hexdigest() == self._wanted
