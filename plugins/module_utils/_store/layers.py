# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Unpacked layers on disk, each under its own diff ID and shared by all images that contain it.

    layers/<hex of the diff ID>/
        fs/           what overlayfs stacks; never changed again, but for a repair
        layer.json    LayerDescription
        headers       record of the layer's tar, everything but the files' contents; see _image/tar_record.py
        replaced/N    contents that a later entry of the same layer replaced, and `index` that says which; often missing
        damaged       empty, only there between the discovery of a damage and its repair

A layer's directory is complete if it exists: it is filled in `tmp/`, synced and renamed. A damaged one stays, so that
containers start and run, until a pull or load of the image repairs it. Layers of older versions lack `headers` and most
of the description. Which image needs which layer is in the records, not here. Who removes a layer or relies on one that
is there holds the lock of kind `layer`, or works inside a transaction of the records, or has claimed it; see claims.py.
"""

from __future__ import annotations

import os

from .._base.codec import parse, render
from .._base.digests import HEX_LENGTHS, check_digest, is_digest
from .._base.errors import Damaged
from .._base.values import Value
from .files import fsync_directory, make_private_directory, write_atomic
from .records import LayerRecord
from .removal import bury
from .temporary import OwnedDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .._base.paths import Paths


class LayerDescription(Value):
    """What is known of an unpacked layer. Of one that an older version unpacked: the first three fields only."""

    diff_id: str
    size_bytes: int  # sum of the regular files' sizes
    created_ns: int
    stream_bytes: int = 0  # length of the uncompressed tar
    tree_digest: str = ""  # of `fs`, see tree_digest.py
    deferred: tuple[tuple[str, bytes], ...] = ()  # (kind, path) of `_image/unpack.py: Deferred`


def has_layer(paths: Paths, diff_id: str) -> bool:
    """Whether the layer is here, complete. Raises Invalid for what is not a digest."""
    return os.path.isdir(paths.layer(check_digest(diff_id, what="diff ID")) + "/fs")


def describe(paths: Paths, diff_id: str) -> LayerDescription:
    """The description of a layer that is here. Raises Damaged where it can't be read."""
    path = paths.layer(check_digest(diff_id, what="diff ID")) + "/layer.json"
    try:
        with open(path, "rb") as file:
            fields = parse(file.read(), source=path)
        deferred = tuple((kind, name.encode("utf-8", "surrogateescape")) for kind, name in fields.get("deferred", ()))
        return LayerDescription(
            diff_id,
            int(fields["size_bytes"]),
            int(fields["created_ns"]),
            int(fields.get("stream_bytes", 0)),
            str(fields.get("tree_digest", "")),
            deferred,
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(f"read {path}: {error}", hint="pull or load an image that contains this layer") from error


def write_description(directory: str, description: LayerDescription) -> None:
    """Write `layer.json` into a layer's directory, in one step."""
    fields = description.fields()
    fields["deferred"] = [(kind, name.decode("utf-8", "surrogateescape")) for kind, name in description.deferred]
    write_atomic(directory + "/layer.json", render(fields).encode())


def layer_record(paths: Paths, diff_id: str) -> LayerRecord:
    """What the records keep of a layer that is here. Raises Damaged where its description can't be read."""
    description = describe(paths, diff_id)
    return LayerRecord(diff_id, description.size_bytes, description.created_ns)


def needs_repair(paths: Paths, diff_id: str) -> bool:
    """Whether the layer is here and known to be damaged: see `mark_damaged`."""
    return os.path.exists(paths.layer(check_digest(diff_id, what="diff ID")) + "/damaged")


def mark_damaged(paths: Paths, diff_id: str) -> None:
    """Let the next pull or load of an image with this layer repair it. Durable, idempotent; no error without one."""
    directory = paths.layer(check_digest(diff_id, what="diff ID"))
    try:
        os.close(os.open(directory + "/damaged", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        fsync_directory(directory)
    except FileNotFoundError:
        pass


def list_layers(paths: Paths) -> list[str]:
    """The diff IDs of all layers on disk, sorted."""
    try:
        names = os.listdir(paths.layers)
    except FileNotFoundError:
        return []
    algorithms = {length: algorithm for algorithm, length in HEX_LENGTHS.items()}
    diff_ids = (f"{algorithms.get(len(name), '')}:{name}" for name in names)
    return sorted(diff_id for diff_id in diff_ids if is_digest(diff_id))


def stage_layer(paths: Paths) -> StagedLayer:
    """A new, empty layer to be filled, for use with `with`; removed at the end unless it was published."""
    return StagedLayer(paths)


class StagedLayer:
    """A layer that is being made in `tmp/`: `fs` is the directory to fill, `directory` the one that holds it."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._owned = OwnedDirectory(paths, "layer")
        self.directory = ""
        self.fs = ""

    def __enter__(self) -> StagedLayer:
        self._owned.__enter__()
        self.directory = self._owned.path
        self.fs = self.directory + "/fs"
        try:
            os.mkdir(self.fs, 0o755)
            os.chmod(self.fs, 0o755)  # whatever the umask is
        except BaseException:
            self._owned.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.__exit__(kind, error, trace)

    def publish(self, description: LayerDescription, *, blob_digest: str = "") -> None:
        """Give the layer its place, durably and in one step. Where it is there already, that one stays.

        With `blob_digest` the file `blob` in `directory`, which the caller has checked, takes its place among the blobs
        first. Raises OSError, as when the disk is full.
        """
        from .._sys.file_calls import syncfs

        target = self._paths.layer(check_digest(description.diff_id, what="diff ID"))
        is_new = not os.path.isdir(target)
        if is_new:
            write_description(self.directory, description)
            make_private_directory(self._paths.layers)
        if is_new or blob_digest:
            syncfs(self._owned.fd)
        if blob_digest:
            move_blob(self._paths, self.directory + "/blob", blob_digest)
        if is_new:
            self._take_place(target)

    def _take_place(self, target: str) -> None:
        try:
            os.rename(self.directory, target)
        except FileExistsError:
            return
        except OSError as error:
            if os.path.isdir(target):  # ENOTEMPTY: another process was faster
                return
            raise error
        fsync_directory(self._paths.layers)


def finish_repair(paths: Paths, directory: str, description: LayerDescription, *, blob_digest: str = "") -> None:
    """Give a layer whose `fs` was mended the record and the description of the staged layer, and take the mark away."""
    from .._sys.file_calls import syncfs

    target = paths.layer(description.diff_id)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_description(directory, description)
        syncfs(fd)  # what was mended and what replaces the record is on the disk before the layer says so
        if blob_digest:
            move_blob(paths, directory + "/blob", blob_digest)
        bury(paths, target + "/replaced")
        for name in ("headers", "replaced", "layer.json"):
            if os.path.lexists(f"{directory}/{name}"):
                os.rename(f"{directory}/{name}", f"{target}/{name}")
        os.fsync(fd)
        os.unlink(target + "/damaged")
        os.fsync(fd)
    finally:
        os.close(fd)


def unmark_damaged(paths: Paths, diff_id: str) -> None:
    """Take the mark away from a layer that was found sound."""
    try:
        os.unlink(paths.layer(check_digest(diff_id, what="diff ID")) + "/damaged")
    except FileNotFoundError:
        pass


def move_blob(paths: Paths, source: str, digest: str) -> None:
    """Give a file of the store, checked and synced, its place among the blobs; one that is there is replaced."""
    check_digest(digest)
    make_private_directory(paths.blobs)
    target = paths.blob(digest)
    directory = os.path.dirname(target)
    make_private_directory(directory)
    os.rename(source, target)
    fsync_directory(directory)
