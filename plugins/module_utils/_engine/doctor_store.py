# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A doctor's look at the store: images with their layers, volumes, what nobody needs, what killed processes left."""

from __future__ import annotations

import os
from functools import partial

from .._base.clock import now_ns
from .._base.errors import Damaged, HullError
from .._base.names import check_name
from .._store.locks import is_held
from .._store.records import VolumeRecord
from .doctor_view import is_id, names_in
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._base.paths import Paths
    from .._store.database import Database
    from .._store.records import ImageRecord
    from .doctor_view import View
    from .engine import Engine

_AGAIN = "pull or load the image again: that repairs it in place"


def look_at_images(view: View, database: Database) -> Iterator[Finding]:
    """Images whose layers are not there or are known to be damaged; contents are not read: see `verify_layers`."""
    images: dict[str, list[ImageRecord]] = {}
    for record in database.images():
        yield from _config(view.engine, record)
        yield from _settled(view.engine, record)
        for diff_id in record.layers:
            images.setdefault(diff_id, []).append(record)
    for diff_id, records in images.items():
        what = _fault(view.paths, diff_id)
        if what:
            users = ", ".join(dict.fromkeys(name for record in records for name in names_of(view.engine, record)))
            yield layer_finding(view.engine, diff_id, f"{what}; it is a part of {users}", records)
        elif database.layer(diff_id) is None:
            what = "it is here, but there is no record of it"
            yield Finding("layer", diff_id, what, "record it again", partial(_record_layer, view, diff_id))


def _config(engine: Engine, record: ImageRecord) -> Iterator[Finding]:
    from hashlib import sha256

    digest = f"sha256:{sha256(record.config.encode('utf-8', 'surrogateescape')).hexdigest()}"
    if digest != record.id:
        what = "the configuration in its record does not have its digest"
        cure = f"hull rmi -f {record.id[7:19]}, then pull or load it again"
        yield Finding("image", names_of(engine, record)[0], what, cure)


def _settled(engine: Engine, record: ImageRecord) -> Iterator[Finding]:
    for name in record.stack:
        directory = f"{engine.paths.root}/{name}"
        if name.startswith("settled/") and not os.path.isdir(f"{directory}/fs"):
            what = f"this part of image {names_of(engine, record)[0]} is missing"
            yield Finding("layer", directory, what, "make it again", partial(_settle, engine, record))


def _settle(engine: Engine, record: ImageRecord) -> None:
    from .verification import verify

    verify(engine, [record.id])


def _fault(paths: Paths, diff_id: str) -> str:
    """What is wrong with a layer, as far as it can be told without reading it; empty for nothing."""
    from .._image.tar_record import has_record
    from .._store.layers import describe, has_layer, needs_repair

    if not has_layer(paths, diff_id):
        return "its directory is missing"
    if needs_repair(paths, diff_id):
        return "it is known to be damaged"
    try:
        described = describe(paths, diff_id)
    except Damaged as error:
        return error.message
    if described.tree_digest and not has_record(paths.layer(diff_id)):
        return "the record of its tar is missing"
    return ""


def names_of(engine: Engine, record: ImageRecord) -> list[str]:
    """An image's names as people write them, its id where it has none."""
    from . import images

    return [images.familiar(tag.reference) for tag in engine.records.tags_of(record.id)] or [record.id]


def layer_finding(engine: Engine, diff_id: str, what: str, records: list[ImageRecord]) -> Finding:
    """A layer that has to be brought again. That is done here where a registry has one of its images, by digest."""
    name = next(
        (tag.reference for record in records for tag in engine.records.tags_of(record.id) if tag.digest),
        "",
    )
    if not name:
        return Finding("layer", diff_id, what, _AGAIN)
    return Finding("layer", diff_id, what, f"pull {name} again", partial(_bring_again, engine, diff_id, name))


def _bring_again(engine: Engine, diff_id: str, name: str) -> None:
    from .._store.layers import mark_damaged
    from .image_source import ImageRequest, mend

    mark_damaged(engine.paths, diff_id)
    mend(engine, ImageRequest(name))


def _record_layer(view: View, diff_id: str) -> None:
    from .._store.layers import layer_record

    database = view.engine.records
    with database.transaction():
        database.put_layer(layer_record(view.paths, diff_id))


def verify_layers(engine: Engine) -> Iterator[Finding]:
    """What reading every byte of all images shows. Changes nothing."""
    from .verification import LAYER, verify

    database = engine.database()
    for found in verify(engine, mark=False) if database is not None else ():
        if not found.is_bad or (found.kind == LAYER and _fault(engine.paths, found.id)):
            continue  # told already, without reading
        details = "; ".join(found.details[:3])
        what = f"it is {found.state} ({details}); it is a part of {', '.join(found.images)}"
        if found.kind == LAYER:
            records = [record for record in engine.records.images() if found.id in record.layers]
            yield layer_finding(engine, found.id, what, records)
            continue
        cure = "make it again" if found.kind != "blob" else "remove it: it is needed for nothing but a faster push"
        yield Finding("layer", f"{found.kind} {found.id}", what, cure, _remedy(engine, found.images))


