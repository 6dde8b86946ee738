# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where an image comes from for a task: a registry, an archive, a tarball, or nowhere.

Each source can be asked which image it would bring, and brings it.
"""

from __future__ import annotations

from .._base.digests import is_digest
from .._base.errors import NotFound, Unsupported
from .._base.values import Value
from . import images
from .image_facts import read_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._image.archives import Loaded
    from .._store.records import ImageRecord
    from .engine import Engine
    from .images import Coming, Progress

SOURCES = ("build", "load", "pull", "import", "local")


class ImageRequest(Value):
    """What the container_image module asks for. None or empty means not given."""

    name: str
    state: str = "present"  # present, verified, absent
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


def plan_source(engine: Engine, request: ImageRequest, record: ImageRecord | None) -> tuple[str, str]:
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


def foresee(engine: Engine, request: ImageRequest) -> Coming:
    """What `fetch` would bring: registry, archive or tarball are asked, nothing is stored."""
    if request.source == "load":
        from .._image.archives import look
        from .._image.policy import check_local

        check_local(engine.paths, request.load_path)
        return images.Coming(_meant(engine, request, look(request.load_path).images))
    if request.source == "import":
        from .archives import foresee as foresee_import

        return images.Coming(foresee_import(engine, request.import_path, **_import_options(request)))
    return images.foresee(
        engine,
        request.name,
        platform=request.platform,
        username=request.username,
        password=request.password,
    )


def _import_options(request: ImageRequest) -> dict[str, Any]:
    return {"changes": request.changes, "message": request.message, "platform": request.platform}


def fetch(engine: Engine, request: ImageRequest, progress: Progress | None = None) -> ImageRecord:
    """Bring the image, whatever is here, and give it its name."""
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


def mend(engine: Engine, request: ImageRequest) -> None:
    """Bring the image that is here once more, the same one: what of it is damaged is replaced on the way.

    From a registry it comes by digest, since the name may mean another image there by now.
    """
    tag = images.tag_of(engine, request.name)
    if request.source not in ("", "pull") or tag is None or not tag.digest:
        fetch(engine, request)
        return
    database = engine.records
    exact = f"{images.repository_of(tag.reference)}@{tag.digest}"
    was_known = database.tag(exact) is not None
    config = read_config(images.find(engine, request.name))
    platform = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    images.pull(engine, exact, platform=platform, username=request.username, password=request.password)
    if not was_known:
        with database.transaction():
            database.delete_tag(exact)


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
