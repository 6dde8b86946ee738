# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Files copied between the host and a container, running or not, through what is mounted in it.

A copy is a tar stream between two processes: one reads or writes inside the container's tree, the other one on the
host. No path of the container is ever resolved on the host, no process of the container takes part, and nothing of it
is executed.
"""

from __future__ import annotations

import os

from .._base.errors import HullError
from .._base.spec import to_record
from .._image.forked_stream import ForkedStream
from .._image.packing import PieceStream
from .container_tree import ContainerTree
from .copy_reading import pack_path
from .copy_values import CopyReport, CopyRules, Difference, Place
from .copy_writing import compare_copy, write_copy
from .forked_work import work_forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .._store.records import ContainerRecord
    from .copy_values import CopyRules as Rules
    from .engine import Engine

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CHUNK = 1024 * 1024
HOST = "the host"


def host_path(path: str) -> str:
    """A path as it is meant from the working directory."""
    return path if path.startswith("/") else f"{os.getcwd()}/{path}"


def is_content(path: str) -> bool:
    """Whether a directory's content is meant, and not the directory by its name."""
    return path.endswith("/.") or path.rstrip("/").rpartition("/")[2] in ("", ".", "..")


def copy_in(
    engine: Engine, record: ContainerRecord, source: str, path: str, *, follow: bool = False, archive: bool = False
) -> CopyReport:
    """Copy a file or directory of the host to a path in a container, by the rules of cp(1) and `docker cp`.

    Owners are root unless `archive` keeps them. Raises NotFound, Conflict, Denied, SyscallError.
    """
    rules = CopyRules(describe=True) if archive else CopyRules(uid=0, gid=0)
    place = Place(path, contents=is_content(source))
    with ContainerTree(engine, record, write=True) as tree:
        return _inside(tree, host_pieces(source, follow=follow), place, rules, record)


def unpack_in(
    engine: Engine, record: ContainerRecord, pieces: Iterable[bytes], path: str, *, archive: bool = False
) -> CopyReport:
    """Unpack a tar into a directory in a container."""
    rules = CopyRules(describe=True) if archive else CopyRules(uid=0, gid=0)
    with ContainerTree(engine, record, write=True) as tree:
        return _inside(tree, pieces, Place(path, unpack=True), rules, record)


def copy_out(
    engine: Engine, record: ContainerRecord, path: str, destination: str, *, follow: bool = False, archive: bool = False
) -> CopyReport:
    """Copy a file or directory in a container to the host, by the rules of cp(1) and `docker cp`.

    Owner is the caller, without set-user-ID, unless `archive` keeps both. No device is made on the host. A link at the
    destination, which may have come from the container before, is followed only where the path ends with a slash.
    """
    rules = CopyRules(devices=False, describe=archive)
    if not archive:
        rules = CopyRules(uid=os.geteuid(), gid=os.getegid(), set_ids=False, devices=False)
    place = Place(host_path(destination), contents=is_content(path), follow=False)
    with ContainerTree(engine, record, write=False) as tree:
        return outside(tree, record, path, place, rules, follow=follow)


def pack_out(
    engine: Engine, record: ContainerRecord, path: str, write: Callable[[bytes], object], *, follow: bool = False
) -> None:
    """Write a file or directory in a container as a tar, with owners as they are inside."""
    with ContainerTree(engine, record, write=False) as tree, _packed(tree, record, path, follow) as stream:
        while data := stream.read(_CHUNK):
            write(data)


def host_pieces(path: str, *, follow: bool) -> Iterator[bytes]:
    """A file or directory of the host as a tar."""
    root = os.open("/", _ROOT)
    try:
        yield from pack_path(root, host_path(path), follow=follow, shown_path=path)
    finally:
        os.close(root)


def _packed(tree: ContainerTree, record: ContainerRecord, path: str, follow: bool) -> ForkedStream:
    shown_path = f"{record.name}:{path}"
    inside = path if path.startswith("/") else f"/{path}"

    def make() -> PieceStream:
        return PieceStream(pack_path(tree.enter(), inside, follow=follow, shown_path=shown_path))

    return ForkedStream(make, lambda: None)


def outside(
    tree: ContainerTree,
    record: ContainerRecord,
    path: str,
    place: Place,
    rules: Rules,
    *,
    follow: bool,
    only: frozenset[str] | None = None,
    check: bool = False,
) -> CopyReport:
    """Write, or with `check` compare, what is in the container at a place on the host."""
    root = os.open("/", _ROOT)
    try:
        with _packed(tree, record, path, follow) as stream:
            if check:
                report = compare_copy(root, stream, place, rules, what=HOST)
            else:
                report = write_copy(root, stream, place, rules, what=HOST, only=only)
            while stream.read(_CHUNK):
                pass  # so that an error at the end is told
            return report
    finally:
        os.close(root)


def _inside(
    tree: ContainerTree,
    pieces: Iterable[bytes],
    place: Place,
    rules: Rules,
    record: ContainerRecord,
    *,
    only: frozenset[str] | None = None,
    check: bool = False,
) -> CopyReport:
    return inside(tree, pieces, lambda _root: (_absolute(place), rules), record, only=only, check=check)


def inside(
    tree: ContainerTree,
    pieces: Iterable[bytes],
    decide: Callable[[int], tuple[Place, Rules]],
    record: ContainerRecord,
    *,
    only: frozenset[str] | None = None,
    check: bool = False,
) -> CopyReport:
    """Write, or with `check` compare, a tar at a place in the container.

    `decide` says where and how, with the root of the tree in its hands.
    """
    what = f"container {record.name}"

    def work(stream: Any) -> Any:
        root = tree.enter()
        place, rules = decide(root)
        if check:
            report = compare_copy(root, stream, place, rules, what=what)
        else:
            report = write_copy(root, stream, place, rules, what=what, only=only)
        return to_record(report)

    failures: list[HullError | OSError] = []
    try:
        found = work_forked(work, _watched(pieces, failures))
    except HullError:
        if failures:
            raise failures[0] from None
        raise
    differences = tuple(Difference(**fields) for fields in found["differences"])
    return CopyReport(**{**found, "differences": differences, "warnings": tuple(found["warnings"])})


def _watched(pieces: Iterable[bytes], failures: list[HullError | OSError]) -> Iterator[bytes]:
    """The pieces up to an error, which is remembered: the other side then finds the archive cut off."""
    try:
        yield from pieces
    except (HullError, OSError) as error:
        failures.append(error)


def _absolute(place: Place) -> Place:
    from .._base.values import replace

    return place if place.path.startswith("/") else replace(place, path=f"/{place.path}")
