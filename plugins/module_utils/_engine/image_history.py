# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How an image came to be: the history of its configuration beside the layers that each step made."""

from __future__ import annotations

from .._base.clock import parse_time
from .._base.errors import Invalid
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._store.records import ImageRecord
    from .engine import Engine


class Step(Value):
    """One step. `image_id` is known of the newest only; a step that made no layer has an empty `diff_id`."""

    created_ns: int  # 0: not known
    created_by: str = ""
    author: str = ""
    comment: str = ""
    size_bytes: int = 0
    diff_id: str = ""
    image_id: str = ""
    tags: tuple[str, ...] = ()


def history(engine: Engine, record: ImageRecord) -> list[Step]:
    """The steps, newest first. Layers of which the image does not tell have a step that says nothing else."""
    from .._image.commit import history_below, read_document
    from . import images

    database = engine.records
    sizes = {diff_id: layer.size_bytes for diff_id in record.layers if (layer := database.layer(diff_id))}
    layers = iter(record.layers)
    steps = []
    for entry in history_below(read_document(record), len(record.layers)):
        diff_id = "" if entry.get("empty_layer") else next(layers, "")
        steps.append(_step(entry, diff_id, sizes.get(diff_id, 0)))
    if steps:
        tags = tuple(images.familiar(tag.reference) for tag in database.tags_of(record.id))
        steps[-1] = replace(steps[-1], image_id=record.id, tags=tags)
    return steps[::-1]


def _step(entry: dict[str, Any], diff_id: str, size_bytes: int) -> Step:
    created_by, author, comment = (str(entry.get(key) or "") for key in ("created_by", "author", "comment"))
    return Step(_time_ns(entry.get("created")), created_by, author, comment, size_bytes, diff_id)


def _time_ns(text: Any) -> int:
    try:
        return max(parse_time(str(text), option="created"), 0) if text else 0
    except Invalid:
        return 0
