# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From a reference to an image in the store: resolve once, fetch what is missing in parallel, record at the end.

A tag is resolved to one digest and everything after goes by digest, so a tag that moves meanwhile can't mix two images.
Layers appear in the store one by one, each whole and checked twice (the blob's digest, the content's diff ID); the
image and its name appear in one transaction when all of them are there.

Progress is told as `progress(event, subject, done, total)`:
    resolved  canonical reference  0 0          warning  text  0 0
    exists    layer's digest       size size    the layer was here
    download  layer's digest       done size    bytes of the compressed layer so far
    done      layer's digest       size size    unpacked, checked and in its place
"""

from __future__ import annotations

import os

from .._base.errors import Damaged, HullError, NotFound
from .._base.values import Value
from .manifest import MAX_INDEX_DEPTH, Index, Manifest, choose_platform, parse_config, parse_manifest
from .platform import Platform, accepted_platforms, rank
from .policy import admit
from .registry import Document, open_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .blobs import Blob
    from .manifest import Descriptor, ImageConfig
    from .policy_file import SignedBy
    from .reference import Reference
    from .registry import Registry
    from .settings import RegistrySettings
    from .workers import Report

    Progress = Callable[[str, str, int, int], None]

_LOCK_TIMEOUT_S = 6 * 3600  # another pull of the same layer; its own stall timeouts end it earlier
_REPORT_EVERY = 512 * 1024
_ATTEMPTS = 3


class Resolved(Value):
    """What a reference meant at one moment, for one platform. `index_digest` is empty where no index was in between."""

    index_digest: str
    manifest: Manifest
    config: ImageConfig
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What the registry has under the tag: the digest of the index, or of the manifest where there is none."""
        return self.index_digest or self.manifest.digest

    @property
    def layers(self) -> list[tuple[str, Descriptor]]:
        """Diff ID and blob of every layer, lowest first."""
        return list(zip(self.config.diff_ids, self.manifest.layers))


def head_digest(reference: Reference, *, config: RegistrySettings, platform: Platform | None = None) -> str:
    """The digest that the registry has under a reference now: one HEAD request; none where the reference has a digest.

    Where the policy wants a signature, it is verified, for which the image of the platform is resolved. Raises
    NotFound, Denied, RegistryError.
    """
    if admit(config, reference):
        return resolve(reference, platform, config=config).digest
    if reference.digest:
        return reference.digest
    with open_registry(reference, config) as registry:
        return registry.head(reference.path, reference.tag)


def resolve(reference: Reference, platform: Platform | None, *, config: RegistrySettings) -> Resolved:
    """Manifest and configuration of the image that a reference means on a platform (None: the host's).

    Nothing is stored. Raises NotFound, Denied, Unsupported, Damaged, RegistryError.
    """
    with open_registry(reference, config) as registry:
        return _resolve(registry, reference, platform, config)


def pull(
    paths: Paths,
    database: Database,
    reference: Reference,
    platform: Platform | None,
    *,
    config: RegistrySettings,
    progress: Progress | None = None,
) -> ImageRecord:
    """Bring the image that a registry has under a reference into the store and give it that name.

    Where the store has it already, this is one HEAD request, or none for a digest. Nothing half-made stays after an
    error or an interruption; whole layers stay and are found by the next pull. Safe beside other pulls. Raises as
    `resolve` does, SyscallError for what the file system refuses.
    """
    with open_registry(reference, config) as registry:
        demand = admit(config, reference)
        known = _known(paths, database, reference, platform)
        if known and (reference.digest or registry.head(reference.path, reference.tag) == known[1]):
            if demand:
                _verify(demand, registry, reference, (known[1], known[0].manifest_digest))
            return known[0]
        return _bring(paths, database, registry, reference, platform, config, progress or _silent)


def _bring(
    paths: Paths,
    database: Database,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    config: RegistrySettings,
    progress: Progress,
) -> ImageRecord:
    """Fetch what is missing and record the image, again where layers are removed behind our back."""
    from .._store.claims import claim

    resolved = _resolve(registry, reference, platform, config)
    progress("resolved", reference.canonical, 0, 0)
    for text in (*registry.warnings, *resolved.warnings):
        progress("warning", text, 0, 0)
    blobs = [layer.digest for layer in resolved.manifest.layers]
    checked: set[tuple[str, str]] = set()
    with claim(paths, database, [resolved.config.diff_ids], blobs=blobs):
        for _ in range(_ATTEMPTS):
            checked |= _fetch_layers(paths, registry, reference.path, resolved, config, progress)
            record = _record(paths, database, reference, resolved, checked)
            if record is not None:
                return record
    raise HullError(
        f"pull {reference.familiar}: its layers vanish while it is pulled", hint="another process removes images"
    )


