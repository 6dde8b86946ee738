# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files with given bytes and mode, present or absent, for modules that install something of their own."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from .._base.digests import sha256_of
from .._base.errors import Conflict, NotFound
from .._base.plan import Action, Outcome
from .._base.values import Value
from .._store.files import write_atomic

_MADE = "user.hull.made"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
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


class InstalledFile(Value):
    """A file as it is to be; without content it is to be away.

    Directories below `within` are made with it, and those that were made are taken away with it when they are empty
    then: an attribute marks them, so on a file system without attributes they stay. Without `within` its directory must
    be there.
    """

    path: str
    content: bytes | None
    mode: int = 0o644
    within: str = ""


def ensure_files(files: Iterable[InstalledFile], *, check: bool) -> Outcome:
    """Have all of them so. Each is looked at before one is changed; each change is atomic. The diff is by path.

    Raises Conflict where a directory has the name of a file, NotFound where a directory is missing that is not made; a
    check takes it for made by then.
    """
    found = [(file, _plan(file, check)) for file in files]
    changes = [(file, outcome) for file, outcome in found if outcome.changed]
    for file, _outcome in changes if not check else ():
        _apply(file)
    actions = tuple(action for _file, outcome in changes for action in outcome.actions)
    before = {file.path: outcome.before for file, outcome in changes}
    return Outcome(bool(changes), actions, before, {file.path: outcome.after for file, outcome in changes})


def _plan(file: InstalledFile, check: bool) -> Outcome:
    before = _observe(file.path)
    if file.content is None:
        actions = (Action("uninstalled", file.path),)
        return Outcome(True, actions, before, {"exists": False}) if before["exists"] else Outcome(False)
    after = {"exists": True, "mode": f"{file.mode:04o}", "digest": sha256_of(file.content)}
    if before == after:
        return Outcome(False)
    if not check and not file.within and not os.path.isdir(os.path.dirname(file.path)):
        raise NotFound(f"install {file.path}: its directory does not exist", hint="make it, or choose another path")
    reason = ", ".join(name for name in ("digest", "mode") if before["exists"] and before[name] != after[name])
    return Outcome(True, (Action("installed", file.path, reason or "not here"),), before, after)


def _apply(file: InstalledFile) -> None:
    directory = os.path.dirname(file.path)
    if file.content is not None:
        if file.within:
            _make_directories(directory)
        write_atomic(file.path, file.content, file.mode)
        return
    os.unlink(file.path)
    while file.within and directory.startswith(f"{file.within}/") and _is_made(directory) and not os.listdir(directory):
        os.rmdir(directory)
        directory = os.path.dirname(directory)


def _make_directories(directory: str) -> None:
    """Make what is missing of a path, and mark it as made here."""
    if os.path.isdir(directory):
        return
    _make_directories(os.path.dirname(directory))
    os.mkdir(directory)
    with suppress(OSError):
        os.setxattr(directory, _MADE, b"1")


def _is_made(directory: str) -> bool:
    try:
        return os.getxattr(directory, _MADE) == b"1"
    except OSError:
        return False
