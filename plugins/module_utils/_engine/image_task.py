# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container_image module does: an image present, from where the task says, or absent.

Present is up to four steps, in docker_image's order: the image from its source, its archive, its other name, its push.
Each says what it finds, what it changes and what is so afterwards, in check mode too: there the registry is asked which
image a pull would bring, and nothing is changed.
"""

from __future__ import annotations

from .._base.digests import is_digest
from .._base.errors import HullError, Invalid, NotFound, Unsupported
from .._base.plan import Action, Outcome
from .._base.values import Value
from . import images
from .image_facts import inspect_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._image.archives import Loaded
    from .._store.records import ImageRecord
    from .engine import Engine
    from .images import Progress

SOURCES = ("build", "load", "pull", "import", "local")


class ImageRequest(Value):
    """What the container_image module asks for. None or empty means not given."""

    name: str
    state: str = "present"
    source: str = ""  # one of SOURCES
    force_source: bool = False
    force_absent: bool = False
    force_tag: bool = False
    platform: str = ""
    load_path: str = ""
    import_path: str = ""
    changes: tuple[str, ...] = ()
    message: str = ""
    username: str = ""
    password: str = ""
    repository: str = ""
    push: bool = False
    archive_path: str = ""


class _Step(Value):
    """What one step found, did (in check mode: would do), and what is so afterwards, for the diff."""

    actions: tuple[Action, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


def ensure(engine: Engine, request: ImageRequest, *, check: bool = False, progress: Progress | None = None) -> Outcome:
    """Do what a task asks for. With `check` nothing is changed; the registry may be asked for a digest."""
    if request.state == "absent":
        return ensure_absent(engine, request.name, force=request.force_absent, check=check)
    _check_request(engine, request)
    steps = [_bring(engine, request, check, progress)]
    image_id = steps[0].after["id"]
    if request.archive_path:
        steps.append(_archive(engine, request, image_id, check))
    if request.repository:
        steps.append(_name(engine, request, image_id, check))
    record = images.lookup(engine, request.name)
    return Outcome(
        any(step.before != step.after for step in steps),
        tuple(action for step in steps for action in step.actions),
        _merged([step.before for step in steps]),
        _merged([step.after for step in steps]),
        images.inspect(engine, record) if record else None,
    )


def _merged(facts: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for step in facts for name, value in step.items()}


def ensure_absent(engine: Engine, name: str, *, force: bool = False, check: bool = False) -> Outcome:
    """Remove an image or one of its names; see `image_removal.plan_removal`. The facts are those of before.

    The image's actions are `untagged`, once for each name and digest that goes, and `deleted`.
    """
    from .image_removal import plan_removal, remove

    record = images.lookup(engine, name)
    if record is None:
        return Outcome(False, before={"exists": False}, after={"exists": False})
    facts, tags = images.inspect(engine, record), engine.records.tags_of(record.id)
    removal = (plan_removal if check else remove)(engine, name, force=force)
    left = [tag for tag in tags if tag.reference not in removal.names]
    after = {"exists": False} if removal.delete else _named(inspect_image(engine.paths, record, left, images.familiar))
    return Outcome(True, tuple(removal.actions()), _named(facts), after, facts)


def _named(facts: dict[str, Any]) -> dict[str, Any]:
    """An image as the diff shows it where its names are what changes."""
    return {"exists": True, "id": facts["Id"], "tags": facts["RepoTags"], "digests": facts["RepoDigests"]}


def ensure_tagged(
    engine: Engine, name: str, targets: tuple[str, ...], *, keep: bool = False, check: bool = False
) -> Outcome:
    """Give an image these names too. With `keep` a name that another image has stays where it is."""
    record = images.find(engine, name)
    for target in targets:
        images.parse_target(engine, target)
    actions, before, after = [], [], []
    for target in targets:
        existing = images.lookup(engine, target)
        before.append(_target(target, existing))
        if existing and (existing.id == record.id or keep):
            after.append(before[-1])
            continue
        after.append(_target(target, record))
        actions.append(Action("tagged", target, "another image had the name" if existing else "not here"))
        if not check:
            images.tag(engine, name, target)
    return Outcome(bool(actions), tuple(actions), {"images": before}, {"images": after}, images.inspect(engine, record))


def _target(name: str, record: ImageRecord | None) -> dict[str, Any]:
    return {"name": name, "id": record.id} if record else {"name": name, "exists": False}


def _check_request(engine: Engine, request: ImageRequest) -> None:
    """Refuse what can't be done before anything is."""
    source = request.source
    if source and source not in SOURCES:
        raise Invalid(f"{source!r} is not known", option="source", hint=f"use {', '.join(SOURCES)}")
    for option, value in (("load", request.load_path), ("import", request.import_path)):
        if source == option and not value:
            raise Invalid(f"{option} needs {option}_path", option="source")
    if source == "import" and is_digest(request.name):
        raise Invalid(f"{request.name} is an id, which can't be chosen", option="name", hint="give a name")
    if request.repository:
        images.parse_target(engine, request.repository)


def _bring(engine: Engine, request: ImageRequest, check: bool, progress: Progress | None) -> _Step:
    """The image from its source, where it is not there or `force_source` asks for it."""
    record = images.lookup(engine, request.name)
    before = _state(engine, request.name, record)
    verb, reason = _plan_source(engine, request, record)
    if not verb:
        return _Step((), before, before)
    after = _foreseen(engine, request) if check else _state(engine, request.name, _fetch(engine, request, progress))
    return _Step((Action(verb, request.name, reason),) if before != after else (), before, after)


