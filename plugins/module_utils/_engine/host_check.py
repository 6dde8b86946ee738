# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Whether a host can be made one that runs containers, asked before anything on it is changed."""

from __future__ import annotations

import os
from shutil import which

from .._base.errors import HullError
from .._base.units import format_size
from .._base.values import Value
from .._kernel import cgroup_host, features, probes
from .._kernel.cgroup_files import read_text
from .._kernel.features import Lack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths
    from .._kernel.features import Features

_OTHER_PLACE = "choose a directory on ext4, xfs or btrfs, or give the state directory a file system of its own"


class Demand(Value):
    """What the host has to have, beside what no container runs without."""

    controllers: tuple[str, ...] = ()  # of control groups, by their names in version 2
    min_free_bytes: int = 0
    writable_layers: bool = True  # on the file system of the state directory
    kernel_modules: tuple[str, ...] = ()  # those to be told of where they are not loaded
    kernel_parameters: tuple[str, ...] = ()  # those that are to be set, by their names as sysctl has them


class HostFindings(Value):
    """What was found: what is in the way, and what a role that prepares the host goes by."""

    problems: tuple[Lack, ...]
    unloaded_modules: tuple[str, ...]  # of the demand, installed but not loaded
    kernel_parameters: dict[str, str]  # of the demand, as they are now; without those that the kernel does not have
    firewalls: tuple[str, ...]  # programs that rule over the firewall and are installed, whether they run or not
    features: Features


def check_host(paths: Paths, demand: Demand, *, check: bool = False) -> HostFindings:
    """Look, and try in a directory of the state directory's file system that is removed again.

    With `check` no kernel module is loaded, so writable layers are not tried where overlayfs is a module not loaded.
    Raises nothing for what is missing.
    """
    place = existing(paths.root)
    found = features.probe(place)
    problems = [lack for lack in found.lacks if lack.needed]
    problems += _lacking_controllers(found, demand.controllers)
    problems += _lacking_space(place, demand.min_free_bytes)
    if demand.writable_layers and not problems and not (check and probes.is_unloaded_module("overlay")):
        problems += _lacking_upper(place)
    unloaded = tuple(name for name in demand.kernel_modules if probes.is_unloaded_module(name.replace("-", "_")))
    parameters = _parameters(demand.kernel_parameters)
    if not unloaded:  # one of them could bring what is missing
        problems += [_lacking_parameter(name) for name in demand.kernel_parameters if name not in parameters]
    return HostFindings(tuple(problems), unloaded, parameters, _firewalls(), found)


def existing(directory: str) -> str:
    """The directory, or the nearest one above it that exists."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _parameters(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = read_text(_parameter_path(name)).rstrip("\n")
        except OSError:
            continue  # none, a directory, or one that can't be read
    return found


def _parameter_path(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")


def _lacking_parameter(name: str) -> Lack:
    cure = "correct its name, or name the kernel module that brings it among those to load"
    return Lack(f"kernel parameter {name}", f"{_parameter_path(name)} is nothing that can be read", cure, True)


def _firewalls() -> tuple[str, ...]:
    programs = (("firewalld", "firewall-cmd"), ("ufw", "ufw"))
    return tuple(name for name, program in programs if which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"))


def _lacking_controllers(found: Features, wanted: tuple[str, ...]) -> list[Lack]:
    there = {"io" if name == "blkio" else name for name in found.cgroup_controllers}
    return [
        Lack(f"{name} cgroup controller", "its limits are kept by nothing", cgroup_host.cure(_name_v1(name)), True)
        for name in wanted
        if name not in there
    ]


def _name_v1(controller: str) -> str:
    return "blkio" if controller == "io" else controller


def _lacking_space(place: str, min_free_bytes: int) -> list[Lack]:
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if free >= min_free_bytes:
        return []
    why = f"{place} has {format_size(free)} free, {format_size(min_free_bytes)} are asked for"
    return [Lack("disk space", why, "free some, choose another directory, or ask for less", True)]


def _lacking_upper(place: str) -> list[Lack]:
    """Try what containers do in a writable layer on this file system: delete what is below, replace a directory."""
    from tempfile import mkdtemp

    from .._store.files import remove_tree

    before = os.stat(place)
    try:
        directory = mkdtemp(prefix=".hull-check-", dir=place)
    except OSError as error:
        return [Lack("writable state directory", f"make a directory in {place}: {error.strerror}", _OTHER_PLACE, True)]
    try:
        _write_through_overlay(directory)
    except (HullError, OSError) as error:
        cause = str(error) if isinstance(error, HullError) else f"{error.strerror} when a layer was written"
        why = f"the file system of {place} can't have overlayfs's writable layer: {cause}"
        return [Lack("file system for the state directory", why, _OTHER_PLACE, True)]
    finally:
        remove_tree(directory)
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    return []


def _write_through_overlay(directory: str) -> None:
    from .._kernel.overlay import overlay_mount

    for name in ("lower", "lower/directory", "upper", "work"):
        os.mkdir(f"{directory}/{name}")
    os.mknod(f"{directory}/lower/file", 0o600)
    mount = overlay_mount([f"{directory}/lower"], f"{directory}/upper", f"{directory}/work")
    try:
        merged = f"/proc/self/fd/{mount}"
        os.unlink(f"{merged}/file")
        os.rmdir(f"{merged}/directory")
        os.mkdir(f"{merged}/directory")
    finally:
        os.close(mount)
