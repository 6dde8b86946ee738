# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The directories of an engine, made and taken away, with everything in the kernel that belongs to them.

Nobody needs to make an engine: the first container does. Taking one away is for hosts that no longer run containers,
and for tests and demonstrations that use directories of their own.
"""

from __future__ import annotations

import os
import stat

from .._base.errors import Conflict, HullError
from .._base.plan import Action, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._runtime.launch_plan import LaunchPlan
    from .._store.records import ContainerRecord
    from .engine import Engine

_MODE = 0o700
_ASIDE = ".removing-"
_SIGKILL = 9


def observe(engine: Engine) -> dict[str, Any]:
    """The directories' modes (empty: not there) and how many containers there are."""
    database = engine.database()
    return {
        "root": _mode(engine.paths.root),
        "run": _mode(engine.paths.run),
        "containers": len(database.containers()) if database else 0,
    }


def _mode(directory: str) -> str:
    try:
        return f"{stat.S_IMODE(os.stat(directory).st_mode):04o}"
    except FileNotFoundError:
        return ""


def set_up(engine: Engine, *, check: bool = False) -> Outcome:
    """Have the state and the run-time directory, readable by root only."""
    before = observe(engine)
    after = {**before, "root": f"{_MODE:04o}", "run": f"{_MODE:04o}"}
    actions = [
        Action("made", directory, "not here" if not before[name] else "mode")
        for name, directory in (("root", engine.paths.root), ("run", engine.paths.run))
        if before[name] != after[name]
    ]
    if not check:
        for action in actions:
            os.makedirs(action.subject, _MODE, exist_ok=True)
            os.chmod(action.subject, _MODE)
    return Outcome(bool(actions), tuple(actions), before, after)


def tear_down(engine: Engine, *, force: bool = False, check: bool = False) -> Outcome:
    """Remove all containers, images, volumes and networks of the engine, its spawner and its directories.

    Raises Conflict where there are containers, unless `force`. Can be repeated after it was interrupted. The
    configuration stays.
    """
    from .._runtime.spawners import find_spawners

    before = observe(engine)
    places = _own_cgroups(engine)
    after = {"root": "", "run": "", "containers": 0}
    if before["containers"] and not force:
        raise Conflict(
            f"remove the engine in {engine.paths.root}: it has {before['containers']} containers",
            hint="remove them first, or set force",
        )
    actions = [Action("removed", directory) for directory in _existing(engine)]
    if find_spawners(engine.paths):
        actions.insert(0, Action("ended", "spawner"))
    actions[:0] = _removed_cgroups(places)
    if actions and not check:
        _apply(engine, places)
    return Outcome(bool(actions), tuple(actions), before, after)


def stop(engine: Engine, *, check: bool = False) -> Outcome:
    """Have nothing of the engine run, as after a boot before anything is started: containers are stopped as at the
    host's shutdown, so that `boot` starts them again; spawner, cgroups, links and rules go. What is in the state
    directory stays."""
    from .._runtime.spawners import find_spawners

    there = [Action("ended", "spawner")] if find_spawners(engine.paths) else []
    there += _removed_cgroups(_own_cgroups(engine))
    there += [Action("removed", f"link {name}") for name in _links(engine)]
    there += [Action("removed", engine.paths.run)] if os.path.lexists(engine.paths.run) else []
    before = {**observe(engine), "running": bool(there)}
    after = {**before, "run": "", "running": False}
    stopped = () if check or not there else _stop(engine)
    return Outcome(bool(there), (*stopped, *there), before, after)


def _stop(engine: Engine) -> tuple[Action, ...]:
    from .._runtime.spawners import end_spawners
    from .._store.files import remove_tree
    from .boot import shut_down

    places = _own_cgroups(engine)
    _end_unreadable(engine)
    steps = list(shut_down(engine))
    end_spawners(engine.paths)
    _end_forgotten(engine, places)
    remove_tree(engine.paths.run)
    return tuple(Action(step.done, step.name, step.error) for step in steps)


def _links(engine: Engine) -> list[str]:
    from .._kernel.rtnetlink import Route
    from .._net.bridges import bridge_name

    name = bridge_name(engine.paths)
    with Route() as route:
        return [name] if route.link(name) is not None else []


def _existing(engine: Engine) -> list[str]:
    directories = [*_leftovers(engine.paths.root), engine.paths.root, engine.paths.run]
    return [directory for directory in directories if os.path.lexists(directory)]


def _leftovers(root: str) -> list[str]:
    """What an interrupted removal has set aside."""
    parent, name = os.path.split(root)
    names = os.listdir(parent) if os.path.isdir(parent) else []
    return [f"{parent}/{entry}" for entry in sorted(names) if entry.startswith(name + _ASIDE)]


