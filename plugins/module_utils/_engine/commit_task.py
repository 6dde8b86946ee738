# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the modules container_commit and container_export do: nothing where it is done already."""

from __future__ import annotations

import os

from .._base.plan import Action, Outcome
from .committing import commit, diff, plan_commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._image.changeset import Change
    from .._store.records import ContainerRecord, ImageRecord
    from .committing import CommitRequest
    from .engine import Engine

_MOST_LINES = 200


def ensure_commit(
    engine: Engine, record: ContainerRecord, request: CommitRequest, *, force: bool = False, check: bool = False
) -> Outcome:
    """Have an image of that name that is what the container is now; when it was committed does not matter.

    The container's changes are read to find out, without stopping it. With `force` it is committed anyway.
    """
    from . import images

    existing = images.by_name(engine, request.name)
    plan = plan_commit(engine, record, request) if check or existing and not force else None
    before = _state(existing)
    if plan and plan.same and not force:
        return Outcome(False, before=before, after=before, facts=images.inspect(engine, plan.same))
    actions = (Action("committed", record.name, _reason(existing, force)),)
    if plan:
        new = [plan.layer.diff_id] if plan.layer else []
        after = {"exists": True, "id": "unknown", "layers": [*plan.base.layers, *new], **_listed(plan.changes)}
        if check:
            return Outcome(True, actions, before, after, images.inspect(engine, existing) if existing else None)
    changes = plan.changes if plan else tuple(diff(engine, record))
    made = commit(engine, record, request)
    after = {**_state(made.image), **_listed(changes)}
    return Outcome(True, actions, before, after, images.inspect(engine, made.image), made.warnings)


def _reason(existing: ImageRecord | None, force: bool) -> str:
    if existing is None:
        return "not here"
    return "force" if force else "the container is another now"


def _state(image: ImageRecord | None) -> dict[str, Any]:
    if image is None:
        return {"exists": False, "id": None}
    return {"exists": True, "id": image.id, "layers": list(image.layers)}


def _listed(changes: tuple[Change, ...]) -> dict[str, Any]:
    """What the container has changed, for the diff, which has an end."""
    lines = [f"{change.kind} {shown_path(change.path)}" for change in changes[:_MOST_LINES]]
    more = len(changes) - len(lines)
    return {"changes": [*lines, f"and {more} more"] if more else lines}


def shown_path(path: bytes) -> str:
    """A path below a root as text, with what is not UTF-8 escaped."""
    return "/" + path.decode("utf-8", "backslashreplace")


def ensure_export(
    engine: Engine,
    record: ContainerRecord,
    path: str,
    *,
    compression: str = "none",
    force: bool = False,
    check: bool = False,
) -> Outcome:
    """Have a file with the container's export; one that holds just that is left alone unless `force` is given."""
    from .export_file import check_target, would_change, write_export

    existed = os.path.lexists(path)
    before: dict[str, Any] = {"path": path, "exists": existed}
    if check:
        check_target(path)
        changed = force or would_change(engine, record, path, compression=compression)
    else:
        changed = write_export(engine, record, path, compression=compression, force=force)
    reason = "not here" if not existed else "force" if force else "its content is another"
    actions = (Action("exported", path, reason),) if changed else ()
    after = before if not changed else {"path": path, "exists": True, "content": "replaced" if existed else "new"}
    return Outcome(changed, actions, before, after)
