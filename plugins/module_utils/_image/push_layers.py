# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One layer on its way into a repository, in a worker: mounted, sent as it was kept, or compressed (again) and sent.

What is compressed lies in `tmp/` meanwhile, because its digest and size have to be known before it is sent.
"""

from __future__ import annotations

import os

from .._base.errors import SyscallError
from .._store.temporary import OwnedDirectory
from .blobs import new_hasher
from .gzip_writer import compress_gzip
from .layer_tar import open_layer_tar
from .uploads import Bytes, File, has_blob, mount, upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths
    from .compression import ByteStream
    from .layer_tar import LayerTar
    from .manifest import Descriptor
    from .push_plan import LayerToPush
    from .registry import Registry
    from .urls import Url
    from .workers import Report

_REPORT_EVERY = 512 * 1024
_READ = 1024 * 1024
_MOUNT_ATTEMPTS = 3


class LayerJob:
    """What a worker does with one layer that the repository does not have."""

    def __init__(self, paths: Paths, registry: Registry, repository: str, layer: LayerToPush) -> None:
        self._paths = paths
        self._registry = registry
        self._repository = repository
        self._layer = layer
        self._session: Url | None = None

    def run(self, report: Report) -> dict[str, Any]:
        """See to it that the repository has the layer.

        `digest` and `size` of the blob that it has now, and `gone`: repositories that do not give it away any more.
        """
        blob = self._layer.blob
        gone: list[str] = []
        if blob is not None:
            for source in self._layer.sources[:_MOUNT_ATTEMPTS]:
                if self._mount(blob, source):
                    report("mounted", self._layer.subject, blob.size, blob.size)
                    return {"digest": blob.digest, "size": blob.size, "gone": gone}
                gone.append(source)
                if self._session is not None:
                    break
            if self._send_kept(blob, report):
                return {"digest": blob.digest, "size": blob.size, "gone": gone}
        digest, size = self._send_made(report)
        return {"digest": digest, "size": size, "gone": gone}

    def _mount(self, blob: Descriptor, source: str) -> bool:
        answer = mount(self._registry, self._repository, blob.digest, source)
        if not isinstance(answer, bool):
            self._session = answer
            return False
        return answer

    def _send_kept(self, blob: Descriptor, report: Report) -> bool:
        """Send the blob as it came, where its bytes are here."""
        path = self._paths.blob(blob.digest)
        if blob.data is not None:
            upload(self._registry, self._repository, Bytes(blob.digest, blob.data), session=self._session)
        elif _is_intact(path, blob):
            self._send(path, blob.digest, blob.size, report)
        else:
            return False
        report("pushed", self._layer.subject, blob.size, blob.size)
        return True

    def _send_made(self, report: Report) -> tuple[str, int]:
        """Make the blob from the layer's files and send it; its digest and size."""
        blob = self._layer.blob
        with OwnedDirectory(self._paths, "push") as owned:
            path = owned.path + "/blob"
            digest, size = make_blob(self._paths, self._layer, path, report)
            is_new = blob is None or digest != blob.digest
            if is_new and has_blob(self._registry, self._repository, digest):
                report("present", self._layer.subject, size, size)
            else:
                self._send(path, digest, size, report)
                report("pushed", self._layer.subject, size, size)
        return digest, size

    def _send(self, path: str, digest: str, size: int, report: Report) -> None:
        every = _Every(report, "upload", self._layer.subject, size)
        upload(self._registry, self._repository, File(path, digest, size, every.told), session=self._session)


def make_blob(paths: Paths, layer: LayerToPush, path: str, report: Report) -> tuple[str, int]:
    """Write a layer's blob to a new file: compressed, or as it is where the manifest has it uncompressed.

    Its digest and size. Raises NotFound and Damaged as `open_layer_tar` does, SyscallError where the disk is full.
    """
    is_plain = layer.blob is not None and layer.blob.digest == layer.diff_id
    try:
        with open_layer_tar(paths, layer.diff_id, blobs=layer.forms) as tar, open(path, "xb", buffering=0) as file:
            stream = _Reported(tar, _Every(report, "compress", layer.subject, tar.size_bytes))
            if is_plain:
                return layer.diff_id, _copy(stream, file.fileno())
            return compress_gzip(stream, lambda data: _write(file.fileno(), data))
    except OSError as error:
        raise SyscallError(
            f"compress layer {layer.diff_id} in {paths.temporary}: {error.strerror}",
            errno=error.errno or 0,
            hint="a push needs space for the compressed layers; free some",
        ) from error


def _copy(stream: ByteStream, fd: int) -> int:
    size = 0
    while data := stream.read(_READ):
        _write(fd, data)
        size += len(data)
    return size


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_intact(path: str, blob: Descriptor) -> bool:
    """Whether a kept file is here and still the blob."""
    hasher = new_hasher(blob.digest.partition(":")[0])
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != blob.size:
                return False
            while data := file.read(_READ):
                hasher.update(data)
    except OSError:
        return False
    return bool(hasher.hexdigest() == blob.digest.partition(":")[2])


class _Every:
    """Reports how far something is, not at each step."""

    def __init__(self, report: Report, event: str, subject: str, total: int) -> None:
        self._report = report
        self._event = event
        self._subject = subject
        self._total = total
        self._next = 0

    def told(self, done: int) -> None:
        """Take notice of a number of bytes."""
        if done >= self._next or done < self._next - 2 * _REPORT_EVERY:  # forward, or back after a fault
            self._next = done + _REPORT_EVERY
            self._report(self._event, self._subject, done, self._total)


class _Reported:
    """A layer's tar that reports how far it is."""

    def __init__(self, tar: LayerTar, every: _Every) -> None:
        self._tar = tar
        self._every = every
        self._done = 0

    def read(self, size: int) -> bytes:
        """As the tar's."""
        data = self._tar.read(size)
        self._done += len(data)
        self._every.told(self._done)
        return data


class DigestJob:
    """Finds the blob that a push would make of a layer, in a worker; nothing is written."""

    def __init__(self, paths: Paths, layer: LayerToPush) -> None:
        self._paths = paths
        self._layer = layer

    def run(self, report: Report) -> dict[str, Any]:
        """`digest` and `size` of the blob."""
        layer = self._layer
        with open_layer_tar(self._paths, layer.diff_id, blobs=layer.forms) as tar:
            stream = _Reported(tar, _Every(report, "compress", layer.subject, tar.size_bytes))
            digest, size = compress_gzip(stream, len)
        return {"digest": digest, "size": size}
