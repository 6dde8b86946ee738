# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images and files: archives loaded and saved, root file systems imported.

Reading and writing is `_image`'s. Here stands which images a text means, and what has to be done for a task.
"""

from __future__ import annotations

from .._base.digests import is_digest
from .._base.errors import Invalid
from .images import find, parse_target, reference_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from .._image.archive_contents import SavedImage
    from .._image.archives import Loaded
    from .._store.records import ImageRecord
    from .engine import Engine

    Progress = Callable[[str, str, int, int], None]


def load(
    engine: Engine,
    source: str | IO[bytes],
    *,
    progress: Progress | None = None,
    accept: Callable[[list[Loaded]], None] | None = None,
) -> list[Loaded]:
    """Add the images of a docker-archive, an oci-archive or an OCI layout directory; what was named keeps its names."""
    from .._image.archives import load as load_archive

    keep_blobs = engine.settings().keep_blobs
    return load_archive(engine.paths, engine.records, source, progress=progress, accept=accept, keep_blobs=keep_blobs)


def import_rootfs(
    engine: Engine,
    source: str | IO[bytes],
    text: str = "",
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str = "",
    checksum: str = "",
) -> ImageRecord:
    """Make an image of one layer from a root file system's tarball: a path, a URL or a stream."""
    from .._image.platform import parse_platform
    from .._image.rootfs import import_rootfs as import_tarball

    return import_tarball(
        engine.paths,
        engine.records,
        source,
        parse_target(engine, text) if text else None,
        changes=changes,
        message=message,
        platform=parse_platform(platform) if platform else None,
        checksum=checksum,
    )


def foresee(
    engine: Engine,
    source: str | IO[bytes],
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str = "",
    checksum: str = "",
) -> str:
    """The id of the image that `import_rootfs` would make; the tarball is read and nothing is stored."""
    from .._image.platform import parse_platform
    from .._image.rootfs import ImportOptions
    from .._image.rootfs import foresee as foresee_image

    wanted = parse_platform(platform) if platform else None
    return foresee_image(engine.paths, source, ImportOptions(tuple(changes), message, wanted, checksum))


def save(engine: Engine, names: Sequence[str], target: str | int, *, form: str = "docker-archive") -> None:
    """Write an archive of images to a path or a descriptor. See `saved_images` for the names."""
    save_images(engine, saved_images(engine, names), target, form=form)


def save_images(engine: Engine, images: Sequence[SavedImage], target: str | int, *, form: str) -> None:
    """Write an archive of these images to a path or a descriptor."""
    from .._image.save import save as write_archive

    write_archive(engine.paths, engine.records, images, target, form)


def saved_images(engine: Engine, names: Sequence[str]) -> list[SavedImage]:
    """The images that texts mean, each once, with the names that an archive gives them.

    A name with a tag is that name, one without is all tags of the repository, as for `docker save`; an id or a digest
    gives no name. Raises NotFound, Invalid.
    """
    from .._image.archive_contents import SavedImage

    if not names:
        raise Invalid("needs at least one image", option="names")
    found: dict[str, SavedImage] = {}
    for text in names:
        for record, references in _meant(engine, text):
            known = found[record.id].references if record.id in found else ()
            found[record.id] = SavedImage(record, tuple(dict.fromkeys((*known, *references))))
    return list(found.values())


def _meant(engine: Engine, text: str) -> list[tuple[ImageRecord, tuple[str, ...]]]:
    tagged = [] if is_digest(text) else _tags_of_repository(engine, text)
    if tagged:
        return tagged
    record = find(engine, text)
    try:
        canonical = reference_of(engine, text).canonical
    except Invalid:
        return [(record, ())]
    tag = engine.records.tag(canonical)
    has_name = tag is not None and tag.image_id == record.id and "@" not in canonical
    return [(record, (canonical,) if has_name else ())]


def _tags_of_repository(engine: Engine, text: str) -> list[tuple[ImageRecord, tuple[str, ...]]]:
    """All tags of the repository that a text without a tag names; none where it names something else."""
    try:
        reference = reference_of(engine, text)
    except Invalid:
        return []
    if reference.digest or reference.tag != "latest" or text.endswith(":latest"):
        return []
    prefix = reference.name + ":"
    database = engine.database()
    tags = [tag for tag in database.tags() if tag.reference.startswith(prefix)] if database else []
    images = ((database.image(tag.image_id), tag.reference) for tag in tags) if database else ()
    return [(record, (name,)) for record, name in images if record is not None]
