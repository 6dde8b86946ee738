# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images: found, pulled, loaded, imported, tagged, removed.

The transfer itself is `_image`'s. Here stands what is decided about it: which image a name means, whether anything has
to be done, what would be done in check mode.
"""

from __future__ import annotations

from .._base.digests import is_digest
from .._base.errors import Conflict, Invalid, NotFound
from .._base.names import is_id_prefix
from .._base.plan import Action, Outcome
from .._base.values import Value
from .._image.reference import parse_reference
from .image_facts import inspect_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from .._image.archives import Loaded
    from .._image.reference import Reference
    from .._store.database import Database
    from .._store.records import ImageRecord, TagRecord
    from .engine import Engine

    Progress = Callable[[str, str, int, int], None]

PULL_POLICIES = ("missing", "always", "never")


class ImageRequest(Value):
    """What the container_image module asks for. None or empty means not given."""

    name: str
    state: str = "present"
    source: str = ""  # pull, load, import, local
    force_source: bool = False
    force_absent: bool = False
    platform: str = ""
    load_path: str = ""
    import_path: str = ""
    changes: tuple[str, ...] = ()
    message: str = ""
    username: str = ""
    password: str = ""


def reference_of(engine: Engine, text: str) -> Reference:
    """The reference that a user's text means, with the configured default registry. Raises Invalid."""
    return parse_reference(text, default_domain=engine.settings().default_registry)


def familiar(text: str) -> str:
    """A canonical reference as people write it."""
    return parse_reference(text).familiar


def lookup(engine: Engine, text: str) -> ImageRecord | None:
    """The local image that a reference, an id or the beginning of an id means, or None.

    A digest in the reference decides; a name that could be both is a reference first. Raises Invalid, and Conflict
    where an id's beginning fits several images.
    """
    database = engine.database()
    if database is None:
        return None
    if is_digest(text):
        return database.image(text)
    record = _by_reference(engine, database, text)
    if record is None and is_id_prefix(text):
        matches = database.images_by_prefix(text)
        if len(matches) > 1:
            raise Conflict(f"image {text}: {len(matches)} images have ids that begin so", hint="give more digits")
        record = matches[0] if matches else None
    return record


def _by_reference(engine: Engine, database: Database, text: str) -> ImageRecord | None:
    try:
        reference = reference_of(engine, text)
    except Invalid:
        if is_id_prefix(text):
            return None
        raise
    tag = database.tag(reference.canonical)
    if tag is None and reference.digest:
        prefix = reference.name + ":"
        tag = next(
            (tag for tag in database.tags() if tag.digest == reference.digest and tag.reference.startswith(prefix)),
            None,
        )
    return database.image(tag.image_id) if tag else None


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
        config=_with_credentials(engine, username, password),
        progress=progress,
    )


def _with_credentials(engine: Engine, username: str, password: str) -> Any:
    settings = engine.settings()
    return settings.with_credentials(username, password) if username else settings


def newest_digest(engine: Engine, text: str, *, username: str = "", password: str = "") -> str:
    """The digest that the registry has under this reference now: one HEAD request, nothing is fetched."""
    from .._image.pull import head_digest

    return head_digest(reference_of(engine, text), config=_with_credentials(engine, username, password))


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
            raise NotFound(f"image {text}: no such image here", hint="an id can't be pulled; pull: never forbids it")
    elif record is None:
        fetch = "not here"
    elif platform and not _has_platform(record, platform):
        fetch = f"not for {platform}"
    elif policy == "always":
        database = engine.records
        tag = database.tag(reference_of(engine, text).canonical)
        digest = newest_digest(engine, text, username=username, password=password)
        if tag is None or tag.digest != digest:
            fetch = "the registry has another digest"
    return ImagePlan(record, fetch)


def _has_platform(record: ImageRecord, platform: str) -> bool:
    from .._image.platform import parse_platform
    from .image_facts import read_config

    wanted, config = parse_platform(platform), read_config(record)
    same_variant = not wanted.variant or not config.variant or wanted.variant == config.variant
    return (wanted.os, wanted.architecture) == (config.os, config.architecture) and same_variant


