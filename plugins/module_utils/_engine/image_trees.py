# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What is done with the whole trees that images show: two are compared, the layers of one become one layer."""

from __future__ import annotations

from .._base.clock import format_time
from .._base.errors import Invalid
from .tree_views import TreeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._image.changeset import Change
    from .._store.records import ImageRecord
    from .engine import Engine

_LEAST_DIGITS = 4


def compare_images(engine: Engine, before: ImageRecord, after: ImageRecord) -> list[Change]:
    """What has to be added, changed and deleted to make one image's files into another's, and in what respect."""
    from .._image.image_changes import compare

    with TreeView(engine.paths.stack(before.stack)) as old, TreeView(engine.paths.stack(after.stack)) as new:
        return list(compare(old, new))


def squash(engine: Engine, image: ImageRecord, name: str = "", *, above: str = "", message: str = "") -> ImageRecord:
    """The same image with one layer in place of all, or of those `above` a layer; the configuration stays.

    `above` is a layer's diff ID or its beginning, or how many of the newest layers become one. The result is as old as
    the image, unless SOURCE_DATE_EPOCH says otherwise, so the same image always gives the same. An image that has one
    layer there already is itself the result.
    """
    from .._image import commit
    from .._image.forked_stream import ForkedStream
    from .._image.packing import PieceStream
    from .._image.source_date import source_date_ns
    from .._store.claims import claim
    from .._store.garbage import sweep_temporary
    from . import images

    keep = _kept_layers(image, above)
    reference = images.parse_target(engine, name).canonical if name else ""
    count = len(image.layers) - keep
    if count < 2:
        if name:
            images.tag(engine, image.id, name)
        return image
    document = commit.read_document(image)
    source = source_date_ns()
    created = str(document.get("created") or format_time(0)) if source is None else format_time(source)
    statement = commit.Statement(
        config=document.get("config") or {},
        created=created,
        created_by="hull squash",
        author=str(document.get("author") or ""),
        comment=message or f"{count} layers as one",
    )
    sweep_temporary(engine.paths)
    with claim(engine.paths, engine.records):
        with ForkedStream(lambda: PieceStream(_pieces(engine, image, keep)), lambda: None) as stream:
            layer = commit.bring(engine.paths, stream)
        new = commit.derived_image(image, keep, layer, statement, (reference,) if reference else ())
        return commit.publish(engine.paths, engine.records, new, f"squash image {image.id}")


def _pieces(engine: Engine, image: ImageRecord, keep: int) -> Iterator[bytes]:
    """The tar of the layer that stands for all but the lowest `keep` layers."""
    from .._image.image_changes import pack_changes
    from .._image.packing import pack_tree
    from .._image.settle import settle

    paths = engine.paths
    with TreeView(paths.stack(image.stack)) as after:
        if not keep:
            yield from pack_tree(after)
            return
        with TreeView(paths.stack(settle(paths, image.layers[:keep]))) as before:
            yield from pack_changes(before, after)


def _kept_layers(image: ImageRecord, above: str) -> int:
    """How many of the lowest layers stay as they are."""
    if not above:
        return 0
    total = len(image.layers)
    digits = above.partition(":")[2] or above
    if len(digits) < _LEAST_DIGITS and above.isdecimal():
        if not 0 < int(above) <= total:
            raise Invalid(f"{above}: the image has {total} layers", option="from")
        return total - int(above)
    found = [index for index, diff_id in enumerate(image.layers) if diff_id.partition(":")[2].startswith(digits)]
    if len(found) != 1:
        what = "no layer" if not found else f"{len(found)} layers"
        raise Invalid(
            f"{above!r} is {what} of the image",
            option="from",
            hint="give the beginning of one of its diff IDs (hull inspect shows them), or a number of layers",
        )
    return found[0] + 1
