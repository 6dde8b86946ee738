# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From an image in the store to a registry: blobs first, the manifest by its digest, the tag last.

So nothing that is half pushed is visible under a name, and what arrived before an interruption is found by the next
push. Where the tag already has what would be pushed, one HEAD request is all.

Progress is told as `progress(event, subject, done, total)`, the subject being a blob's digest (a layer's diff ID where
it is not known yet):
    present   size size    the repository had it         mounted  size size   taken over from another repository
    compress  done total   bytes of the layer so far     upload   done size   bytes of the blob so far
    pushed    size size    it is there now

Source: OCI distribution specification 1.1, "Push".
"""

from __future__ import annotations

from .._base.digests import is_digest, sha256_of
from .._base.errors import Damaged, Invalid, RegistryError
from .._base.values import Value
from .failures import read_error
from .manifest import ACCEPTED, DOCKER_LIST, MAX_DOCUMENT, OCI_INDEX, OCI_MANIFEST, Descriptor
from .push_plan import Plan, docker_form, index_document, layer_type, make_plan, platforms_of
from .registry import open_registry
from .uploads import ACTIONS, Bytes, has_blob, refusal, refused, upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._base.errors import HullError
    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .failures import ErrorText
    from .http import Response
    from .push_plan import Blobs, LayerToPush
    from .reference import Reference
    from .registry import Document, Registry
    from .settings import RegistrySettings

    Progress = Callable[[str, str, int, int], None]

_LIMIT = 3  # layers at once


class Pushed(Value):
    """What a push did, or with `check` would do. Digests are those of the tag, empty where there is none.

    `digest` is also empty where it takes compressing to know it and the tag is new anyway.
    """

    before: str
    digest: str
    changed: bool
    size: int = 0  # of the manifest or index, in bytes; 0 where that is not known
    warnings: tuple[str, ...] = ()


def push(
    paths: Paths,
    database: Database,
    reference: Reference,
    image: ImageRecord,
    *,
    config: RegistrySettings,
    check: bool = False,
    alone: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Give the registry an image under a reference with a tag. With `check` it is only asked what it has.

    The index that the image was pulled from stays under the tag, since it holds the image, unless `alone` is set.
    Raises NotFound, Denied, Unsupported, RegistryError for what the registry refuses, each with the repository's name;
    Damaged, NotFound for a layer that can't be made again.
    """
    with _Push(paths, database, reference, config, progress or _silent) as target:
        return target.image(image, check=check, alone=alone)