def _apply(engine: Engine, places: list[str]) -> None:
    from .._runtime.spawners import end_spawners
    from .._store.files import remove_tree

    _empty_records(engine)
    end_spawners(engine.paths)
    _end_forgotten(engine, places)
    engine.close()
    remove_tree(engine.paths.run)
    _remove_root(engine.paths.root)


def _empty_records(engine: Engine) -> None:
    """What has something in the kernel: containers and networks. Images and volumes are only files."""
    from .._net.bridges import remove_bridge
    from . import containers

    database = engine.database()
    if database is None:
        return
    unreadable = _end_unreadable(engine)
    for record in database.containers():
        if record in unreadable:
            with database.transaction():
                database.delete_container(record.id)
        else:
            containers.remove(engine, record, force=True)
    for network in database.networks():
        with database.transaction():
            for lease in database.leases(network.name):  # of containers without a record
                database.delete_leases(lease.container_id)
        remove_bridge(database, engine.paths, network.name)


def _end_unreadable(engine: Engine) -> list[ContainerRecord]:
    """End the containers whose record does not tell how they run: by their monitor, and by any cgroup of their id."""
    from .._kernel.cgroup_search import find_cgroups
    from .._kernel.cgroups import Cgroup, detect
    from .._runtime import client

    database = engine.database()
    records = [record for record in (database.containers() if database else ()) if _plan(record) is None]
    for record in records:
        client.stop(engine.paths, record.id, _SIGKILL, 0)
        for path in find_cgroups(detect(), record.id.__eq__):
            Cgroup(detect(), path).kill()
            Cgroup(detect(), path).remove()
    return records


def _plan(record: ContainerRecord) -> LaunchPlan | None:
    """A container's launch plan, None where its record can't be read."""
    from .declared import plan_of

    try:
        return plan_of(record)
    except (HullError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _own_cgroups(engine: Engine) -> list[str]:
    """Where the engine's cgroup may lie: as engine.json says now, and as it said when its processes were started."""
    from .._base.engine_file import own_cgroup
    from .._runtime.spawners import cgroups_of_spawners

    database = engine.database()
    plans = map(_plan, database.containers() if database else ())
    parents = {os.path.dirname(plan.cgroup) for plan in plans if plan is not None}
    found = {parent for parent in parents if os.path.basename(parent) == engine.paths.cgroup}
    found |= {engine.paths.cgroup} | cgroups_of_spawners(engine.paths)
    try:
        found.add(own_cgroup(engine.paths))
    except HullError:
        pass  # a mistake in the file must not keep the engine from being removed
    return sorted(found)


def _cgroups(places: list[str]) -> list[str]:
    """The cgroups below these: the supervisors', which end first, then containers'."""
    from .._kernel.cgroup_host import detect

    host, found = detect(), set()
    for root in {*host.mounts.values(), *([host.unified] if host.unified else [])}:
        for place in filter(lambda place: os.path.isdir(f"{root}/{place}"), places):
            entries = os.scandir(f"{root}/{place}")
            found |= {f"{place}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)}
    return sorted(found, key=lambda path: (not path.endswith("/supervisor"), path))


def _removed_cgroups(places: list[str]) -> list[Action]:
    """What removing them comes to, as actions: those that have something in them."""
    return [Action("removed", f"cgroup {place}") for place in dict.fromkeys(map(os.path.dirname, _cgroups(places)))]


def _end_forgotten(engine: Engine, places: list[str]) -> None:
    """What runs or stands without a record, because the state directory was deleted by hand."""
    from .._kernel.cgroups import Cgroup, detect, remove_if_empty
    from .._net.bridges import remove_unrecorded

    for path in _cgroups(places):
        cgroup = Cgroup(detect(), path)
        cgroup.kill()
        cgroup.remove()
    for place in places:
        remove_if_empty(detect(), place)
    remove_unrecorded(engine.paths)


def _remove_root(root: str) -> None:
    """Set the directory aside in one step, so that nobody meets half of it. One that is a mount point is emptied, and
    so is one that a link leads to, before the link goes."""
    from .._store.files import remove_tree

    for directory in _leftovers(root):
        remove_tree(directory)
    if os.path.islink(root):
        _empty(os.path.realpath(root))
        os.unlink(root)
    elif os.path.ismount(root):
        _empty(root)
    elif os.path.lexists(root):
        aside = f"{root}{_ASIDE}{os.urandom(4).hex()}"
        os.rename(root, aside)
        remove_tree(aside)


def _empty(directory: str) -> None:
    from .._store.files import remove_tree

    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        remove_tree(f"{directory}/{name}")
