# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images given to registries: which local images a name means, and what the container_image_push module does.

The transfer itself is `_image/push.py`'s.
"""

from __future__ import annotations

from .._base.errors import Invalid, NotFound
from .._base.plan import Action, Outcome
from .._base.values import Value
from . import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._image.push import Pushed
    from .._store.records import ImageRecord
    from .engine import Engine
    from .images import Progress


class PushRequest(Value):
    """What is to be pushed. Empty means not given.

    `index` are local images, by name or id, one per platform: then they are pushed as one index under `name`, which no
    image here needs to have. `platform` is what the image has to be for; it replaces an index that has others too.
    """

    name: str
    index: tuple[str, ...] = ()
    platform: str = ""
    username: str = ""
    password: str = ""


def push(engine: Engine, request: PushRequest, *, check: bool = False, progress: Progress | None = None) -> Pushed:
    """Give the registry what the request means. With `check` it is only asked what it has.

    Raises NotFound, Invalid and what the registry refuses.
    """
    from .._image.push import push as push_image
    from .._image.push import push_index, require_tag

    reference = images.reference_of(engine, request.name)
    require_tag(reference)
    settings = engine.settings()
    config = settings.with_credentials(request.username, request.password) if request.username else settings
    if request.index:
        if request.platform:
            raise Invalid("does not go with index", option="platform", hint="an index has all of its images' platforms")
        records = [images.find(engine, name) for name in request.index]
        return push_index(
            engine.paths, engine.records, reference, records, config=config, check=check, progress=progress
        )
    record = named(engine, request.name)
    if request.platform and not images.has_platform(record, request.platform):
        raise NotFound(
            f"image {request.name}: it is not for {request.platform}",
            hint=f"pull it for that platform first: hull pull --platform {request.platform} NAME",
        )
    alone = bool(request.platform)
    return push_image(
        engine.paths, engine.records, reference, record, config=config, check=check, alone=alone, progress=progress
    )


def named(engine: Engine, name: str) -> ImageRecord:
    """The local image that has exactly this name. Raises NotFound: an id says not where to push to."""
    tag = images.tag_of(engine, name)
    record = engine.records.image(tag.image_id) if tag else None
    if record is None:
        raise NotFound(
            f"image {name}: no image here has this name",
            hint=f"give it to the image that is to be pushed: hull tag IMAGE {name}",
        )
    return record


def local_names(engine: Engine, repository: str) -> list[str]:
    """The names with a tag that images here have in a repository. Raises NotFound where there is none."""
    name = images.reference_of(engine, repository).name
    found = [tag.reference for tag in engine.records.tags() if tag.reference.startswith(name + ":")]
    if not found:
        raise NotFound(f"repository {repository}: no image here has a name in it", hint="see hull images")
    return found


def ensure_pushed(engine: Engine, request: PushRequest, *, check: bool = False) -> Outcome:
    """What the container_image_push module does: the registry has the image, or the index, under the name.

    `after["digest"]` is None in check mode where it takes the push to know it.
    """
    pushed = push(engine, request, check=check)
    before, after = {"digest": pushed.before or None}, {"digest": pushed.digest or None}
    reason = "the registry has another digest" if pushed.before else "not in the registry"
    actions = (Action("pushed_image", images.reference_of(engine, request.name).familiar, reason),)
    return Outcome(
        pushed.changed,
        actions if pushed.changed else (),
        before,
        after,
        {} if request.index else images.inspect(engine, named(engine, request.name)),
        pushed.warnings,
    )
