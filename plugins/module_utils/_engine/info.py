# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the engine has and what its host can do: `hull info`, `hull.engine.engine_info`."""

from __future__ import annotations

import os

from .._base.errors import HullError
from .._base.version import VERSION
from .._kernel import features
from .._kernel.features import Lack
from . import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._kernel.features import Features
    from .engine import Engine

_STOPPED = ("created", "exited", "dead")


def engine_info(engine: Engine) -> dict[str, Any]:
    """Counts, directories and abilities, in the shape of Docker's info where it has the same thing.

    Own keys: `RunDir`, `ConfigDir`, `Volumes`, `IOLimit`, `CgroupParent` and `DefaultLimits` (of engine.json),
    `Firewalls` (programs that keep one of their own), `Features` (fields of `_kernel.features.Features`) and `Lacks`, a
    list of {what, why, cure, needed}, most important first; `needed`: no container runs without it. Sizes are bytes.
    Makes nothing, not even the database. Raises Damaged where the records can't be read.
    """
    found = features.probe(_existing(engine.paths.root))
    settings, mistakes = _settings(engine)
    lacks = [*mistakes, *found.lacks, *firewall.lacks(engine)]
    return {
        **_counts(engine),
        "ServerVersion": VERSION,
        "RootDir": engine.paths.root,
        "RunDir": engine.paths.run,
        "ConfigDir": engine.paths.config,
        **_host_facts(found),
        **settings,
        "Firewalls": firewall.managers(),
        "Warnings": [warning(lack) for lack in lacks],
        "Features": _plain(found),
        "Lacks": [lack.fields() for lack in lacks],
    }


def _settings(engine: Engine) -> tuple[dict[str, Any], list[Lack]]:
    """What engine.json sets; where it has a mistake, the engine's own and that mistake."""
    from .engine_settings import EngineSettings

    try:
        settings, mistakes = engine.defaults(), []
    except HullError as error:
        settings = EngineSettings(cgroup=engine.paths.cgroup)
        cure = error.hint or "correct it"
        mistakes = [Lack("usable engine.json", f"no container is made: {error.message}", cure, True)]
    return {
        "LoggingDriver": settings.defaults.log_driver,
        "CgroupParent": f"/{settings.cgroup}",
        "DefaultLimits": settings.limits,
        "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in settings.address_pools],
    }, mistakes


def warning(lack: Lack) -> str:
    """One line for people."""
    return f"no {lack.what}: {lack.why}; {lack.cure}"


def _counts(engine: Engine) -> dict[str, int]:
    counts = {"Containers": 0, "ContainersRunning": 0, "ContainersPaused": 0, "ContainersStopped": 0}
    database = engine.database(create=False)
    if database is None:
        return {**counts, "Images": 0, "Volumes": 0}
    from .._runtime.state import observe

    for record in database.containers():
        status = observe(engine.paths, record.id).status
        kind = "Paused" if status == "paused" else "Stopped" if status in _STOPPED else "Running"
        counts["Containers" + kind] += 1
        counts["Containers"] += 1
    return {**counts, "Images": len(database.images()), "Volumes": len(database.volumes())}


def _host_facts(found: Features) -> dict[str, Any]:
    """Docker's names for what Docker tells too."""
    controllers = found.cgroup_controllers
    return {
        "Name": os.uname().nodename,
        "KernelVersion": found.kernel,
        "OSType": "linux",
        "OperatingSystem": operating_system(),
        "Architecture": found.architecture,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Driver": "overlay",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": found.cgroup_version,
        "MemoryLimit": "memory" in controllers,
        "SwapLimit": "memory" in controllers and found.swap_accounting,
        "CpuCfsQuota": "cpu" in controllers,
        "CPUShares": "cpu" in controllers,
        "CPUSet": "cpuset" in controllers,
        "PidsLimit": "pids" in controllers,
        "IOLimit": "blkio" in controllers or "io" in controllers,
        "IPv4Forwarding": found.ip_forward,
        "SecurityOptions": _security_options(found),
    }


def _security_options(found: Features) -> list[str]:
    options = ["name=seccomp,profile=default"] if found.seccomp else []
    if found.user_namespaces and found.idmapped_mounts:
        options.append("name=userns")
    return [*options, "name=cgroupns"]


def operating_system(path: str = "/etc/os-release") -> str:
    """PRETTY_NAME of os-release(5), else `Linux`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as release:
            for line in release:
                key, _, value = line.strip().partition("=")
                if key == "PRETTY_NAME":
                    return value.strip("\"'")
    except OSError:
        pass
    return "Linux"


def _existing(directory: str) -> str:
    """The directory, or the nearest one above it that exists."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _plain(found: Features) -> dict[str, Any]:
    """The features without the lacks, tuples as lists, as JSON has them."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in found.fields().items()}
    del fields["lacks"]
    return fields
