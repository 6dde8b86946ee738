# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The container's /dev: filled through a descriptor of our own tmpfs before anybody can see it."""

from __future__ import annotations

import os
from stat import S_IFBLK, S_IFCHR

from .launch_plan import DevicePlan

DEFAULT_NODES = (
    DevicePlan("/dev/null", "c", 1, 3),
    DevicePlan("/dev/zero", "c", 1, 5),
    DevicePlan("/dev/full", "c", 1, 7),
    DevicePlan("/dev/random", "c", 1, 8),
    DevicePlan("/dev/urandom", "c", 1, 9),
    DevicePlan("/dev/tty", "c", 5, 0),
)
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_DIRECTORIES = ("pts", "shm", "mqueue")


def all_nodes(devices: tuple[DevicePlan, ...]) -> tuple[DevicePlan, ...]:
    """The default nodes and the plan's; a plan's node of the same path replaces the default one. Only those in /dev."""
    chosen = {device.path: device for device in (*DEFAULT_NODES, *devices) if device.path.startswith("/dev/")}
    return tuple(chosen.values())


def fill_dev(dev_fd: int, devices: tuple[DevicePlan, ...], owner: int, *, console: bool) -> None:
    """Make nodes, links and directories, owned by the host's id `owner`, which is the container's root.

    With `console` also an empty file /dev/console, on which init binds the terminal.
    """
    before = os.umask(0)
    try:
        for device in all_nodes(devices):
            name = device.path[len("/dev/") :]
            if "/" in name:
                _make_parents(dev_fd, name)
            kind = S_IFCHR if device.kind == "c" else S_IFBLK
            os.mknod(name, kind | device.mode, os.makedev(device.major, device.minor), dir_fd=dev_fd)
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=dev_fd)
        for name in _DIRECTORIES:
            _make_directory(dev_fd, name)
        if console:
            os.close(os.open("console", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o620, dir_fd=dev_fd))
        if owner:
            _give_all(dev_fd, owner)
    finally:
        os.umask(before)


def _give_all(dev_fd: int, owner: int) -> None:
    for _path, directories, files, fd in os.fwalk(".", dir_fd=dev_fd):
        for name in (".", *directories, *files):
            os.chown(name, owner, owner, dir_fd=fd, follow_symlinks=False)


def _make_parents(dev_fd: int, name: str) -> None:
    at = ""
    for part in name.split("/")[:-1]:
        at = f"{at}/{part}" if at else part
        _make_directory(dev_fd, at)


def _make_directory(dev_fd: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=dev_fd)
    except FileExistsError:
        pass