def _silent(_event: str, _subject: str, _done: int, _total: int) -> None:
    pass


def _suits(offered: Platform, wanted: Platform | None) -> bool:
    """Whether an image's platform will do; an image that does not say is taken at its word."""
    return not offered.architecture or rank(offered, accepted_platforms(wanted)) is not None


def _known(
    paths: Paths, database: Database, reference: Reference, platform: Platform | None
) -> tuple[ImageRecord, str] | None:
    """The image that the store has under this name, whole and for this platform, and the digest it came with."""
    tag = database.tag(reference.canonical)
    image = database.image(tag.image_id) if tag and tag.digest else None
    if tag is None or image is None or not all(_is_whole(paths, diff_id) for diff_id in image.layers):
        return None
    offered = parse_config(image.config.encode(), image.id, layer_count=len(image.layers)).platform
    is_best = rank(offered, accepted_platforms(platform)) == 0
    is_only = tag.digest == image.manifest_digest and (platform is None or _suits(offered, platform))
    return (image, tag.digest) if is_best or is_only else None


def _is_whole(paths: Paths, diff_id: str) -> bool:
    """Whether a layer is here and not known to be damaged."""
    from .._store.layers import has_layer, needs_repair

    return has_layer(paths, diff_id) and not needs_repair(paths, diff_id)


def _resolve(
    registry: Registry, reference: Reference, platform: Platform | None, settings: RegistrySettings
) -> Resolved:
    """As `resolve`; whatever brings an image from a registry passes here, so this is where the policy is kept."""
    demand = admit(settings, reference)
    document = registry.manifest(reference.path, reference.version)
    found = parse_manifest(document.data, document.media_type, document.digest)
    index_digest = found.digest if isinstance(found, Index) else ""
    is_offered = False  # for a platform that suits, by an index
    for _ in range(MAX_INDEX_DEPTH):
        if not isinstance(found, Index):
            break
        entry = choose_platform(found, platform, f"image {reference.canonical}")
        is_offered = is_offered or entry.platform is not None
        found = _entry_of(_document(registry, reference.path, entry), entry)
    if isinstance(found, Index):
        raise Damaged(f"read index {index_digest}: more than {MAX_INDEX_DEPTH} indexes inside each other")
    if demand:
        _verify(demand, registry, reference, (index_digest, found.digest))
    if any(layer.is_foreign for layer in found.layers):
        from .foreign import check_foreign

        check_foreign(found, settings)
    data = found.config.data
    data = registry.small_blob(reference.path, found.config) if data is None else data
    config = parse_config(data, found.config.digest, layer_count=len(found.layers))
    return Resolved(index_digest, found, config, _warnings(reference, config.platform, platform, is_offered))


def _verify(demand: SignedBy, registry: Registry, reference: Reference, digests: tuple[str, ...]) -> None:
    from .signatures import check_signature

    check_signature(demand, registry, reference, digests)


def _warnings(reference: Reference, made_for: Platform, wanted: Platform | None, is_offered: bool) -> tuple[str, ...]:
    """What to say about an image's own platform; an index is believed where the two disagree. Raises NotFound."""
    if _suits(made_for, wanted):
        return ()
    if is_offered:
        return (f"{reference.familiar} says that it is made for {made_for}, its index offers it for another platform",)
    if wanted is not None:
        raise NotFound(
            f"image {reference.familiar}: it is made for {made_for}, not for {wanted}",
            hint="choose another tag or platform",
        )
    return (f"{reference.familiar} is made for {made_for}",)


def _document(registry: Registry, repository: str, entry: Descriptor) -> Document:
    """The document that an index's entry points to, from the index itself where it carries it along."""
    if entry.data is None:
        return registry.manifest(repository, entry.digest)
    return Document(entry.data, entry.media_type, entry.digest)


def _entry_of(document: Document, entry: Descriptor) -> Manifest | Index:
    """The document that an index's entry points to, as large and of the type that the entry says."""
    if len(document.data) != entry.size:
        raise Damaged(f"read manifest {entry.digest}: {len(document.data)} bytes, its index says {entry.size}")
    found = parse_manifest(document.data, document.media_type, document.digest)
    if found.media_type != entry.media_type:
        raise Damaged(f"read manifest {entry.digest}: it is {found.media_type}, its index says {entry.media_type}")
    return found