def _remedy(engine: Engine, names: tuple[str, ...]) -> Callable[[], object]:
    def remedy() -> None:
        from .verification import verify

        verify(engine, names)

    return remedy


def look_at_volumes(view: View, database: Database) -> Iterator[Finding]:
    """Records without a directory, directories without a record, users of a volume that has no record."""
    recorded = {volume.name for volume in database.volumes()}
    for name in recorded:
        directory = view.paths.volume(name)
        if not os.path.isdir(directory):
            what = f"the directory of volume {name} is missing: what was in it is lost, or not mounted"
            cure = "mount it, or make it anew, empty"
            yield Finding("volume", directory, what, cure, partial(_make_volume, view, name))
    used = {name for patient in view.patients.values() for name in patient.record.volumes}
    there = set(names_in(os.path.dirname(os.path.dirname(view.paths.volume("x")))))
    for name in sorted((used | there) - recorded):
        if _is_name(name):
            what = "a container uses this volume" if name in used else "this volume is here"
            what = f"{what}, but there is no record of it"
            yield Finding("volume", name, what, "record it again", partial(_record_volume, view, name))


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except HullError:
        return False
    return True


def _make_volume(view: View, name: str) -> None:
    database, directory = view.engine.records, view.paths.volume(name)
    with database.transaction():
        if database.volume(name) is not None:
            os.makedirs(directory, 0o755, exist_ok=True)
            os.chmod(os.path.dirname(directory), 0o700)


def _record_volume(view: View, name: str) -> None:
    """What a lost record said of labels and options is lost; the content is not touched."""
    database, directory = view.engine.records, view.paths.volume(name)
    with database.transaction():
        if database.volume(name) is None:
            os.makedirs(directory, 0o755, exist_ok=True)
            database.put_volume(VolumeRecord(name, now_ns(), anonymous=is_id(name)))


def look_at_unneeded(view: View, database: Database) -> Iterator[Finding]:
    """Layers and blobs that no record needs, as killed processes and restored backups leave them."""
    from .._store.garbage import collect, find_unneeded

    if any(patient.plan is None for patient in view.patients.values()):
        return  # what those containers need is not known
    found = find_unneeded(view.paths, database)
    places = [
        *(("layer", view.paths.layer(diff_id)) for diff_id in found.layers),
        *(("layer", view.paths.settled_layer(chain_id)) for chain_id in found.settled),
        *(("blob", view.paths.blob(digest)) for digest in found.blobs),
    ]
    is_unknown = view.has_unknown_life
    for kind, place in places:
        what = "no image and no container needs it"
        if is_unknown:
            cure = "look again when the containers without a record have ended"
            yield Finding(kind, place, what, cure)
        else:
            yield Finding(kind, place, what, "remove it", partial(collect, view.paths, view.engine.records))


def look_at_temporary(engine: Engine, *, records: bool) -> Iterator[Finding]:
    """What killed processes left in `tmp/`, and what was removed and is still there.

    `records` says whether those can be read, without which no creation can be undone.
    """
    from .._store.garbage import empty_trash, sweep_temporary
    from .creation import MARK, sweep_creations

    paths = engine.paths
    what = "the process that made it has ended"
    for name in names_in(paths.temporary):
        place = f"{paths.temporary}/{name}"
        if name.endswith(MARK):
            if records and _is_orphan(place):
                cure = "remove it with what was made of the container"
                yield Finding("temporary", place, what, cure, partial(sweep_creations, engine))
        elif _is_owned(name):
            if _is_orphan(place):
                yield Finding("temporary", place, what, "remove it", partial(sweep_temporary, paths))
        else:
            yield Finding("temporary", place, "it is not the engine's", "remove it, if nobody needs it")
    for name in names_in(paths.trash):
        what = "it was removed, but is still there"
        yield Finding("trash", f"{paths.trash}/{name}", what, "delete it", partial(empty_trash, paths))


def _is_owned(name: str) -> bool:
    from .._store.temporary import PREFIX

    return name.startswith(PREFIX)


def _is_orphan(path: str) -> bool:
    """Whether it is there and its owner, who had its lock, is not. What has gone meanwhile needs nothing."""
    return not is_held(path) and os.path.lexists(path)


def look_for_records(paths: Paths) -> Iterator[Finding]:
    """Files of an engine without any records."""
    places = [paths.layers, f"{paths.root}/containers", f"{paths.root}/volumes", paths.settled, paths.blobs]
    filled = [place for place in places if names_in(place)]
    if filled:
        what = f"there are no records, but {', '.join(filled)} are not empty"
        cure = "restore hull.db from a backup, or remove the engine (hull.engine.engine with state: absent)"
        yield Finding("database", paths.database, what, cure)
