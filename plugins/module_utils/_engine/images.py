# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images: found, inspected, pulled, tagged.

The transfer itself is `_image`'s. Here stands what is decided about it: which image a name means, and whether anything
has to be fetched. What the container_image module does is `image_task.py`, how images go is `image_removal.py`.
"""

from __future__ import annotations

from .._base.digests import HEX_LENGTHS, is_digest
from .._base.errors import Conflict, Invalid, NotFound
from .._base.names import is_id_prefix
from .._base.values import Value
from .._image.reference import parse_reference
from .image_facts import inspect_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._image.reference import Reference
    from .._image.settings import RegistrySettings
    from .._store.database import Database
    from .._store.records import ImageRecord, TagRecord
    from .engine import Engine

    Progress = Callable[[str, str, int, int], None]

PULL_POLICIES = ("missing", "always", "never")
_ID_ALGORITHM = "sha256:"


def reference_of(engine: Engine, text: str) -> Reference:
    """The reference that a user's text means, with the configured short names and default registry. Raises Invalid."""
    return engine.settings().reference(text)


def familiar(text: str) -> str:
    """A canonical reference as people write it."""
    return parse_reference(text).familiar


def repository_of(reference: str) -> str:
    """What is before the tag or the digest of a canonical reference, or of one as `familiar` writes it."""
    name, by_digest, _ = reference.partition("@")
    return name if by_digest else name.rpartition(":")[0]


def id_prefix_of(engine: Engine, text: str) -> str:
    """The hex digits of a text that may be an image's id or the beginning of one, else an empty text.

    `sha256:` may stand before them. Fewer than the engine's `shortest_id` are a name alone.
    """
    digits = text[len(_ID_ALGORITHM) :] if text.startswith(_ID_ALGORITHM) else text
    return digits if len(digits) >= engine.shortest_id and is_id_prefix(digits) else ""


def lookup(engine: Engine, text: str) -> ImageRecord | None:
    """The local image that a reference, an id or the beginning of an id means, or None.

    What has fewer digits than the engine's `shortest_id` is a name alone, and one that could be both is a reference
    first. A digest in the reference decides, and the repository must be the one that it came from: `app@sha256:...` is
    not what another repository gave under the same digest. Raises Invalid, and Conflict where an id's beginning fits
    several images.
    """
    database = engine.database()
    if database is None:
        return None
    if is_digest(text):
        return database.image(text)
    tag = _tag_of(engine, database, text)
    if tag is not None:
        return database.image(tag.image_id)
    digits = id_prefix_of(engine, text)
    matches = database.images_by_prefix(digits) if digits else []
    if len(matches) > 1:
        raise Conflict(f"image {text}: {len(matches)} images have ids that begin so", hint="give more digits")
    return matches[0] if matches else None


def by_name(engine: Engine, name: str) -> ImageRecord | None:
    """The image that has exactly this name, or None: what is to be given as a name is never an id."""
    database = engine.database()
    if database is None:
        return None
    tag = database.tag(reference_of(engine, name).canonical)
    return database.image(tag.image_id) if tag is not None else None


def tag_of(engine: Engine, text: str) -> TagRecord | None:
    """The record of the name by which a reference finds its image, with the registry's digest; None for an id."""
    database = engine.database()
    return None if database is None or is_digest(text) else _tag_of(engine, database, text)


def _tag_of(engine: Engine, database: Database, text: str) -> TagRecord | None:
    try:
        reference = reference_of(engine, text)
    except Invalid:
        if id_prefix_of(engine, text):
            return None
        raise
    tag = database.tag(reference.canonical)
    if tag is not None or not reference.digest:
        return tag
    same = (tag for tag in database.tags() if tag.digest == reference.digest)
    return next((tag for tag in same if repository_of(tag.reference) == reference.name), None)


def find(engine: Engine, text: str) -> ImageRecord:
    """As `lookup`, but raises NotFound where there is no such image."""
    record = lookup(engine, text)
    if record is None:
        raise NotFound(f"image {text}: no such image here", hint="pull, load or import it first")
    return record


def list_images(engine: Engine) -> list[tuple[ImageRecord, list[TagRecord]]]:
    """All images, newest first, each with the references that name it."""
    database = engine.database()
    return [(record, database.tags_of(record.id)) for record in database.images()] if database else []


def inspect(engine: Engine, record: ImageRecord) -> dict[str, Any]:
    """The image in the shape of `docker image inspect`."""
    database = engine.database()
    return inspect_image(engine.paths, record, database.tags_of(record.id) if database else [], familiar)


def pull(
    engine: Engine,
    text: str,
    *,
    platform: str = "",
    progress: Progress | None = None,
    username: str = "",
    password: str = "",
) -> ImageRecord:
    """Bring the image that the registry has under this reference, whole or not at all; layers here are kept."""
    from .._image.platform import parse_platform
    from .._image.pull import pull as pull_image

    reference = reference_of(engine, text)
    wanted = parse_platform(platform) if platform else None
    return pull_image(
        engine.paths,
        engine.records,
        reference,
        wanted,
        config=registry_settings(engine, username, password),
        progress=progress,
    )


