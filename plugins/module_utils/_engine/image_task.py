# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the container_image module does: an image present, from where the task says, or absent.

Present is a few steps, in docker_image's order: the image from its source, its archive, its other name, its push. Each
says what it finds, what it changes and what is so afterwards, in check mode too: there the source is asked which image
it would bring, and nothing is changed.
"""

from __future__ import annotations

from .._base.digests import is_digest
from .._base.errors import HullError, Invalid
from .._base.plan import Action, Outcome
from .._base.values import Value
from . import images
from .image_facts import inspect_image
from .image_source import SOURCES, fetch, foresee, mend, plan_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._image.reference import Reference
    from .._store.records import ImageRecord
    from .engine import Engine
    from .image_source import ImageRequest
    from .images import Progress


class _Step(Value):
    """What one step found, did (in check mode: would do), and what is so afterwards, for the diff."""

    actions: tuple[Action, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()


def ensure(engine: Engine, request: ImageRequest, *, check: bool = False, progress: Progress | None = None) -> Outcome:
    """Do what a task asks for. With `check` nothing is changed; the registry may be asked for a digest."""
    if request.state == "absent":
        return ensure_absent(engine, request.name, force=request.force_absent, check=check)
    _check_request(engine, request)
    steps = [_bring(engine, request, check, progress)]
    image_id = steps[0].after["id"]
    if request.state == "verified":
        steps.append(_verify(engine, request, check))
    if request.archive_path:
        steps.append(_archive(engine, request, image_id, check))
    if request.repository:
        steps.append(_name(engine, request, image_id, check))
    if request.push:
        steps.append(_push(engine, request, image_id, check, progress))
    record = _here(engine, request)
    return Outcome(
        any(step.actions for step in steps),
        tuple(action for step in steps for action in step.actions),
        {name: value for step in steps for name, value in step.before.items()},
        {name: value for step in steps for name, value in step.after.items()},
        images.inspect(engine, record) if record else None,
        tuple(warning for step in steps for warning in step.warnings),
    )


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
        existing = _named_by(engine, target)
        before.append(_target(target, existing))
        if existing and (existing == record.id or keep):
            after.append(before[-1])
            continue
        after.append(_target(target, record.id))
        actions.append(Action("tagged", target, "another image had the name" if existing else "not here"))
        if not check:
            images.tag(engine, name, target)
    return Outcome(bool(actions), tuple(actions), {"images": before}, {"images": after}, images.inspect(engine, record))


def _named_by(engine: Engine, name: str) -> str:
    """The id of the image that has exactly this name, or empty."""
    record = images.by_name(engine, name)
    return record.id if record else ""


def _target(name: str, image_id: str) -> dict[str, Any]:
    return {"name": name, "id": image_id} if image_id else {"name": name, "exists": False}


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
    if request.push:
        _push_reference(engine, request)


def _here(engine: Engine, request: ImageRequest) -> ImageRecord | None:
    """The image that a task means. What load and import bring gets the name, which is never an id then."""
    gets_name = request.source in ("load", "import") and not is_digest(request.name)
    return (images.by_name if gets_name else images.lookup)(engine, request.name)


def _bring(engine: Engine, request: ImageRequest, check: bool, progress: Progress | None) -> _Step:
    """The image from its source, where it is not there or `force_source` asks for it."""
    record = _here(engine, request)
    before = _state(engine, request.name, record)
    verb, reason = plan_source(engine, request, record)
    if not verb:
        return _Step((), before, before)
    if check:
        coming = foresee(engine, request)
        known = before.get("digest", "") if before["id"] == coming.image_id else ""
        after = _facts(coming.image_id, coming.digest or known)
    else:
        after = _state(engine, request.name, fetch(engine, request, progress))
    return _Step((Action(verb, request.name, reason),) if before != after else (), before, after)


def _state(engine: Engine, name: str, record: ImageRecord | None) -> dict[str, Any]:
    """An image as the diff shows it: its id, and the digest that its registry had under the name."""
    if record is None:
        return {"exists": False, "id": None}
    tag = images.tag_of(engine, name)
    return _facts(record.id, tag.digest if tag else "")


def _facts(image_id: str, digest: str) -> dict[str, Any]:
    return {"exists": True, "id": image_id, **({"digest": digest} if digest else {})}


def _verify(engine: Engine, request: ImageRequest, check: bool) -> _Step:
    """Every byte of the image, and what is damaged replaced from its source."""
    from .verification import ensure_verified

    if images.lookup(engine, request.name) is None:
        return _Step()  # check mode: what is brought is whole
    can_mend = request.source not in ("local", "build")
    repair = (lambda: mend(engine, request)) if can_mend else None
    done = ensure_verified(engine, request.name, check=check, repair=repair)
    return _Step(done.actions, {"verified": done.before["verified"]}, {"verified": True})


def _archive(engine: Engine, request: ImageRequest, image_id: str, check: bool) -> _Step:
    """The image as a file. One that holds just this image under this name stays as it is."""
    from .._image.save import DOCKER_ARCHIVE, check_target
    from .archives import save

    path, name = request.archive_path, request.name
    canonical = "" if is_digest(name) else images.reference_of(engine, name).canonical
    wanted = {image_id: [] if not canonical or "@" in canonical else [canonical]}
    there = _held(path)
    before = {"archive": {"path": path, "images": sorted(there) if there is not None else None}}
    if there == wanted:
        return _Step((), before, before)
    if check:
        check_target(path, DOCKER_ARCHIVE)
    else:
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
    existing = _named_by(engine, request.repository)
    before = {"repository": _target(request.repository, existing)}
    if existing and (existing == image_id or not request.force_tag):
        return _Step((), before, before)
    if not check:
        images.tag(engine, request.name, request.repository)
    after = {"repository": _target(request.repository, image_id)}
    return _Step((Action("tagged", request.repository, "force_tag" if existing else "not here"),), before, after)


def _push_reference(engine: Engine, request: ImageRequest) -> Reference:
    """Where to push. Raises Invalid for what is no name with a tag."""
    from .._image.push import require_tag

    if is_digest(request.repository or request.name):
        raise Invalid(
            f"{request.name} is an id, which does not say where to push", option="push", hint="give repository"
        )
    reference = images.reference_of(engine, request.repository or request.name)
    require_tag(reference)
    return reference


def _push(engine: Engine, request: ImageRequest, image_id: str, check: bool, progress: Progress | None) -> _Step:
    """The image in the registry, under its other name if it has one."""
    from .._image.push import push

    reference = _push_reference(engine, request)
    record = images.lookup(engine, image_id)
    if record is None:  # check mode: what would be brought can't be compared yet
        return _Step((Action("pushed_image", reference.familiar, "not here yet"),))
    done = push(
        engine.paths,
        engine.records,
        reference,
        record,
        config=images.registry_settings(engine, *_push_credentials(engine, request, reference)),
        check=check,
        progress=progress,
    )
    before = {"pushed": {"name": reference.familiar, "digest": done.before or None}}
    if not done.changed:
        return _Step((), before, before, done.warnings)
    after = {"pushed": {"name": reference.familiar, "digest": done.digest or None}}
    reason = "the registry has another digest" if done.before else "not in the registry"
    return _Step((Action("pushed_image", reference.familiar, reason),), before, after, done.warnings)


def _push_credentials(engine: Engine, request: ImageRequest, reference: Reference) -> tuple[str, str]:
    """The task's, unless they are those of the registry that the image is pulled from, and this is another."""
    pulls = (request.source or "pull") == "pull"
    if pulls and images.reference_of(engine, request.name).domain != reference.domain:
        return "", ""
    return request.username, request.password