def load(engine: Engine, source: str | IO[bytes], *, progress: Progress | None = None) -> list[Any]:
    """Add the images of a docker-archive, an oci-archive or an OCI layout directory; what was named keeps its names."""
    from .._image.archives import load as load_archive

    return load_archive(engine.paths, engine.records, source, progress=progress)


def import_rootfs(
    engine: Engine,
    source: str | IO[bytes],
    text: str = "",
    *,
    changes: tuple[str, ...] = (),
    message: str = "",
    platform: str = "",
) -> ImageRecord:
    """Make an image of one layer from a root file system's tarball, plain or compressed."""
    from .._image.platform import parse_platform
    from .._image.rootfs import import_rootfs as import_tarball

    reference = reference_of(engine, text) if text else None
    return import_tarball(
        engine.paths,
        engine.records,
        source,
        reference,
        changes=changes,
        message=message,
        platform=parse_platform(platform) if platform else None,
    )


def tag(engine: Engine, source: str, target: str) -> bool:
    """Give an image one more name. Whether anything changed. A name that another image had moves."""
    record = find(engine, source)
    reference = reference_of(engine, target)
    if reference.digest:
        raise Invalid(f"{target}: a digest can't be given as a name")
    database = engine.records
    existing = database.tag(reference.canonical)
    if existing and existing.image_id == record.id:
        return False
    with database.transaction():
        database.put_tag(reference.canonical, record.id)
    return True


class Removal(Value):
    """What the removal of an image comes to: names that go, and whether the image goes with them."""

    record: ImageRecord
    names: tuple[str, ...]
    delete: bool

    def actions(self) -> list[Action]:
        untagged = [Action("untagged", familiar(name)) for name in self.names]
        return [*untagged, Action("deleted", self.record.id)] if self.delete else untagged


def plan_removal(engine: Engine, text: str, *, force: bool = False) -> Removal:
    """Decide what `remove` does. By id all names go, if it has one, or `force` is given.

    Raises NotFound, and Conflict where containers use the image; `force` then takes only the names.
    """
    record = find(engine, text)
    database = engine.records
    names = [tag.reference for tag in database.tags_of(record.id)]
    chosen = _names_to_remove(engine, text, names, force)
    users = database.containers_of_image(record.id)
    last = set(chosen) >= set(names)
    if users and last and not force:
        raise Conflict(
            f"remove image {text}: container {', '.join(user.name for user in users)} uses it",
            hint="remove those containers first",
        )
    return Removal(record, tuple(chosen), last and not users)


def remove(engine: Engine, text: str, *, force: bool = False) -> list[Action]:
    """Untag an image and, with its last name, delete it and the layers that nothing else needs. See `plan_removal`."""
    removal = plan_removal(engine, text, force=force)
    _remove_records(engine, engine.records, removal)
    return removal.actions()


def _names_to_remove(engine: Engine, text: str, names: list[str], force: bool) -> list[str]:
    by_id = is_digest(text) or (is_id_prefix(text) and reference_of(engine, text).canonical not in names)
    if not by_id:
        reference = reference_of(engine, text)
        exact = [name for name in names if name == reference.canonical]
        return exact or [name for name in names if name.startswith((reference.name + ":", reference.name + "@"))]
    if len({name for name in names if "@" not in name}) > 1 and not force:
        raise Conflict(f"remove image {text}: it has {len(names)} names", hint="remove them by name, or force it")
    return names


def _remove_records(engine: Engine, database: Database, removal: Removal) -> None:
    from .._store.garbage import empty_trash
    from .._store.layers import list_layers
    from .._store.removal import bury

    with database.transaction():
        for name in removal.names:
            database.delete_tag(name)
        if removal.delete:
            if database.containers_of_image(removal.record.id):
                raise Conflict(f"remove image {removal.record.id}: a container was made from it meanwhile")
            database.delete_image(removal.record.id)
            for layer in database.layers_unused():
                database.delete_layer(layer.diff_id)
            # also those of a pull that was killed before it could record them; one that runs now fetches them again
            for diff_id in list_layers(engine.paths):
                if database.layer(diff_id) is None:
                    bury(engine.paths, engine.paths.layer(diff_id))
    empty_trash(engine.paths)


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