def registry_settings(engine: Engine, username: str, password: str) -> RegistrySettings:
    """The registries' configuration, with a task's credentials where there are any."""
    settings = engine.settings()
    return settings.with_credentials(username, password) if username else settings


def remote_tags(engine: Engine, reference: Reference) -> list[str]:
    """The tags that the registry has of a reference's repository."""
    from .._image.registry import open_registry

    with open_registry(reference, engine.settings()) as registry:
        return list(registry.tags(reference.path))


def newest_digest(engine: Engine, text: str, *, platform: str = "", username: str = "", password: str = "") -> str:
    """The digest that the registry has under this reference now: one HEAD request, nothing is fetched.

    Where the policy wants a signature, that of the image for the platform is verified.
    """
    from .._image.platform import parse_platform
    from .._image.pull import head_digest

    return head_digest(
        reference_of(engine, text),
        config=registry_settings(engine, username, password),
        platform=parse_platform(platform) if platform else None,
    )


class Coming(Value):
    """What a pull would bring: the image's id, and the digest that the registry has under the reference."""

    image_id: str
    digest: str = ""


def foresee(engine: Engine, text: str, *, platform: str = "", username: str = "", password: str = "") -> Coming:
    """Ask the registry which image `pull` would bring. Its manifest and configuration are read, nothing is stored."""
    from .._image.platform import parse_platform
    from .._image.pull import resolve

    resolved = resolve(
        reference_of(engine, text),
        parse_platform(platform) if platform else None,
        config=registry_settings(engine, username, password),
    )
    return Coming(resolved.config.digest, resolved.digest)


class ImagePlan(Value):
    """Which image a name means now, and whether it has to be fetched, and why."""

    record: ImageRecord | None
    fetch: str = ""  # the reason, empty: nothing to fetch


def plan_pull(
    engine: Engine, text: str, policy: str, *, platform: str = "", username: str = "", password: str = ""
) -> ImagePlan:
    """Decide whether `text` has to be pulled. Policy `always` asks the registry for its digest.

    Raises NotFound where policy `never` finds nothing, Invalid for an id that is not here.
    """
    record = lookup(engine, text)
    fetch = ""
    if policy == "never" or is_digest(text):
        if record is None:
            hint = "an id can't be pulled; give a name" if is_digest(text) else "pull it, or leave out pull: never"
            raise NotFound(f"image {text}: no such image here", hint=hint)
    elif record is None:
        fetch = "not here"
    elif platform and not has_platform(record, platform):
        fetch = f"not for {platform}"
    elif policy == "always":
        tag = tag_of(engine, text)
        newest = newest_digest(engine, text, platform=platform, username=username, password=password)
        if tag is None or tag.digest != newest:
            fetch = "the registry has another digest"
    return ImagePlan(record, fetch)


def has_platform(record: ImageRecord, platform: str) -> bool:
    """Whether an image is for a platform such as `linux/arm64`; a variant counts where both name one."""
    from .image_facts import is_for, read_config

    return is_for(read_config(record), platform)


def tag(engine: Engine, source: str, target: str) -> bool:
    """Give an image one more name. Whether anything changed. A name that another image had moves.

    Within one repository the registry's digest goes along: the registry has it there.
    """
    record = find(engine, source)
    reference = parse_target(engine, target)
    database = engine.records
    existing = database.tag(reference.canonical)
    if existing and existing.image_id == record.id:
        return False
    known = tag_of(engine, source)
    digest = known.digest if known and repository_of(known.reference) == reference.name else ""
    with database.transaction():
        database.put_tag(reference.canonical, record.id, digest)
    return True


def parse_target(engine: Engine, text: str) -> Reference:
    """The reference that is to name an image. Raises Invalid for an id and for a digest, which can't be given."""
    if text.partition(":")[0] in HEX_LENGTHS:  # a repository called sha256 would read like the beginning of an id
        raise Invalid(f"{text}: an id can't be given as a name", hint="give a name such as app:1.4")
    reference = reference_of(engine, text)
    if reference.digest:
        raise Invalid(f"{text}: a digest can't be given as a name", hint="leave it out")
    return reference


def provide(
    engine: Engine, text: str, *, policy: str = "missing", platform: str = "", progress: Progress | None = None
) -> tuple[ImageRecord, bool]:
    """The image that `text` means, pulled first if the policy asks for it; whether it was pulled."""
    plan = plan_pull(engine, text, policy, platform=platform)
    if plan.fetch:
        record = pull(engine, text, platform=platform, progress=progress)
        return record, plan.record is None or plan.record.id != record.id
    assert plan.record is not None
    return plan.record, False
