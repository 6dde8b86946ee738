# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Seccomp profiles in Docker's JSON format, assembled without libseccomp.

For one call the rules that look at arguments are tried in the profile's order, then those that don't, then the default
action holds. Calls that this machine does not have are left out, as everywhere. Calls newer than our table fail with
ENOSYS where the default action is an error. The 32-bit and x32 entries are open where the profile's `archMap` or
`architectures` names them, or the caller does, under the same rules, and fail with ENOSYS otherwise.

Source: Docker documentation, "Seccomp security profiles for Docker"; OCI runtime specification, linux.seccomp.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .seccomp_filter import ALLOW, KILL_PROCESS, KILL_THREAD, LOG, TRAP, answer, assemble, condition, refuse, rule
from .seccomp_policy import entry_tables, merged_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .seccomp_filter import Code

_EPERM, _ENOSYS = 1, 38
_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
}
_FURTHER = {"SCMP_ARCH_X86": "i386", "SCMP_ARCH_X32": "x32"}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_ARCHITECTURE_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_OPTION = "security_opts"


def _invalid(what: str) -> Invalid:
    return Invalid(f"seccomp profile: {what}", option=_OPTION)


def _verdict(action: Any, errno: Any) -> int:
    if action == "SCMP_ACT_ERRNO":
        number = _EPERM if errno is None else errno
        if not isinstance(number, int) or not 0 <= number <= 4095:
            raise _invalid(f"errnoRet {errno!r} is not an errno")
        return refuse(number)
    if action not in _ACTIONS:
        raise _invalid(f"action {action!r} is not supported")
    return _ACTIONS[action]


def _as_list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{what} is not a list")
    return value


def _as_dict(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"{what} is not an object")
    return value


def _release(text: Any) -> tuple[int, int]:
    parts = str(text).split("-")[0].split(".")[:2]
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise _invalid(f"minKernel {text!r} is not a version")
    return int(parts[0]), int(parts[1])


def _applies(entry: dict[str, Any], held: frozenset[str], machine: str, kernel: str) -> bool:
    """Whether a rule's `includes` and `excludes` admit these capabilities, this machine and this kernel."""
    includes, excludes = _as_dict(entry.get("includes"), "includes"), _as_dict(entry.get("excludes"), "excludes")
    name = _ARCHITECTURE_NAMES[machine]
    arches = _as_list(includes.get("arches"), "includes.arches")
    if arches and name not in arches or name in _as_list(excludes.get("arches"), "excludes.arches"):
        return False
    if includes.get("minKernel") and _release(kernel) < _release(includes["minKernel"]):
        return False
    if excludes.get("minKernel") and _release(kernel) >= _release(excludes["minKernel"]):
        return False
    needed = _as_list(includes.get("caps"), "includes.caps")
    barred = _as_list(excludes.get("caps"), "excludes.caps")
    return held.issuperset(needed) and held.isdisjoint(barred)


def _conditions(entry: dict[str, Any]) -> tuple[Code, ...]:
    conditions = []
    for argument in _as_list(entry.get("args"), "args"):
        fields = _as_dict(argument, "an entry of args")
        operator = str(fields.get("op", "")).replace("SCMP_CMP_", "", 1)
        numbers = [fields.get("index"), fields.get("value", 0), fields.get("valueTwo", 0)]
        if not all(isinstance(number, int) for number in numbers):
            raise _invalid("index, value and valueTwo of an argument must be integers")
        conditions.append(condition(numbers[0], operator, numbers[1], numbers[2]))
    return tuple(conditions)


def _names(entry: dict[str, Any]) -> list[str]:
    names = _as_list(entry.get("names"), "names")
    names = names + ([entry["name"]] if entry.get("name") else [])
    if not names or not all(isinstance(name, str) for name in names):
        raise _invalid("a rule has no names of system calls")
    return names


class _Rules:
    """The rules for one call: those that look at arguments, and the first that does not."""

    def __init__(self) -> None:
        self.conditional: list[Code] = []
        self.plain: int | None = None

    def add(self, conditions: Sequence[Code], verdict: int) -> None:
        if conditions:
            self.conditional.append(rule(conditions, verdict))
        elif self.plain is None:
            self.plain = verdict

    def code(self, default: int) -> Code:
        parts = [*self.conditional, answer(default if self.plain is None else self.plain)]
        return tuple(instruction for part in parts for instruction in part)


def _further_entries(profile: dict[str, Any], machine: str) -> set[str]:
    """i386 and x32 where the profile opens them on this machine."""
    named = list(_as_list(profile.get("architectures"), "architectures"))
    for item in _as_list(profile.get("archMap"), "archMap"):
        entry = _as_dict(item, "an entry of archMap")
        if entry.get("architecture") == _NATIVE[machine]:
            named += _as_list(entry.get("subArchitectures"), "subArchitectures")
    return {_FURTHER[name] for name in named if name in _FURTHER} if machine == "x86_64" else set()


def profile_program(
    profile: dict[str, Any], capabilities: Iterable[str], machine: str, kernel: str, *, compat: bool = False
) -> bytes:
    """The assembled profile for a container with these capabilities, on a machine (x86_64) and kernel release (6.1.0).

    `compat` opens the 32-bit and x32 entries whether or not the profile does. Raises Invalid for a profile that is
    malformed or wants what can't be had (SCMP_ACT_TRACE, SCMP_ACT_NOTIFY), and Unsupported for a machine without a
    table.
    """
    held = frozenset(capabilities)
    default = _verdict(profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    tables = entry_tables(machine, {"i386", "x32"} if compat else _further_entries(profile, machine))
    rules = _rules(profile, held, machine, kernel)
    parts = ((number, _verdicts(numbers, rules, default)) for number, numbers in tables)
    unknown = answer(refuse(_ENOSYS))
    is_error = profile.get("defaultAction") == "SCMP_ACT_ERRNO"
    return assemble(merged_entries(parts, unknown if is_error else answer(default)), unknown)


def _rules(
    profile: dict[str, Any], held: frozenset[str], machine: str, kernel: str
) -> list[tuple[list[str], tuple[Code, ...], int]]:
    """The rules that apply, in order: names of calls, conditions, verdict. All are checked."""
    rules = []
    for item in _as_list(profile.get("syscalls"), "syscalls"):
        entry = _as_dict(item, "an entry of syscalls")
        found = (_names(entry), _conditions(entry), _verdict(entry.get("action"), entry.get("errnoRet")))
        if _applies(entry, held, machine, kernel):
            rules.append(found)
    return rules


def _verdicts(
    numbers: dict[str, int], rules: Iterable[tuple[list[str], tuple[Code, ...], int]], default: int
) -> dict[int, Code]:
    """The code of every call of a table."""
    calls = {number: _Rules() for number in numbers.values()}
    for names, conditions, verdict in rules:
        for name in names:
            if name in numbers:
                calls[numbers[name]].add(conditions, verdict)
    return {number: found.code(default) for number, found in calls.items()}
