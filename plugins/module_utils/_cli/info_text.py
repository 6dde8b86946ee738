# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What `info` prints for people. Pure: facts in, lines out."""

from __future__ import annotations

from .._base.units import format_size
from .printing import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Facts = dict[str, Any]

_LIMITS = (
    ("MemoryLimit", "memory"),
    ("SwapLimit", "swap"),
    ("CpuCfsQuota", "CPU time"),
    ("CPUSet", "CPUs"),
    ("PidsLimit", "processes"),
    ("IOLimit", "I/O"),
)
_TOLD = frozenset(  # in lines of their own or together with others
    "ServerVersion Name OperatingSystem OSType KernelVersion Architecture NCPU MemTotal Containers ContainersRunning "
    "ContainersPaused ContainersStopped Images Volumes RootDir RunDir ConfigDir CgroupVersion CgroupParent "
    "CgroupDriver CPUShares SecurityOptions IPv4Forwarding Features Warnings Lacks".split()
)


def info_text(facts: Facts) -> str:
    """All of it: a line for each thing, then what is lacking with its cure."""
    rows = [(label, text) for label, text in _rows(facts) if text]
    width = max(len(label) for label, _text in rows) + 2
    lines = [f"{label + ':':<{width}}{visible(text)}" for label, text in rows]
    return "".join(f"{line}\n" for line in (*lines, *_lacks(facts.get("Lacks", ()))))


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    found = facts["Features"]
    yield "Engine", f"hull {facts['ServerVersion']}, Python {found['python']}"
    yield "Host", f"{facts['Name']}, {facts['OperatingSystem']}, {found['init_system'] or 'no init system'}"
    yield (
        "Machine",
        f"Linux {facts['KernelVersion']} on {facts['Architecture']}, {facts['NCPU']} CPUs, "
        f"{format_size(facts['MemTotal'])} of memory",
    )
    yield (
        "Containers",
        f"{facts['Containers']} ({facts['ContainersRunning']} running, {facts['ContainersPaused']} paused, "
        f"{facts['ContainersStopped']} stopped)",
    )
    yield "Images", str(facts["Images"])
    yield "Volumes", str(facts["Volumes"])
    yield "State", facts["RootDir"]
    yield "Run-time files", facts["RunDir"]
    yield "Configuration", facts["ConfigDir"]
    yield "Control groups", f"version {facts['CgroupVersion'] or 'none'}, below {facts.get('CgroupParent', '/')}"
    yield "Limits of", ", ".join(name for key, name in _LIMITS if facts.get(key))
    yield "Kernel has", _join(name.replace("_", " ") for name, value in found.items() if value is True)
    yield "Security", _join(_security(facts))
    yield "Programs", _join(f"{name} {found[name]}" for name in ("nft", "zstd", "pyroute2") if found[name])
    yield "Open files", "at most {0[0]}, can be raised to {0[1]}".format(found["rlimit_nofile"])
    for name, value in facts.items():
        if name not in _TOLD and name not in dict(_LIMITS):
            yield _label(name), _plain(value)


def _security(facts: Facts) -> Iterator[str]:
    yield from (option.partition("name=")[2].partition(",")[0] for option in facts["SecurityOptions"])
    yield from facts["Features"]["lsm"]


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)


def _label(name: str) -> str:
    """`Default address pools` for DefaultAddressPools."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return words[:1].upper() + words[1:]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return _join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return _join(map(_plain, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _lacks(lacks: Iterable[Facts]) -> Iterator[str]:
    needed = [lack for lack in lacks if lack["needed"]]
    others = [lack for lack in lacks if not lack["needed"]]
    for title, some in (("No container runs without", needed), ("Lacking", others)):
        if some:
            yield ""
            yield f"{title}:"
        for lack in some:
            yield f"  {visible(lack['what'])}: {visible(lack['why'])}"
            yield f"    cure: {visible(lack['cure'])}"