def _state(engine: Engine, name: str, record: ImageRecord | None) -> dict[str, Any]:
    """An image as the diff shows it: its id, and the digest that its registry had under the name."""
    if record is None:
        return {"exists": False, "id": None}
    tag = images.tag_of(engine, name)
    return {"exists": True, "id": record.id, **({"digest": tag.digest} if tag and tag.digest else {})}


def _plan_source(engine: Engine, request: ImageRequest, record: ImageRecord | None) -> tuple[str, str]:
    """The action that makes the image present and its reason; empty where nothing is to be done."""
    source = request.source or "pull"
    if source == "local":
        if record is None:
            raise NotFound(f"image {request.name}: no such image here", hint="source: local brings none")
        return "", ""
    if source == "build":
        if record is None or request.force_source:
            raise Unsupported(
                f"build image {request.name}: this engine does not build images",
                hint="build it elsewhere and let source be pull, or load with load_path, or import with import_path",
            )
        return "", ""
    if source == "pull":
        plan = images.plan_pull(
            engine,
            request.name,
            "always" if request.force_source else "missing",
            platform=request.platform,
            username=request.username,
            password=request.password,
        )
        return ("pulled_image", plan.fetch) if plan.fetch else ("", "")
    if record is not None and not request.force_source:
        return "", ""
    verb = {"load": "loaded_image", "import": "imported_image"}[source]
    return verb, "force_source" if record else "not here"


def _foreseen(engine: Engine, request: ImageRequest) -> dict[str, Any]:
    """The state after `_fetch`, without doing it: registry, archive or tarball are asked, nothing is stored."""
    if request.source == "load":
        from .._image.archives import look

        return {"exists": True, "id": _meant(engine, request, look(request.load_path).images)}
    if request.source == "import":
        from .archives import foresee

        return {"exists": True, "id": foresee(engine, request.import_path, **_import_options(request))}
    coming = images.foresee(
        engine,
        request.name,
        platform=request.platform,
        username=request.username,
        password=request.password,
    )
    return {"exists": True, "id": coming.image_id, "digest": coming.digest}


def _import_options(request: ImageRequest) -> dict[str, Any]:
    return {"changes": request.changes, "message": request.message, "platform": request.platform}


def _fetch(engine: Engine, request: ImageRequest, progress: Progress | None) -> ImageRecord:
    if request.source == "load":
        return _load(engine, request, progress)
    if request.source == "import":
        from .archives import import_rootfs

        return import_rootfs(engine, request.import_path, request.name, **_import_options(request))
    return images.pull(
        engine,
        request.name,
        platform=request.platform,
        progress=progress,
        username=request.username,
        password=request.password,
    )


def _load(engine: Engine, request: ImageRequest, progress: Progress | None) -> ImageRecord:
    """Load an archive. Of all that it holds, the image that is meant gets the name, if the archive gives it another."""
    from .archives import load

    meant = ""

    def accept(loaded: list[Loaded]) -> None:
        nonlocal meant
        meant = _meant(engine, request, loaded)

    load(engine, request.load_path, progress=progress, accept=accept)
    if not is_digest(request.name):
        images.tag(engine, meant, request.name)
    return images.find(engine, request.name)


def _meant(engine: Engine, request: ImageRequest, loaded: Sequence[Loaded]) -> str:
    """The id of an archive's image with the name or id that the task says, else of its only one. Raises NotFound."""
    ids = {item.image_id for item in loaded}
    if is_digest(request.name):
        if request.name in ids:
            return request.name
        raise NotFound(f"image {request.name}: not in {request.load_path}", hint=f"it holds {', '.join(sorted(ids))}")
    wanted = images.reference_of(engine, request.name).canonical
    named = {name: item.image_id for item in loaded for name in item.references}
    if wanted in named:
        return named[wanted]
    if len(ids) == 1:
        return ids.pop()
    held = ", ".join(map(images.familiar, sorted(named))) or "images without names"
    raise NotFound(f"image {request.name}: not in {request.load_path}", hint=f"it holds {held}")


def _archive(engine: Engine, request: ImageRequest, image_id: str, check: bool) -> _Step:
    """The image as a file. One that holds just this image under this name stays as it is."""
    from .archives import save

    path, name = request.archive_path, request.name
    canonical = "" if is_digest(name) else images.reference_of(engine, name).canonical
    wanted = {image_id: [] if not canonical or "@" in canonical else [canonical]}
    there = _held(path)
    before = {"archive": {"path": path, "images": sorted(there) if there is not None else None}}
    if there == wanted:
        return _Step((), before, before)
    if not check:
        save(engine, [canonical or name], path)
    after = {"archive": {"path": path, "images": [image_id]}}
    return _Step((Action("archived", path, "not there" if there is None else "another image"),), before, after)


def _held(path: str) -> dict[str, list[str]] | None:
    """The names in a docker-archive by their images' ids; None where there is none."""
    from .._image.archives import look

    try:
        content = look(path)
    except HullError:
        return None
    return {item.image_id: list(item.references) for item in content.images} if content.is_docker else None


def _name(engine: Engine, request: ImageRequest, image_id: str, check: bool) -> _Step:
    """The image's other name. One that another image has moves only with `force_tag`, as docker_image has it."""
    existing = images.lookup(engine, request.repository)
    before = {"repository": _target(request.repository, existing)}
    if existing and (existing.id == image_id or not request.force_tag):
        return _Step((), before, before)
    if not check:
        images.tag(engine, request.name, request.repository)
    after = {"repository": {"name": request.repository, "id": image_id}}
    return _Step((Action("tagged", request.repository, "force_tag" if existing else "not here"),), before, after)
