# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the modules container_copy_into and container_copy_from do: nothing where the copy is there already.

First both sides are compared, entry by entry; then only what differs is copied.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from .._base.clock import now_ns
from .._base.errors import Invalid
from .._base.values import Value
from .._image.tar import FILE
from .._image.tar_headers import BLOCK
from .._image.tar_writer import END, header_of, make_entry
from .._kernel.targets import open_inside
from .._runtime.users import resolve_user
from .container_tree import ContainerTree
from .copy_comparison import BINARY
from .copy_reading import open_place
from .copy_values import CopyReport, CopyRules, Place
from .copying import host_path, host_pieces, inside, outside
from .declared import plan_of
from .forked_work import work_forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .._store.records import ContainerRecord
    from .engine import Engine

_MAX_ACCOUNTS = 1024 * 1024
_MOST_SHOWN = 50


class CopyInto(Value):
    """A copy into a container. `content` or `source`, a path of the host; the owner is the container's own user where
    it is not given, the mode the source's. `force`: None where different, True always, False where nothing is."""

    container_path: str
    source: str = ""
    content: bytes | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    follow: bool = False
    local_follow: bool = True
    force: bool | None = None


class CopyFrom(Value):
    """A copy out of a container to a path of the host, the copied thing's own. The owner is the caller where it is not
    given."""

    container_path: str
    destination: str
    owner: tuple[int | None, int | None] = (None, None)
    mode: int | None = None
    follow: bool = True
    force: bool = False


class Copied(Value):
    """What a task found or did; `path` is where the copy lies, a link resolved. `diffs` are as Ansible shows them."""

    changed: bool
    path: str
    diffs: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


def ensure_copied_into(engine: Engine, record: ContainerRecord, request: CopyInto, *, check: bool = False) -> Copied:
    """Have the file or directory in the container."""
    if not request.container_path.startswith("/"):
        raise Invalid(f"{request.container_path!r} is not absolute", option="container_path")
    user = plan_of(record).process.user
    place = Place(request.container_path, exact=True, follow=request.follow)

    def decide(root: int) -> tuple[Place, CopyRules]:
        uid, gid = request.owner if request.owner is not None else _default_owner(root, user)
        return place, CopyRules(uid=uid, gid=gid, mode=request.mode, replace=bool(request.force))

    def pieces() -> Iterator[bytes]:
        if request.content is not None:
            return _content_pieces(request.content)
        return host_pieces(request.source, follow=request.local_follow)

    with ContainerTree(engine, record, write=False) as tree:
        if request.force is False and (path := _existing(tree, place)):
            return Copied(False, path)
        found = inside(tree, pieces(), decide, record, check=True)
    if check or not (found.differences or request.force):
        return _copied(found, forced=request.force)
    with ContainerTree(engine, record, write=True) as tree:
        done = inside(tree, pieces(), decide, record, only=_only(found, request.force))
    return _copied(found, forced=request.force, warnings=done.warnings)


def ensure_copied_from(engine: Engine, record: ContainerRecord, request: CopyFrom, *, check: bool = False) -> Copied:
    """Have the container's file or directory on the host."""
    if not request.container_path.startswith("/"):
        raise Invalid(f"{request.container_path!r} is not absolute", option="container_path")
    uid, gid = (own if asked is None else asked for asked, own in zip(request.owner, (os.geteuid(), os.getegid())))
    rules = CopyRules(uid=uid, gid=gid, mode=request.mode, set_ids=False, devices=False, replace=request.force)
    place = Place(host_path(request.destination), contents=True, follow=False)
    with ContainerTree(engine, record, write=False) as tree:
        source, follow = request.container_path, request.follow
        found = outside(tree, record, source, place, rules, follow=follow, check=True)
        if check or not (found.differences or request.force):
            return _copied(found, forced=request.force)
        only = _only(found, request.force)
        done = outside(tree, record, source, place, rules, follow=follow, only=only)
    return _copied(found, forced=request.force, warnings=done.warnings)


def _only(found: CopyReport, force: bool | None) -> frozenset[str] | None:
    return None if force else frozenset(difference.name for difference in found.differences)


def _copied(found: CopyReport, *, forced: bool | None, warnings: tuple[str, ...] | None = None) -> Copied:
    changed = bool(found.differences or forced)
    return Copied(changed, found.path, tuple(_diffs(found)), found.warnings if warnings is None else warnings)


def _diffs(found: CopyReport) -> Iterator[dict[str, Any]]:
    """One or two for each entry: its text, and what else of it is different."""
    for difference in found.differences[:_MOST_SHOWN]:
        before, after = dict(difference.before), dict(difference.after)
        old, new = before.pop("content", None), after.pop("content", None)
        headers = {"before_header": difference.path, "after_header": difference.path}
        is_text = new not in (None, BINARY) and (old not in (None, BINARY) or before["type"] != "file")
        if is_text and old != new:
            yield {**headers, "before": old or "", "after": new}
        elif old != new or before == after:
            after["content"] = "another"
        if before != after:
            yield {**headers, "before": before, "after": after}
    more = len(found.differences) - _MOST_SHOWN
    if more > 0:
        yield {"before": {}, "after": {"more files": more}}


def _content_pieces(content: bytes) -> Iterator[bytes]:
    yield header_of(make_entry(b"content", FILE, size=len(content), mtime_ns=now_ns()))
    yield content + bytes(-len(content) % BLOCK) + END


def _existing(tree: ContainerTree, place: Place) -> str:
    """The path of what is at a place in the container, empty where nothing is."""

    def look(_stream: Any) -> str:
        try:
            directory, name, path = open_place(tree.enter(), place.path, follow=place.follow)
            os.lstat(name or ".", dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return path

    return str(work_forked(look))


def exists_inside(engine: Engine, record: ContainerRecord, path: str, *, option: str) -> bool:
    """Whether there is something at a path in a container. Raises Invalid, naming the option."""
    if not path.startswith("/"):
        raise Invalid(f"{path!r} is not absolute", option=option)
    with ContainerTree(engine, record, write=False) as tree:
        return bool(_existing(tree, Place(path)))


def _default_owner(root: int, user: str) -> tuple[int, int]:
    """The ids of the user that the container's command has, by the container's own accounts."""
    identity = resolve_user(user, (), _account_file(root, "/etc/passwd"), _account_file(root, "/etc/group"))
    return identity.uid, identity.gid


def _account_file(root: int, path: str) -> str:
    """A file of accounts in the container; empty where there is none that can be one."""
    try:
        fd = open_inside(root, path)
        try:
            if not S_ISREG(os.fstat(fd).st_mode) or os.fstat(fd).st_size > _MAX_ACCOUNTS:
                return ""
            with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
                return file.read(_MAX_ACCOUNTS).decode("utf-8", "replace")
        finally:
            os.close(fd)
    except OSError:
        return ""
