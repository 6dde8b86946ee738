# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The whole state of an engine beside the kernel: what does not fit together, and mending it.

Looking changes nothing. What is on its way (a container that is being started, a pull) is no fault: whatever looks
like one is looked at a second time a moment later, and objects that somebody has locked are left out. Mending never
touches a container that lives, nor what another engine has; what may be worth something is set aside, not deleted.
"""

from __future__ import annotations

from functools import partial
from time import sleep

from .._base.errors import HullError, SyscallError, Timeout
from .._base.values import Value
from .doctor_containers import look_at_containers
from .doctor_kernel import look_at_cgroups, look_at_mounts
from .doctor_network import look_at_network
from .doctor_run import look_at_modes, look_at_run
from .doctor_store import (
    look_at_images,
    look_at_temporary,
    look_at_unneeded,
    look_at_volumes,
    look_for_records,
    verify_layers,
)
from .doctor_view import View
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .._store.database import Database
    from .engine import Engine

    Key = tuple[str, str, str]

_MOMENT_S = 0.2
_ROUNDS = 4  # mending one thing can show another: records that can be read again, a bridge for ports


class Treatment(Value):
    """What was found in all, what of it is left, and why mending did not succeed, by `Finding.key`."""

    findings: tuple[Finding, ...]
    left: tuple[Finding, ...]
    errors: dict[Key, str] = {}

    @property
    def has_changed(self) -> bool:
        """Whether something was mended."""
        return len(self.left) < len(self.findings)

    def documents(self) -> list[dict[str, Any]]:
        """The findings as JSON has them, each with `fixed`, and `error` where mending failed."""
        left = {finding.key for finding in self.left}
        found = []
        for finding in self.findings:
            document = {**finding.document(), "fixed": finding.key not in left}
            if finding.key in self.errors and finding.key in left:
                document["error"] = self.errors[finding.key]
            found.append(document)
        return found


def examine(engine: Engine, *, layers: bool = False) -> list[Finding]:
    """All that is wrong; empty for an engine in order, also for one that does not exist. Changes nothing.

    With `layers` every byte of all images is read, too.
    """
    found = list(_look(engine))
    if found:
        sleep(_MOMENT_S)
        again = {finding.key for finding in _look(engine)}
        found = [finding for finding in found if finding.key in again]
    if layers and not any(finding.kind == "database" for finding in found):
        found += verify_layers(engine)
    return found


def treat(engine: Engine, *, layers: bool = False, check: bool = False) -> Treatment:
    """Examine, and mend what can be mended, unless `check`. Can be repeated; the second time finds nothing to do."""
    left = examine(engine, layers=layers)
    found = {finding.key: finding for finding in left}
    errors: dict[Key, str] = {}
    for _round in range(0 if check else _ROUNDS):
        if not any(finding.is_fixable for finding in left):
            break
        before = {finding.key for finding in left}
        for finding in left:
            _mend(finding, errors)
        engine.close()
        left = examine(engine, layers=layers)
        found.update((finding.key, finding) for finding in left)
        if before == {finding.key for finding in left}:
            break
    return Treatment(tuple(found.values()), tuple(left), errors)


def _mend(finding: Finding, errors: dict[Key, str]) -> None:
    if finding.mend is None:
        return
    try:
        finding.mend()
    except (HullError, OSError) as error:
        errors[finding.key] = str(error)


def _look(engine: Engine) -> Iterator[Finding]:
    from .._store.integrity import check_database, rebuild

    paths = engine.paths
    yield from look_at_modes(paths)
    yield from look_at_mounts(paths)
    try:
        integrity = check_database(paths)
    except (SyscallError, Timeout) as error:  # a full disk, a lock: what needs no records can be mended all the same
        yield Finding("database", paths.database, error.message, error.hint)
        yield from look_at_temporary(engine, records=False)
        return
    if not integrity.errors:
        yield from _look_at_all(engine, integrity.orphans)
        return
    what = f"it is damaged: {'; '.join(integrity.errors[:3])}"
    if integrity.is_rebuildable:
        yield Finding("database", paths.database, what, "rebuild it", partial(rebuild, paths))
    else:
        cure = "restore it from a backup, or move it away to begin with no records"
        yield Finding("database", paths.database, what, cure)
    yield from look_at_temporary(engine, records=False)


def _look_at_all(engine: Engine, orphans: tuple[tuple[str, int], ...]) -> Iterator[Finding]:
    database = engine.database()
    view = View(engine, database)
    yield from _orphans(view, orphans)
    if database is not None:
        yield from _look_at_store(view, database)
    else:
        yield from look_for_records(engine.paths)
    yield from look_at_containers(view)
    yield from look_at_cgroups(view)
    yield from look_at_network(view)
    yield from look_at_run(view)
    yield from look_at_temporary(engine, records=True)


def _orphans(view: View, orphans: tuple[tuple[str, int], ...]) -> Iterator[Finding]:
    from .._store.integrity import delete_orphans

    is_unknown = bool(orphans) and view.has_unknown_life
    for table, row in orphans:
        what = f"row {row} of {table} speaks of something that has no record"
        if is_unknown:  # it may be one of these, whose address must not be another's
            cure = "look again when the containers without a record have ended"
            yield Finding("database", view.paths.database, what, cure)
        else:
            cure = "delete the row"
            yield Finding("database", view.paths.database, what, cure, partial(delete_orphans, view.paths))


def _look_at_store(view: View, database: Database) -> Iterator[Finding]:
    yield from look_at_images(view, database)
    yield from look_at_volumes(view, database)
    yield from look_at_unneeded(view, database)
