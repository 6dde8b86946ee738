# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the modules container_image_load, container_image_export and container_image_import do: plan, then apply.

Nothing is guessed in check mode: an archive's documents are read to see which images it holds, and a tarball to its end
to see which image it would make.
"""

from __future__ import annotations

import os

from .._base.errors import HullError, NotFound
from .._base.plan import Action, Outcome
from .._base.values import Value
from . import archives
from .images import by_name, familiar, has_platform, id_prefix_of, inspect, lookup, parse_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._image.archive_contents import SavedImage
    from .._image.archives import Loaded
    from .engine import Engine

    Progress = Callable[[str, str, int, int], None]


def load(engine: Engine, path: str, *, check: bool = False) -> Outcome:
    """Have the images of an archive, with the names that they have there. The facts are `image_names` and `images`."""
    from .._image.archives import look
    from .._image.policy import check_local

    if check:
        check_local(engine.paths, path)
        found: Sequence[Loaded] = look(path).images
        before = _names(engine, found)
    else:
        before, found = _load(engine, path)
    after = {familiar(name): item.image_id for item in found for name in item.references}
    after.update({item.image_id: item.image_id for item in found if not item.references})
    changed = before != after
    records = [lookup(engine, item.image_id) for item in found]
    facts = {
        "image_names": [familiar(name) for item in found for name in item.references],
        "images": [inspect(engine, record) for record in records if record is not None],
    }
    reasons = {name: "not here" if before[name] is None else "another image" for name in after}
    actions = [Action("loaded_image", name, reasons[name]) for name in after if before[name] != after[name]]
    return Outcome(changed, tuple(actions), {"images": before}, {"images": after}, facts)


def _load(engine: Engine, path: str) -> tuple[dict[str, str | None], Sequence[Loaded]]:
    """Load, and tell what the names meant before."""
    before: dict[str, str | None] = {}

    def remember(loaded: list[Loaded]) -> None:
        before.update(_names(engine, loaded))

    return before, archives.load(engine, path, accept=remember)


def _names(engine: Engine, found: Sequence[Loaded]) -> dict[str, str | None]:
    """The ids that the images' names have now; of one without a name, its id if it is here."""
    result: dict[str, str | None] = {}
    for item in found:
        for name in item.references:
            record = lookup(engine, familiar(name))
            result[familiar(name)] = record.id if record else None
        if not item.references:
            result[item.image_id] = item.image_id if lookup(engine, item.image_id) else None
    return result


class ExportRequest(Value):
    """What container_image_export asks for."""

    names: tuple[str, ...]
    path: str
    tag: str = "latest"  # of names without one
    form: str = "docker-archive"
    platform: str = ""
    force: bool = False


def export(engine: Engine, request: ExportRequest, *, check: bool = False) -> Outcome:
    """Have an archive of these images at a path; one that holds just them is left alone. The facts are the images."""
    from .._image.save import check_target

    images = archives.saved_images(engine, [_with_tag(engine, name, request.tag) for name in request.names])
    for image in images:
        if request.platform and not has_platform(image.record, request.platform):
            raise NotFound(f"image {_shown(image)}: not for {request.platform}", hint="pull it for that platform first")
    wanted = {image.record.id: sorted(map(familiar, image.references)) for image in images}
    there = _archived(request)
    exists = os.path.lexists(request.path)
    before = {"exists": exists, "images": there}
    reason = _reason(request, exists, there, wanted)
    if reason and check:
        check_target(request.path, request.form)
    elif reason:
        archives.save_images(engine, images, request.path, form=request.form)
    after = {"exists": True, "images": wanted} if reason else before
    actions = (Action("exported_image", ", ".join(map(_shown, images)), reason),) if reason else ()
    return Outcome(bool(reason), actions, before, after, {"images": [inspect(engine, item.record) for item in images]})


def _with_tag(engine: Engine, name: str, tag: str) -> str:
    """The name with a tag, unless it has one, or a digest, or is an id."""
    last = name.rpartition("/")[2]
    if ":" in last or "@" in last or (id_prefix_of(engine, name) and lookup(engine, f"{name}:{tag}") is None):
        return name
    return f"{name}:{tag}"


def _shown(image: SavedImage) -> str:
    return ", ".join(map(familiar, image.references)) or image.record.id


def _reason(request: ExportRequest, exists: bool, there: dict[str, list[str]] | None, wanted: Any) -> str:
    if not exists:
        return "not there"
    if request.force:
        return "force"
    return "" if there == wanted else "not an archive of this format" if there is None else "other images"


def _archived(request: ExportRequest) -> dict[str, list[str]] | None:
    """Ids and names in the archive at the path; None where there is no archive of the wanted format."""
    from .._image.archives import look

    try:
        content = look(request.path)
    except HullError:
        return None
    is_directory = os.path.isdir(request.path)
    if content.is_docker != (request.form == "docker-archive") or is_directory != (request.form == "oci-dir"):
        return None
    return {item.image_id: sorted(map(familiar, item.references)) for item in content.images}


class ImportRequest(Value):
    """What container_image_import asks for. `source` is a path or a URL."""

    source: str
    name: str
    changes: tuple[str, ...] = ()
    message: str = ""
    platform: str = ""
    checksum: str = ""


def import_image(engine: Engine, request: ImportRequest, *, check: bool = False) -> Outcome:
    """Have the image that a tarball makes under a name. The facts are the image.

    Where the name is taken, the tarball is read first, and only unpacked if it makes another image; what comes from a
    server is unpacked at once instead, as it would have to be fetched twice.
    """
    from .._image.rootfs_source import is_url

    parse_target(engine, request.name)
    known = by_name(engine, request.name)
    before = {"exists": known is not None, "id": known.id if known else None}
    comes_once = is_url(request.source) and not check
    if known is None and not check or comes_once:
        record = _import(engine, request)
    else:
        image_id = archives.foresee(engine, request.source, **_options(request))
        if known is not None and known.id == image_id:
            return Outcome(False, (), before, before, inspect(engine, known))
        if check:
            return _outcome(request, before, image_id, inspect(engine, known) if known else None)
        record = _import(engine, request)
    return _outcome(request, before, record.id, inspect(engine, record))


def _options(request: ImportRequest) -> dict[str, Any]:
    return {
        "changes": request.changes,
        "message": request.message,
        "platform": request.platform,
        "checksum": request.checksum,
    }


def _import(engine: Engine, request: ImportRequest) -> Any:
    return archives.import_rootfs(engine, request.source, request.name, **_options(request))


def _outcome(request: ImportRequest, before: dict[str, Any], image_id: str, facts: dict[str, Any] | None) -> Outcome:
    changed = before["id"] != image_id
    reason = "another image" if before["exists"] else "not here"
    actions = (Action("imported_image", request.name, reason),) if changed else ()
    return Outcome(changed, actions, before, {"exists": True, "id": image_id}, facts)