def ensure(engine: Engine, request: ImageRequest, *, check: bool = False, progress: Progress | None = None) -> Outcome:
    """What the container_image module does. With `check` nothing is changed; the registry may be asked for a digest."""
    if request.state == "absent":
        return _ensure_absent(engine, request, check)
    return _ensure_present(engine, request, check, progress)


def _ensure_absent(engine: Engine, request: ImageRequest, check: bool) -> Outcome:
    record = lookup(engine, request.name)
    if record is None:
        return Outcome(False, before={"exists": False}, after={"exists": False})
    facts = inspect(engine, record)
    if check:
        actions = plan_removal(engine, request.name, force=request.force_absent).actions()
    else:
        actions = remove(engine, request.name, force=request.force_absent)
    before = {"exists": True, "id": record.id}
    return Outcome(True, tuple(actions), before, {"exists": False}, facts)


def _ensure_present(engine: Engine, request: ImageRequest, check: bool, progress: Progress | None) -> Outcome:
    _check_source(request)
    before_record = lookup(engine, request.name)
    verb, reason = _plan_source(engine, request, before_record)
    before = {"exists": before_record is not None, "id": before_record.id if before_record else None}
    if not verb or check:
        facts = inspect(engine, before_record) if before_record else None
        after = before if not verb else {"exists": True, "id": "unknown"}
        actions = (Action(verb, request.name, reason),) if verb else ()
        return Outcome(bool(verb), actions, before, after, facts)
    record = _fetch(engine, request, progress)
    after = {"exists": True, "id": record.id}
    changed = before != after
    actions = (Action(verb, request.name, reason),) if changed else ()
    return Outcome(changed, actions, before, after, inspect(engine, record))


def _check_source(request: ImageRequest) -> None:
    if request.source == "load" and not request.load_path:
        raise Invalid("needs load_path", option="source")
    if request.source == "import" and not request.import_path:
        raise Invalid("needs import_path", option="source")
    if request.source not in ("", "pull", "load", "import", "local"):
        raise Invalid(f"{request.source!r} is not known", option="source", hint="use pull, load, import or local")


def _plan_source(engine: Engine, request: ImageRequest, record: ImageRecord | None) -> tuple[str, str]:
    """The action that makes the image present and its reason; empty where nothing is to be done."""
    source = request.source or "pull"
    if source == "local":
        if record is None:
            raise NotFound(f"image {request.name}: no such image here", hint="source: local brings none")
        return "", ""
    verb = {"pull": "pulled_image", "load": "loaded_image", "import": "imported_image"}[source]
    if source == "pull":
        policy = "always" if request.force_source else "missing"
        plan = plan_pull(
            engine,
            request.name,
            policy,
            platform=request.platform,
            username=request.username,
            password=request.password,
        )
        return (verb, plan.fetch) if plan.fetch else ("", "")
    if record is None:
        return verb, "not here"
    return (verb, "force_source") if request.force_source else ("", "")


def _fetch(engine: Engine, request: ImageRequest, progress: Progress | None) -> ImageRecord:
    if request.source == "load":
        return _load_one(engine, request, progress)
    if request.source == "import":
        return import_rootfs(
            engine,
            request.import_path,
            request.name,
            changes=request.changes,
            message=request.message,
            platform=request.platform,
        )
    return pull(
        engine,
        request.name,
        platform=request.platform,
        progress=progress,
        username=request.username,
        password=request.password,
    )


def _load_one(engine: Engine, request: ImageRequest, progress: Progress | None) -> ImageRecord:
    """Load an archive that has the image by its name, or one image under whatever name: that one gets the name."""
    from .._image.archives import load as load_archive

    wanted = reference_of(engine, request.name).canonical

    def accept(loaded: list[Loaded]) -> None:
        names = sorted(name for item in loaded for name in item.references)
        if wanted not in names and len({item.image_id for item in loaded}) != 1:
            held = ", ".join(familiar(name) for name in names) or "images without names"
            raise NotFound(f"image {request.name}: not in {request.load_path}", hint=f"it holds {held}")

    loaded = load_archive(engine.paths, engine.records, request.load_path, progress=progress, accept=accept)
    if not any(wanted in item.references for item in loaded):
        tag(engine, loaded[0].image_id, request.name)
    return find(engine, request.name)
