# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Whether what the store holds is still what it was: layers, settled layers, kept blobs; and what became of them.

A layer is sound if the digest of its tree's metadata is that of its description and its tar, made again from its files,
has the diff ID. Where it is not, it is unpacked once more beside, from a kept blob or from its own record, to say which
entries differ: that takes as much space for a moment. Only settled layers are mended here, since all that it takes is
in the store; layers are mended by `layer_store.repair_layer`.
"""

from __future__ import annotations

import os

from .._base.errors import Damaged, HullError
from .._base.values import Value
from .._store.layers import describe, has_layer, stage_layer
from .._store.tree_comparison import differences
from .._store.tree_digest import tree_digest
from .layer_tar import LayerPieces, PieceStream, open_layer_tar
from .tar import shown
from .tar_record import has_record
from .unpack import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._base.paths import Paths
    from .._store.layers import LayerDescription
    from .._store.tree_comparison import Difference

SOUND, DAMAGED, MISSING, UNKNOWN = "sound", "damaged", "missing", "unknown"
_CHUNK = 256 * 1024
_MOST = 20  # entries that are named


class Checked(Value):
    """What was found, and in which way it is not as it should be."""

    state: str
    details: tuple[str, ...] = ()


def check_layer(paths: Paths, diff_id: str, *, blobs: Sequence[str] = ()) -> Checked:
    """Look at all of a layer. `blobs` are digests of compressed forms, of which those that are kept are used."""
    if not has_layer(paths, diff_id):
        return Checked(MISSING, ("its directory is missing",))
    try:
        description = describe(paths, diff_id)
    except Damaged as error:
        return Checked(DAMAGED, (error.message,))
    if not description.tree_digest or not has_record(paths.layer(diff_id)):
        if description.tree_digest:
            return Checked(DAMAGED, ("the record of its tar is missing",))
        return Checked(UNKNOWN, ("an older version unpacked it, without a record; remove the image and pull it again",))
    content = _content_error(paths, diff_id)
    is_same_tree = _has_digest(paths, description)
    if not content and is_same_tree:
        return Checked(SOUND)
    details = list(_explain(paths, description, blobs, content))
    if len(details) > _MOST:
        details[_MOST:] = ["and more"]
    return Checked(DAMAGED, tuple(details))


def _has_digest(paths: Paths, description: LayerDescription) -> bool:
    try:
        return tree_digest(paths.layer(description.diff_id) + "/fs") == description.tree_digest
    except OSError:
        return False


def _content_error(paths: Paths, diff_id: str) -> str:
    """Why the layer's tar can't be made again; empty where it can."""
    try:
        with open_layer_tar(paths, diff_id) as tar:
            while tar.read(_CHUNK):
                pass
    except Damaged as error:
        return error.message
    return ""


def _explain(paths: Paths, description: LayerDescription, blobs: Sequence[str], content: str) -> Iterator[str]:
    """Which entries are not as they were; at least one line. Ends where there are more than anybody reads."""
    fs = paths.layer(description.diff_id) + "/fs"
    blob = next((digest for digest in blobs if check_blob(paths, digest) == SOUND), "")
    count = 0
    try:
        with stage_layer(paths) as staged:
            if blob:
                with open(paths.blob(blob), "rb", buffering=0) as file:
                    unpack(file, staged.fs)
            else:
                with PieceStream(LayerPieces(paths.layer(description.diff_id), tolerant=True)) as stream:
                    unpack(stream, staged.fs)
            # what no entry describes has the time of unpacking
            timeless = {path for kind, path in description.deferred if kind == "implicit-parent"}
            for item in differences(staged.fs, fs, contents=bool(blob), timeless=timeless):
                count += 1
                yield _line(item)
                if count > _MOST:
                    return
    except (HullError, OSError) as error:
        yield f"which entries can't be told: {error}"
        return
    if content and not blob:
        suspects = list(_changed_since(fs, description.created_ns))
        for path in suspects[:_MOST]:
            yield f"{shown(path)}: perhaps its content: it was written to after unpacking"
        if not suspects and not count:
            yield "the content of a file; only with the compressed blob, which is not kept, it could be told of which"
    elif not count:
        yield content or "its description does not fit its files"


def _line(item: Difference) -> str:
    return f"{shown(item.path) or '.'}: {item.what}"


def _changed_since(fs: str, time_ns: int) -> Iterator[bytes]:
    """Regular files whose inodes were changed after this time."""
    top = os.fsencode(fs)
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        with os.scandir(top + b"/" + path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            below = path + b"/" + entry.name if path else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(below)
            elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_ctime_ns > time_ns:
                yield below


def check_blob(paths: Paths, digest: str) -> str:
    """SOUND or DAMAGED by its digest; MISSING where it is not kept, which is no fault."""
    from hashlib import new

    algorithm, _, wanted = digest.partition(":")
    found = new(algorithm)
    try:
        with open(paths.blob(digest), "rb", buffering=0) as file:
            while True:
                piece = file.read(_CHUNK)
                if not piece:
                    break
                found.update(piece)
    except FileNotFoundError:
        return MISSING
    return SOUND if found.hexdigest() == wanted else DAMAGED


def check_settled(
    paths: Paths, diff_ids: tuple[str, ...], stack: tuple[str, ...], *, rebuild: bool
) -> dict[str, Checked]:
    """What became of the settled layers of a stack, whose layers are sound, by their names in it.

    They are made once more beside and compared. With `rebuild` those that were damaged or missing are right afterwards.
    """
    names = [name for name in stack if name.startswith("settled/")]
    if not names:
        return {}
    from .._base.paths import Paths as OtherPaths
    from .._store.temporary import OwnedDirectory
    from .._store.tree_comparison import mend
    from .settle import settle

    checked = {}
    with OwnedDirectory(paths, "check") as scratch:
        os.symlink(paths.layers, scratch.path + "/layers")
        settle(OtherPaths(root=scratch.path, run=paths.run, config=paths.config), diff_ids)
        for name in names:
            good, bad = f"{scratch.path}/{name}", f"{paths.root}/{name}"
            if not os.path.isdir(good + "/fs"):
                checked[name] = Checked(UNKNOWN, ("another version made it, and this one would not",))
            elif not os.path.isdir(bad + "/fs"):
                if rebuild:
                    _take(good, bad)
                checked[name] = Checked(MISSING, ("its directory is missing",))
            else:
                found = list(differences(good + "/fs", bad + "/fs", contents=True, timeless=_Everything()))
                if found and rebuild:
                    mend(good + "/fs", bad + "/fs")
                details = tuple(map(_line, found[:_MOST]))
                checked[name] = Checked(DAMAGED if found else SOUND, details)
    return checked


class _Everything:
    """A container of whatever it is asked for."""

    def __contains__(self, _item: object) -> bool:
        return True


def _take(good: str, bad: str) -> None:
    from .._store.files import fsync_directory, make_private_directory
    from .._sys.file_calls import syncfs

    make_private_directory(os.path.dirname(bad))
    fd = os.open(good, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
    os.rename(good, bad)
    fsync_directory(os.path.dirname(bad))
