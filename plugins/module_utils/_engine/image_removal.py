# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images and their names, removed: which names go, whether the image goes with them, and with it which layers.

Layers are shared: one that another image contains stays. What keeps an image are its names and the containers that
were made from it; an image has no parents that could keep it, or that it could keep.
"""

from __future__ import annotations

import os
from errno import ENOSPC

from .._base.digests import is_digest
from .._base.errors import Conflict, SyscallError
from .._base.plan import Action
from .._base.values import Value
from .._store.garbage import bury_unneeded, empty_trash, empty_trash_later
from .._store.removal import bury
from .images import familiar, find, id_prefix_of, reference_of, repository_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._store.records import ImageRecord, TagRecord
    from .engine import Engine


class Removal(Value):
    """What the removal of an image comes to: names that go, and whether the image goes with them."""

    record: ImageRecord
    names: tuple[str, ...]  # canonical references
    digests: tuple[str, ...] = ()  # repo@sha256:..., of which no name is left
    delete: bool = False

    @property
    def untagged(self) -> list[str]:
        """The names that go, as people write them, and after them the digests."""
        return [*map(familiar, self.names), *self.digests]

    def actions(self) -> list[Action]:
        untagged = [Action("untagged", name) for name in self.untagged]
        return [*untagged, Action("deleted", self.record.id)] if self.delete else untagged


def plan_removal(engine: Engine, text: str, *, force: bool = False) -> Removal:
    """Decide what `remove` does. By id all names go, if it has one, or `force` is given.

    Raises NotFound, and Conflict where containers use the image; `force` then takes only the names, if there are any.
    """
    record = find(engine, text)
    database = engine.records
    tags = database.tags_of(record.id)
    chosen = _chosen(engine, text, tags, force)
    left = [tag for tag in tags if tag not in chosen]
    users = database.containers_of_image(record.id)
    if users and not left and not (force and chosen):
        listed = ", ".join(user.name for user in users)
        use = f"container {listed} uses it" if len(users) == 1 else f"containers {listed} use it"
        raise Conflict(f"remove image {text}: {use}", hint="remove those containers first")
    names = tuple(tag.reference for tag in chosen)
    return Removal(record, names, _lost_digests(chosen, left), not left and not users)


def removal_of(record: ImageRecord, tags: list[TagRecord]) -> Removal:
    """The removal of an image that nobody uses with all its names."""
    return Removal(record, tuple(tag.reference for tag in tags), _lost_digests(tags, []), True)


def _chosen(engine: Engine, text: str, tags: list[TagRecord], force: bool) -> list[TagRecord]:
    """The names that a text means: one, or those of a repository that have the digest, or for an id all."""
    if _is_by_id(engine, text, tags):
        if len([tag for tag in tags if "@" not in tag.reference]) > 1 and not force:
            names = ", ".join(familiar(tag.reference) for tag in tags)
            raise Conflict(
                f"remove image {text}: it has {len(tags)} names: {names}", hint="remove them by name, or force it"
            )
        return tags
    reference = reference_of(engine, text)
    of_repository = [tag for tag in tags if repository_of(tag.reference) == reference.name]
    if reference.digest:
        return [tag for tag in of_repository if reference.digest in (tag.digest, tag.reference.partition("@")[2])]
    others = [tag for tag in of_repository if tag.reference != reference.canonical]
    is_last = all("@" in tag.reference for tag in others)  # then what was pulled by digest goes with it, as in Docker
    return [tag for tag in of_repository if is_last or tag not in others]


def _is_by_id(engine: Engine, text: str, tags: list[TagRecord]) -> bool:
    if is_digest(text):
        return True
    return bool(id_prefix_of(engine, text)) and not _has_name(engine, text, tags)


def _has_name(engine: Engine, text: str, tags: list[TagRecord]) -> bool:
    """Whether a text that may be an id is a name of the image that it means; names come first."""
    from .._base.errors import Invalid

    try:
        canonical = reference_of(engine, text).canonical
    except Invalid:
        return False
    return any(tag.reference == canonical for tag in tags)


def _lost_digests(chosen: list[TagRecord], left: list[TagRecord]) -> tuple[str, ...]:
    """`debian@sha256:...` for every digest that goes with the last name that had it."""

    def digests(tags: list[TagRecord]) -> set[str]:
        return {f"{repository_of(tag.reference)}@{tag.digest}" for tag in tags if tag.digest}

    named = {tag.reference for tag in chosen}
    return tuple(sorted(map(familiar, digests(chosen) - digests(left) - named)))


def remove(engine: Engine, text: str, *, force: bool = False) -> Removal:
    """Untag an image and, with its last name, delete it and the layers that nothing else needs. See `plan_removal`.

    Large layers are deleted after this has returned, by a process that nobody waits for.
    """
    (removal,) = forget(engine, lambda: [plan_removal(engine, text, force=force)])
    if removal.delete:
        with engine.records.transaction():
            bury_unneeded(engine.paths, engine.records)
        empty_trash_later(engine.paths)
    return removal


def forget(engine: Engine, plan: Callable[[], list[Removal]]) -> list[Removal]:
    """Do to the records what `plan` decides, all in one transaction: no container is made from an image meanwhile.

    The layers are garbage then, which the caller collects. Never before: whoever is killed in between leaves files that
    nobody needs, not an image without its files. Only where the disk is too full for the records the files go first:
    they may be what fills it, and their removal is what was asked for.
    """
    try:
        return _forget(engine, plan)
    except SyscallError as error:
        removals = plan()
        if error.errno != ENOSPC or not any(removal.delete for removal in removals):
            raise
        for path in needed_only_by(engine, removals):
            bury(engine.paths, path)
        empty_trash(engine.paths)
        return _forget(engine, plan)


def _forget(engine: Engine, plan: Callable[[], list[Removal]]) -> list[Removal]:
    database = engine.records
    with database.transaction():
        removals = plan()
        for removal in removals:
            for name in removal.names:
                database.delete_tag(name)
            if removal.delete:
                database.delete_image(removal.record.id)
    return removals


def needed_only_by(engine: Engine, removals: list[Removal]) -> list[str]:
    """The paths of layers, of what is settled on them, and of blobs that no image needs but those that are deleted."""
    database = engine.records
    going = [removal.record for removal in removals if removal.delete]
    staying = [record for record in database.images() if record not in going]
    stacks = _only_in(going, staying, lambda record: record.stack)
    diff_ids = _only_in(going, staying, lambda record: record.layers)
    blobs = [engine.paths.blob(blob.digest) for diff_id in diff_ids for blob in database.blobs_of(diff_id)]
    return [*(os.path.dirname(path) for path in engine.paths.stack(tuple(stacks))), *blobs]


def _only_in(
    going: list[ImageRecord], staying: list[ImageRecord], parts: Callable[[ImageRecord], tuple[str, ...]]
) -> set[str]:
    return {part for record in going for part in parts(record)} - {part for record in staying for part in parts(record)}
