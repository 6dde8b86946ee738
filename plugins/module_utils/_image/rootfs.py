# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An image of one layer from a root file system's tarball: `docker export`, debootstrap, OpenVZ and LXC templates.

Reproducible: the same tarball with the same changes, message and platform gives the same image, however it is
compressed and whenever it is imported. The image is as old as SOURCE_DATE_EPOCH says, else as the newest entry of the
tarball. The tarball means what a layer of its diff ID means: names that begin with `.wh.` are deletions.
"""

from __future__ import annotations

from .._base.clock import format_time
from .._base.codec import render
from .._base.digests import sha256_of
from .._base.errors import Damaged, HullError
from .._base.values import Value
from .._store.claims import claim
from .._store.garbage import sweep_temporary
from .._store.writeback import EarlyWriteback
from .archive_layers import HashingStream
from .changes import apply_changes
from .layer_store import bring_layer
from .manifest import OCI_LAYER, Descriptor
from .platform import host_platform
from .policy import check_local
from .register import NewImage, discard_layers, register, render_manifest
from .rootfs_source import check_checksum, open_source
from .rootfs_tar import Survey, Template, survey
from .source_date import source_date_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .platform import Platform
    from .reference import Reference
    from .rootfs_source import Source
    from .unpack import Unpacked

_LAST_NS = ((1 << 33) - 1) * 10**9


class ImportOptions(Value):
    """What is said about an import besides where the tarball is. `changes` are Dockerfile instructions (changes.py)."""

    changes: tuple[str, ...] = ()
    message: str = ""
    platform: Platform | None = None  # None: the host's
    checksum: str = ""  # the digest that the source's bytes must have


def import_rootfs(
    paths: Paths,
    database: Database,
    source: str | IO[bytes],
    reference: Reference | None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
    checksum: str = "",
) -> ImageRecord:
    """Make an image from a tarball, plain or compressed, at a path or URL, or in a stream, which stays open.

    Raises Invalid for a change or checksum, NotFound for a missing file, Damaged for what is no tar, is cut off or has
    another checksum, RegistryError for what a server does not give; then nothing was added.
    """
    options = ImportOptions(tuple(changes), message, platform, checksum)
    making = _Making(options)
    layers: tuple[str, ...] = ()
    check_local(paths, source if isinstance(source, str) else "a stream")
    sweep_temporary(paths)  # what a killed process left takes space that this import may need
    try:
        with claim(paths, database), open_source(source) as opened:
            with EarlyWriteback(paths):
                unpacked = _bring_layer(paths, opened, options.checksum)
            found = Survey(unpacked.diff_id, unpacked.stream_bytes, unpacked.entries, unpacked.newest_ns)
            image = making.image(found, reference)
            layers = image.layers
            records = register(paths, database, [image])
            if records is None:
                raise HullError("import: the layer was removed meanwhile", hint="import it again")
            return records[0]
    except BaseException:
        discard_layers(paths, database, layers)
        raise


def foresee(paths: Paths, source: str | IO[bytes], options: ImportOptions) -> str:
    """The id of the image that an import would make: the tarball is read to its end, and nothing is stored.

    Raises as `import_rootfs` does.
    """
    making = _Making(options)
    check_local(paths, source if isinstance(source, str) else "a stream")
    with open_source(source) as opened:
        checked = _Checked(opened, options.checksum)
        try:
            with Template(checked.stream, opened.what) as template:
                found = survey(template, opened.what)
            checked.check(found.entries)
        except Damaged as error:
            raise _located(error, opened.what) from error
        return making.image(found, None).id


def _bring_layer(paths: Paths, source: Source, checksum: str) -> Unpacked:
    checked = _Checked(source, checksum)
    try:
        with Template(checked.stream, source.what) as template:
            return bring_layer(paths, template, check=lambda unpacked: checked.check(unpacked.entries))
    except Damaged as error:
        raise _located(error, source.what) from error


class _Checked:
    """The bytes of a source, of which the checksum is known at their end."""

    def __init__(self, source: Source, checksum: str) -> None:
        self._what = source.what
        self._checksum = checksum
        self.stream = HashingStream(source.stream, checksum, lambda: None)

    def check(self, entries: int) -> None:
        """Raise Damaged where the source, read to its end, is not the right one or holds nothing."""
        if self.stream.digest != self._checksum:
            raise Damaged(
                f"import {self._what}: its checksum is {self.stream.digest}, not {self._checksum}",
                hint="it is another file than the one that was meant, or was changed on its way",
            )
        if not entries:
            raise Damaged("it holds no files", hint="it has to be a tarball of a root file system")


def _located(error: Damaged, what: str) -> Damaged:
    prefix = f"import {what}: "
    message = error.message if error.message.startswith(prefix) else prefix + error.message
    return Damaged(message, hint=error.hint or "it has to be a tarball")


class _Making:
    """An image being made. What is wrong with the options is found before any work."""

    def __init__(self, options: ImportOptions) -> None:
        check_checksum(options.checksum)
        self._options = options
        self._config: dict[str, Any] = {}
        apply_changes(self._config, options.changes)
        self._created_ns = source_date_ns()

    def image(self, layer: Survey, reference: Reference | None) -> NewImage:
        """The image that has this layer."""
        platform = self._options.platform or host_platform()
        created_ns = min(max(layer.newest_ns, 0), _LAST_NS) if self._created_ns is None else self._created_ns
        created = format_time(created_ns)
        message = self._options.message or "imported from a root file system's tarball"
        document = {
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "os": platform.os,
            "created": created,
            "config": self._config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created": created, "comment": message}],
        }
        text = render(document)
        image_id = sha256_of(text.encode())
        manifest = render_manifest(image_id, len(text), [Descriptor(OCI_LAYER, layer.diff_id, layer.stream_bytes)])
        references = (reference.canonical,) if reference else ()
        return NewImage(image_id, text, manifest, sha256_of(manifest.encode()), (layer.diff_id,), references)
