# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One file with given bytes and mode, present or absent, for modules that install something of their own."""

from __future__ import annotations

import os
import stat

from .._base.digests import sha256_of
from .._base.errors import Conflict, NotFound
from .._base.plan import Action, Outcome
from .._store.files import write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _observe(path: str) -> dict[str, Any]:
    """What is there, as the diff shows it. Raises Conflict for what is not a file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return {"exists": False}
    if stat.S_ISDIR(status.st_mode):
        raise Conflict(f"{path}: there is a directory of that name", hint="choose another path")
    if not stat.S_ISREG(status.st_mode):
        return {"exists": True, "mode": "", "digest": ""}
    with open(path, "rb") as file:
        return {"exists": True, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "digest": sha256_of(file.read())}


def ensure_file(path: str, content: bytes, *, mode: int, check: bool) -> Outcome:
    """Have the file with this content and mode. Atomic. Raises NotFound where its directory is missing."""
    before = _observe(path)
    after = {"exists": True, "mode": f"{mode:04o}", "digest": sha256_of(content)}
    if before == after:
        return Outcome(False, before=before, after=after)
    if not os.path.isdir(os.path.dirname(path)):
        raise NotFound(f"install {path}: its directory does not exist", hint="make it, or choose another path")
    reason = ", ".join(name for name in ("digest", "mode") if before["exists"] and before[name] != after[name])
    if not check:
        write_atomic(path, content, mode)
    return Outcome(True, (Action("installed", path, reason or "not here"),), before, after)


def ensure_absent(path: str, *, check: bool) -> Outcome:
    """Have no file there."""
    before = _observe(path)
    if not before["exists"]:
        return Outcome(False, before=before, after=before)
    if not check:
        os.unlink(path)
    return Outcome(True, (Action("uninstalled", path),), before, {"exists": False})
