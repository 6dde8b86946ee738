# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a copy is told, and what it tells: places, rules, differences."""

from __future__ import annotations

from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CopyRules(Value):
    """What becomes of owners, modes and kinds. None: as the archive says."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None  # of files; a directory can be searched by whom may read it
    set_ids: bool = True  # whether set-user-ID and set-group-ID, where the owner does, and file capabilities go along
    devices: bool = True  # whether device nodes are made
    describe: bool = False  # whether directories that are there get owner, mode and time
    replace: bool = False  # whether a file may take a directory's place, and the other way round


class Place(Value):
    """Where a copy goes, by path inside the root.

    exact      the path is that of the copied thing itself; else it goes into a directory that is there, as with cp(1)
    contents   of a directory its content is meant, which goes into the directory at the path
    follow     a link at the path's end is followed
    unpack     an archive of anybody's: it goes into the directory, and links that are in its way there are followed
    """

    path: str
    exact: bool = False
    contents: bool = False
    follow: bool = True
    unpack: bool = False


class Difference(Value):
    """One entry that is not at its place, or another there. JSON types; `name` is the path below the copy's directory.

    `before` and `after` say what it is: type, mode, owner, size, link and, of a text that is not too long, content.
    """

    name: str
    path: str
    before: dict[str, Any]
    after: dict[str, Any]


class CopyReport(Value):
    """What was found or done. `path` is where the top of the copy came to lie inside the root."""

    path: str = ""
    differences: tuple[Difference, ...] = ()
    files: int = 0
    size_bytes: int = 0
    warnings: tuple[str, ...] = ()