def push_index(
    paths: Paths,
    database: Database,
    reference: Reference,
    images: list[ImageRecord],
    *,
    config: RegistrySettings,
    check: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Give the registry images of several platforms and, under a reference with a tag, an index of them.

    As `push`; Invalid where two images are for one platform.
    """
    with _Push(paths, database, reference, config, progress or _silent) as target:
        return target.index(images, check=check)


def require_tag(reference: Reference) -> None:
    """Raise Invalid for a reference that is not a name that can be given to something."""
    if not reference.tag or reference.digest:
        raise Invalid(
            f"push {reference.familiar}: a digest is no name to push to",
            hint=f"give a tag: {reference.name}:TAG; the digest of what is pushed stays the same",
        )


def _silent(_event: str, _subject: str, _done: int, _total: int) -> None:
    pass


class _Push:
    """One tag of one repository, and what was learned about blobs on the way. A context manager."""

    def __init__(
        self,
        paths: Paths,
        database: Database,
        reference: Reference,
        config: RegistrySettings,
        progress: Progress,
    ) -> None:
        require_tag(reference)
        self._paths = paths
        self._database = database
        self._reference = reference
        self._registry: Registry = open_registry(reference, config)
        self._repository = reference.path
        self._progress = progress
        self._warnings: list[str] = []
        self._present: list[tuple[LayerToPush, Descriptor]] = []
        self._gone: list[tuple[str, str]] = []

    def __enter__(self) -> _Push:
        return self

    def __exit__(self, *_: object) -> None:
        self._registry.forget_connections()

    def image(self, image: ImageRecord, *, check: bool, alone: bool) -> Pushed:
        """See `push`."""
        before = self._digest_there()
        plan = make_plan(self._paths, self._database, image, self._reference)
        expected = plan.document(plan.known)
        tag = self._database.tag(self._reference.canonical)
        known = tag.digest if tag and tag.image_id == image.id and not alone else ""
        found = _found(before, _forms(plan, expected))
        if before and before == known:
            return Pushed(before, before, False, len(found.data) if found else 0)
        if check:
            if before and expected is None:
                expected = plan.document(self._made(plan))
                found = _found(before, _forms(plan, expected))
            return self._foretold(before, found or expected)
        document = found or self._send(plan)
        if document.digest != before:
            document = self._put(self._reference.tag, document, plan)
        return self._finished(before, document, [image])

    def index(self, images: list[ImageRecord], *, check: bool) -> Pushed:
        """See `push_index`."""
        before = self._digest_there()
        plans = [make_plan(self._paths, self._database, image, self._reference) for image in images]
        platforms = platforms_of(plans)
        expected = [plan.document(plan.known) for plan in plans]
        if check and before:
            expected = [document or plan.document(self._made(plan)) for plan, document in zip(plans, expected)]
        known = [document for document in expected if document]
        index = index_document(platforms, known) if len(known) == len(plans) else None
        forms = [_forms(plan, document)[-1] for plan, document in zip(plans, known)]
        found = _found(before, [index, index_document(platforms, forms)] if index else [])
        if check:
            return self._foretold(before, found or index)
        if found:
            return self._finished(before, found, images)
        children = []
        for plan in plans:
            document = self._send(plan)
            children.append(self._put(document.digest, document, plan))
        index = index_document(platforms, children)
        if index.digest != before:
            self._put(self._reference.tag, index, None)
        return self._finished(before, index, images)

    def _finished(self, before: str, document: Document, images: list[ImageRecord]) -> Pushed:
        """The result of a push, recorded."""
        self._record({image.id for image in images}, document.digest)
        return Pushed(before, document.digest, document.digest != before, len(document.data), tuple(self._warnings))

    def _foretold(self, before: str, document: Document | None) -> Pushed:
        if document is None:
            return Pushed(before, "", True)
        return Pushed(before, document.digest, document.digest != before, len(document.data))

    def _digest_there(self) -> str:
        """The digest that the registry has under the tag now; empty where there is none. One HEAD request, mostly."""
        response = self._ask("HEAD")
        digest = response.head.get("docker-content-digest")
        if response.status == 405 or (response.status == 200 and not is_digest(digest)):
            response.close()
            response = self._ask("GET")
            if response.status == 200:
                return sha256_of(response.read_all(MAX_DOCUMENT, f"tag {self._reference.tag}"))
        if response.status not in (200, 404):
            raise refused(self._registry, self._repository, f"tag {self._reference.tag}", response)
        response.close()
        return digest if response.status == 200 else ""

    def _ask(self, method: str) -> Response:
        headers = {"Accept": ", ".join(ACCEPTED)}
        path = f"manifests/{self._reference.tag}"
        return self._registry.request(method, self._repository, path, headers, actions=ACTIONS)

    # blobs

    def _send(self, plan: Plan) -> Document:
        """See to it that the repository has all blobs of an image; the manifest that names them."""
        blobs = dict(plan.known)
        missing = []
        for layer in plan.distinct:
            if layer.blob and self._has(layer.blob):
                self._progress("present", layer.subject, layer.blob.size, layer.blob.size)
                self._present.append((layer, layer.blob))
            else:
                missing.append(layer)
        blobs.update(self._send_layers(plan, missing))
        self._send_config(plan)
        document = plan.document(blobs)
        assert document is not None
        if len(document.data) > MAX_DOCUMENT:
            raise Invalid(f"push {self._reference.familiar}: its manifest has {len(document.data)} bytes")
        return document

    def _has(self, blob: Descriptor) -> bool:
        if has_blob(self._registry, self._repository, blob.digest):
            return True
        self._gone.append((blob.digest, self._reference.name))
        return False

    def _send_layers(self, plan: Plan, layers: list[LayerToPush]) -> Blobs:
        """Send what is missing, several layers at once; the blobs that are there in the end."""
        if not layers:
            return {}
        from .._store.garbage import sweep_temporary
        from .push_layers import LayerJob

        sweep_temporary(self._paths)  # what a killed push left takes space that this one may need
        jobs = {layer.subject: LayerJob(self._paths, self._registry, self._repository, layer).run for layer in layers}
        blobs: Blobs = {}
        for layer, result in self._run(layers, jobs):
            blob = self._blob_of(plan, layer, result)
            blobs[layer.subject] = blob
            self._present.append((layer, blob))
            if layer.blob:
                digest = layer.blob.digest
                self._gone += [(digest, f"{self._reference.domain}/{source}") for source in result["gone"]]
        return blobs

    def _made(self, plan: Plan) -> Blobs:
        """The blobs that a push would make, by making them without sending or keeping anything."""
        from .push_layers import DigestJob

        layers = [layer for layer in plan.distinct if layer.blob is None]
        jobs = {layer.subject: DigestJob(self._paths, layer).run for layer in layers}
        made = {layer.subject: self._blob_of(plan, layer, result) for layer, result in self._run(layers, jobs)}
        return {**plan.known, **made}

    def _run(
        self, layers: list[LayerToPush], jobs: dict[str, Callable[..., dict[str, Any]]]
    ) -> list[tuple[LayerToPush, dict[str, Any]]]:
        from .._store.claims import claim
        from .workers import Job, run_jobs

        self._registry.forget_connections()
        listed = [Job(layer.subject, self._size(layer), jobs[layer.subject]) for layer in layers]
        diff_ids = [(layer.diff_id,) for layer in layers]
        blobs = [form for layer in layers for form in layer.forms]
        with claim(self._paths, self._database, diff_ids, blobs=blobs):  # a removal meanwhile leaves them to us
            results = run_jobs(self._paths, listed, limit=_LIMIT, relay=lambda values: self._progress(*values))
        return [(layer, results[layer.subject]) for layer in layers]

    def _size(self, layer: LayerToPush) -> int:
        if layer.blob:
            return layer.blob.size
        record = self._database.layer(layer.diff_id)
        return record.size_bytes if record else 0

    def _blob_of(self, plan: Plan, layer: LayerToPush, result: dict[str, Any]) -> Descriptor:
        """The descriptor of what a worker sent. A warning where it is not what the image's manifest says."""
        digest: str = result["digest"]
        if layer.blob and layer.blob.digest == digest:
            return layer.blob
        if layer.blob and layer.is_exact:
            self._warnings.append(
                f"image {self._reference.familiar}: layer {layer.blob.digest} could not be pushed as it came: the"
                " registry does not have it, its compressed form was not kept here (keep_blobs in registries.json), and"
                f" compressing it again gives {digest}; so the image has another digest there than"
                f" {plan.manifest.digest}"
            )
        return Descriptor(layer_type(plan.manifest.media_type, "gzip"), digest, result["size"])

    def _send_config(self, plan: Plan) -> None:
        config = plan.manifest.config
        if has_blob(self._registry, self._repository, config.digest):
            return
        data = plan.image.config.encode()
        if len(data) != config.size or (config.digest.startswith("sha256:") and sha256_of(data) != config.digest):
            raise Damaged(
                f"push {self._reference.familiar}: the configuration of image {plan.image.id} is not what its manifest"
                " says",
                hint="remove the image and pull, load or make it again",
            )
        upload(self._registry, self._repository, Bytes(config.digest, data))

    # documents

    def _put(self, version: str, document: Document, plan: Plan | None) -> Document:
        """Put a manifest or an index under a tag or digest; in Docker's types where the registry wants these."""
        status, said = self._try_put(version, document)
        if not status:
            return document
        if _is_about_type(document, status, said) and plan is not None and plan.is_ours:
            other = docker_form(document)
            if not self._try_put(version if version != document.digest else other.digest, other)[0]:
                return other
        raise self._put_error(version, document, status, said)

    def _try_put(self, version: str, document: Document) -> tuple[int, ErrorText]:
        """Put a document; the status and words of a refusal, 0 where there was none."""
        from .failures import ErrorText

        response = self._registry.request(
            "PUT",
            self._repository,
            f"manifests/{version}",
            {"Content-Type": document.media_type},
            body=document.data,
            actions=ACTIONS,
        )
        if response.status not in (200, 201, 202, 204):
            return response.status, read_error(response)
        response.close()
        told = response.head.get("docker-content-digest")
        same_kind = told.partition(":")[0] == document.digest.partition(":")[0]
        if is_digest(told) and same_kind and told != document.digest:
            raise Damaged(
                f"push {self._reference.familiar}: the registry stored {told} for manifest {document.digest}",
                hint="something between this host and the registry changes data, or the registry is damaged",
            )
        return 0, ErrorText()

    def _put_error(self, version: str, document: Document, status: int, said: ErrorText) -> HullError:
        what = f"{'index' if document.media_type in (OCI_INDEX, DOCKER_LIST) else 'manifest'} {version}"
        error = refusal(self._registry, self._repository, what, status, said)
        if isinstance(error, RegistryError) and _is_about_type(document, status, said):
            hint = (
                f"the registry may not know OCI images ({document.media_type}); this one came with that manifest, and"
                " in another form it would be another image: push to a registry that follows OCI distribution 1.0"
            )
            return RegistryError(error.message, status=status, hint=hint)
        if said.code == "MANIFEST_BLOB_UNKNOWN":
            return RegistryError(
                error.message, status=status, hint="the registry removed a layer while it was pushed; push again"
            )
        return error

    # records

    def _record(self, image_ids: set[str], digest: str) -> None:
        """Keep what was learned: which blobs there are, who has them, what the tag is there."""
        from .._store.records import BlobRecord

        database, name = self._database, self._reference.name
        with database.transaction():
            for gone, place in self._gone:
                database.delete_blob_place(gone, place)
            for layer, blob in self._present:
                is_sure = blob != layer.blob or blob.digest == layer.diff_id
                diff_id = layer.diff_id if is_sure else ""  # what a manifest says of its blobs nobody has checked
                database.put_blob(BlobRecord(blob.digest, diff_id, blob.media_type, blob.size))
                database.put_blob_place(blob.digest, name)
            tag = database.tag(self._reference.canonical)
            if tag and tag.image_id in image_ids:
                database.put_tag(tag.reference, tag.image_id, digest)


def _forms(plan: Plan, document: Document | None) -> list[Document]:
    """The manifests under which a registry may have an image: one made here may be in Docker's types, too."""
    if document is None:
        return []
    return [document, docker_form(document)] if plan.is_ours else [document]


def _found(digest: str, forms: list[Document]) -> Document | None:
    return next((form for form in forms if form.digest == digest), None)


def _is_about_type(document: Document, status: int, said: ErrorText) -> bool:
    """Whether a refusal may mean that the registry knows only Docker's media types."""
    if document.media_type not in (OCI_MANIFEST, OCI_INDEX):
        return False
    return status == 415 or (
        status == 400 and (said.code in ("MANIFEST_INVALID", "TAG_INVALID", "UNSUPPORTED") or "JSON" in said.message)
    )