def _fetch_layers(
    paths: Paths,
    registry: Registry,
    repository: str,
    resolved: Resolved,
    settings: RegistrySettings,
    progress: Progress,
) -> set[tuple[str, str]]:
    """Bring all missing layers into the store, and mend damaged ones. Diff ID and blob of those that were read."""
    missing: dict[str, Descriptor] = {}
    for diff_id, layer in resolved.layers:
        if _is_whole(paths, diff_id):
            progress("exists", layer.digest, layer.size, layer.size)
        else:
            missing.setdefault(diff_id, layer)
    if not missing:
        return set()
    from .._store.garbage import sweep_temporary
    from .layer_store import repair_layer  # noqa: F401  (loaded before the fork: every worker needs it)
    from .workers import Job, run_jobs

    sweep_temporary(paths)  # what a killed pull left takes space that this one may need
    registry.forget_connections()
    jobs = [
        Job(diff_id, layer.size, _LayerJob(paths, registry, repository, diff_id, layer, settings).run)
        for diff_id, layer in missing.items()
    ]
    limit = len(os.sched_getaffinity(0)) + 1
    were_read = run_jobs(paths, jobs, limit=limit, relay=lambda values: progress(*values))
    return {(diff_id, layer.digest) for diff_id, layer in missing.items() if were_read[diff_id]}


def _record(
    paths: Paths, database: Database, reference: Reference, resolved: Resolved, checked: set[tuple[str, str]]
) -> ImageRecord | None:
    """Make the image and its name visible; None, and nothing changed, where a layer was removed meanwhile.

    That a blob holds a layer is only believed of those that were read: an image may claim it of a layer that is here.
    """
    from .._store.records import BlobRecord
    from .register import NewImage, register

    image = NewImage(
        id=resolved.config.digest,
        config=resolved.config.text,
        manifest=resolved.manifest.text,
        manifest_digest=resolved.manifest.digest,
        layers=resolved.config.diff_ids,
        references=(reference.canonical,),
        digest=resolved.digest,
        blobs=tuple(
            BlobRecord(
                layer.digest,
                diff_id if (diff_id, layer.digest) in checked or layer.digest == diff_id else "",
                layer.media_type,
                layer.size,
            )
            for diff_id, layer in resolved.layers
        ),
        repository=reference.name,
    )
    records = register(paths, database, [image])
    return records[0] if records else None


class _LayerJob:
    """One layer, in a worker: wait for whoever fetches it already, else download, unpack, check, publish or mend it."""

    def __init__(
        self,
        paths: Paths,
        registry: Registry,
        repository: str,
        diff_id: str,
        descriptor: Descriptor,
        settings: RegistrySettings,
    ) -> None:
        self._paths = paths
        self._registry = registry
        self._repository = repository
        self._diff_id = diff_id
        self._descriptor = descriptor
        self._settings = settings

    def run(self, report: Report) -> bool:
        """Make sure that the layer is in the store. Whether the blob was read for that."""
        from .._store.locks import lock

        size = self._descriptor.size
        with lock(self._paths, "layer", self._diff_id, timeout_s=_LOCK_TIMEOUT_S):
            is_missing = not _is_whole(self._paths, self._diff_id)
            if is_missing:
                self._fetch(report)
        report("done", self._descriptor.digest, size, size)
        return is_missing

    def _fetch(self, report: Report) -> None:
        from .layer_store import repair_layer

        kept = self._descriptor.digest if self._settings.keep_blobs and not self._is_plain() else ""
        with self._open() as blob:
            stream = _Reported(blob, self._descriptor, report)
            try:
                repair_layer(
                    *(self._paths, self._diff_id, stream),
                    keep_blob_digest=kept,
                    check=lambda _unpacked: blob.finish(),
                )
            except Damaged:
                blob.finish()  # a damaged transfer is the better explanation, where it is one
                raise

    def _is_plain(self) -> bool:
        """Whether the layer travels uncompressed: then its tar can be made again, and nothing has to be kept."""
        return self._descriptor.digest == self._diff_id

    def _open(self) -> Blob:
        if not self._descriptor.is_foreign and self._descriptor.data is None:
            return self._registry.blob(self._repository, self._descriptor)
        from .foreign import open_layer

        return open_layer(self._registry, self._repository, self._descriptor, self._settings)


class _Reported:
    """A blob's stream that reports how far it is."""

    def __init__(self, blob: Blob, descriptor: Descriptor, report: Report) -> None:
        self._blob = blob
        self._descriptor = descriptor
        self._report = report
        self._next = 0

    def read(self, size: int) -> bytes:
        """As `Blob.read`."""
        data = self._blob.read(size)
        if self._blob.position >= self._next:
            self._next = self._blob.position + _REPORT_EVERY
            self._report("download", self._descriptor.digest, self._blob.position, self._descriptor.size)
        return data
