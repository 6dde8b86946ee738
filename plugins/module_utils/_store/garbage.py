# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What nothing needs any more: layers, settled layers and blobs without a record, and what killed processes left.

All functions may run at any time in any number of processes. What can't be removed now (it is mounted, say) stays for
the next time; nothing here makes the operation fail that came along with it.

Removal has two steps. Inside a transaction the directory moves to `trash/`, so that it is gone in one step, together
with the records; deletion follows after it, where it keeps nobody waiting. A large tree, as a removed image leaves it,
is deleted by a process of its own at the lowest priority; whatever that does not finish, the next removal, pruning or
creation of a container does, so the trash never grows from one to the next.
"""

from __future__ import annotations

import os

from .._base.codec import parse
from .._base.digests import HEX_LENGTHS
from .._base.errors import HullError
from .._base.values import Value
from .claims import read_claims
from .files import remove_tree
from .layers import list_layers
from .removal import bury
from .temporary import PREFIX, lock_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._base.paths import Paths
    from .claims import Claims
    from .database import Database

_LOCK_FD = 3
_FEW = 1000  # entries, whose deletion takes no longer than starting a process for it


class Collected(Value):
    """What was removed: diff IDs, chain IDs, digests, and the bytes that the disk has more now."""

    layers: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    freed_bytes: int = 0


def collect(paths: Paths, database: Database) -> Collected:
    """Remove all that no record needs and nobody has claimed, and wait until it is deleted."""
    sweep_temporary(paths)
    with database.transaction():
        buried = bury_unneeded(paths, database)
    return Collected(buried.layers, buried.settled, buried.blobs, empty_trash(paths))


def bury_unneeded(paths: Paths, database: Database) -> Collected:
    """Inside a transaction: move all that no record needs and nobody has claimed to the trash, and forget it.

    Needed is what images contain and what containers were made to stack. Nothing is deleted yet.
    """
    unneeded = find_unneeded(paths, database)
    for layer in database.layers_unused():
        database.delete_layer(layer.diff_id)
    for blob in database.blobs_unused():
        database.delete_blob(blob.digest)
    return Collected(
        tuple(diff_id for diff_id in unneeded.layers if bury(paths, paths.layer(diff_id))),
        tuple(chain_id for chain_id in unneeded.settled if bury(paths, paths.settled_layer(chain_id))),
        tuple(digest for digest in unneeded.blobs if bury(paths, paths.blob(digest))),
    )


def find_unneeded(paths: Paths, database: Database) -> Collected:
    """What is on disk that no record needs and nobody has claimed. Changes nothing."""
    claims = read_claims(paths)
    stacks = {directory for image in database.images() for directory in image.stack} | _stacked(paths, database)
    unused_layers = {layer.diff_id for layer in database.layers_unused()}
    unused_blobs = {blob.digest for blob in database.blobs_unused()}
    layers = tuple(
        diff_id
        for diff_id in list_layers(paths)
        if (database.layer(diff_id) is None or diff_id in unused_layers)
        and _relative(paths, paths.layer(diff_id)) not in stacks
        and not _is_claimed(diff_id, claims.diff_ids, claims)
    )
    settled = tuple(
        chain_id
        for chain_id in list_settled(paths)
        if _relative(paths, paths.settled_layer(chain_id)) not in stacks
        and not _is_claimed(chain_id, claims.chain_ids, claims)
    )
    blobs = tuple(
        digest
        for digest in list_blobs(paths)
        if (database.blob(digest) is None or digest in unused_blobs) and not _is_claimed(digest, claims.blobs, claims)
    )
    return Collected(layers, settled, blobs)


def _relative(paths: Paths, directory: str) -> str:
    return directory[len(paths.root) + 1 :]


def _is_claimed(name: str, names: frozenset[str], claims: Claims) -> bool:
    return claims.all or name in names


def _stacked(paths: Paths, database: Database) -> set[str]:
    """What containers stack, also of images that they mount, which need not be what the image's record says by now."""
    found = set()
    for container in database.containers():
        plan = parse(container.launch, source=f"the record of container {container.id[:12]}").get("plan", {})
        mounted = (layer for mount in plan.get("mounts", ()) for layer in mount.get("layers", ()))
        stacked = (*plan.get("layers", ()), *mounted)
        found |= {_relative(paths, os.path.dirname(layer)) for layer in stacked}
    return found


def list_settled(paths: Paths) -> list[str]:
    """The chain IDs of all settled layers on disk, sorted."""
    return [f"sha256:{name}" for name in sorted(_names(paths.settled)) if len(name) == HEX_LENGTHS["sha256"]]


def list_blobs(paths: Paths) -> list[str]:
    """The digests of all blobs that are kept, sorted."""
    return [
        f"{algorithm}:{name}"
        for algorithm, length in sorted(HEX_LENGTHS.items())
        for name in sorted(_names(f"{paths.blobs}/{algorithm}"))
        if len(name) == length
    ]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _try_remove(path: str) -> int:
    try:
        return remove_tree(path)
    except (OSError, HullError):
        return 0


def empty_trash(paths: Paths) -> int:
    """Delete what was removed. The bytes that became free on the disk."""
    return sum(_try_remove(f"{paths.trash}/{name}") for name in _names(paths.trash))


def empty_trash_later(paths: Paths) -> None:
    """Delete what was removed, now if it is little, else by a process that nobody waits for.

    Nothing happens where such a process is at it already: it holds the lock of the trash.
    """
    try:
        fd = lock_directory(paths.trash, wait=False)
    except (FileNotFoundError, BlockingIOError):
        return
    try:
        if _has_many(paths.trash):
            _detached(paths, fd)
        else:
            empty_trash(paths)
    finally:
        os.close(fd)


def _has_many(directory: str) -> bool:
    """Whether there are more than a few entries below a directory."""
    count = 0
    for entries in _listings(directory):
        count += entries
        if count > _FEW:
            return True
    return False


def _listings(directory: str) -> Iterator[int]:
    waiting = [directory]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except OSError:
            continue
        yield len(entries)
        waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _detached(paths: Paths, lock_fd: int) -> None:
    """Fork a process that empties the trash when nobody else wants the processor, and holds only the trash's lock."""
    from .._sys.file_calls import close_range

    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.dup2(lock_fd, _LOCK_FD)
            close_range(_LOCK_FD + 1)
            os.chdir("/")
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            while _names(paths.trash) and empty_trash(paths):  # also what came meanwhile
                pass
    finally:
        os._exit(0)


def sweep_temporary(paths: Paths) -> int:
    """Delete the owned directories in `tmp/` whose owner is dead; other files there are not touched. Their number."""
    try:
        names = _names(paths.temporary)
    except OSError:
        return 0
    return sum(_sweep(paths, name) for name in names if name.startswith(PREFIX))


def _sweep(paths: Paths, name: str) -> bool:
    path = f"{paths.temporary}/{name}"
    try:
        fd = lock_directory(path, wait=False)
    except OSError:
        return False  # owned, gone meanwhile, or not a directory
    try:
        grave = bury(paths, path)
        if grave:
            _try_remove(grave)
        return bool(grave)
    except (OSError, HullError):
        return False  # the trash can't be written to
    finally:
        os.close(fd)
