# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A doctor's look at the engine's directories themselves: their modes, and in the run-time one sockets and code."""

from __future__ import annotations

import os
import stat
from functools import partial

from .._base.errors import HullError
from .doctor_view import names_in
from .findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._base.paths import Paths
    from .doctor_view import View

_MODE = 0o700


def look_at_modes(paths: Paths) -> Iterator[Finding]:
    """Only root may enter the state and the run-time directory."""
    for directory in (paths.root, paths.run):
        try:
            mode = stat.S_IMODE(os.stat(directory).st_mode)
        except FileNotFoundError:
            continue
        if mode & 0o077:
            what = f"its mode is {mode:04o}, so that others than root can enter it"
            cure = f"set its mode to {_MODE:04o}"
            yield Finding("directory", directory, what, cure, partial(os.chmod, directory, _MODE))


def look_at_run(view: View) -> Iterator[Finding]:
    """Sockets that nobody serves, and launch code that nobody runs."""
    commands = _spawners(view.paths)
    for path in _sockets(view.paths):
        if not any(path in command for command in commands) and not _is_served(path):
            yield Finding("run-time", path, "no spawner serves this socket", "remove it", partial(_drop, path))
    used = {*commands, *_finishers(view)}
    for name in names_in(view.paths.launch):
        path = f"{view.paths.launch}/{name}"
        if not _is_used(path, name, used):
            yield Finding("run-time", path, "no spawner runs this code", "remove it", partial(_remove_tree, path))


def is_spawner_there(paths: Paths) -> bool:
    """Whether a spawner runs or has just been started: its socket is there before it is."""
    return any(map(_is_served, _sockets(paths)))


def _sockets(paths: Paths) -> list[str]:
    names = names_in(paths.run)
    return [f"{paths.run}/{name}" for name in names if name.startswith("spawner.") and name.endswith(".sock")]


def _spawners(paths: Paths) -> list[str]:
    """The command lines of this engine's spawners."""
    from .._kernel.cgroup_files import read_or_none
    from .._runtime.spawners import find_spawners

    return [read_or_none(f"/proc/{pid}/cmdline") or "" for pid in find_spawners(paths)]


def _finishers(view: View) -> Iterator[str]:
    """The command lines that monitors execute at the end of containers that are to be removed then."""
    from .._runtime.plan_file import read_plan

    for name in view.run_directories:
        try:
            yield "\0".join(read_plan(view.paths.container_run(name)).finisher)
        except HullError:
            continue


def _is_served(path: str) -> bool:
    from .._runtime.spawner_start import connect_to

    connection = connect_to(path)
    if connection is None:
        return False
    connection.close()
    return True


def _is_used(path: str, name: str, commands: set[str]) -> bool:
    from .._kernel.processes import is_alive
    from .._runtime.launch_code import version

    if name.startswith(".new-"):  # `launch_code.materialise` is at it
        pid = name.split("-")[1]
        return pid.isdigit() and is_alive(int(pid))
    return name == version() or any(path in command for command in commands)


def _drop(path: str) -> None:
    """Remove a socket, if nobody serves it still; whoever starts a spawner holds the lock meanwhile."""
    from fcntl import LOCK_EX, flock

    lock_fd = os.open(f"{os.path.dirname(path)}/spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        flock(lock_fd, LOCK_EX)
        if not _is_served(path):
            os.unlink(path)
    except FileNotFoundError:
        pass
    finally:
        os.close(lock_fd)


def _remove_tree(path: str) -> None:
    from .._store.files import remove_tree

    remove_tree(path)
