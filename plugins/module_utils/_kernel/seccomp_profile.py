# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Seccomp profiles in Docker's JSON format, assembled without libseccomp.

For one call the rules that look at arguments are tried in the profile's order, then those that don't, then the default
action holds. Calls that this machine does not have are left out, as everywhere. Calls newer than our table fail with
ENOSYS where the default action is an error, and 32-bit entries always do: a profile's `archMap` opens no further
entry. Source: Docker documentation, "Seccomp security profiles for Docker"; OCI runtime specification, linux.seccomp.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .seccomp_filter import ALLOW, KILL_PROCESS, KILL_THREAD, LOG, TRAP, answer, assemble, condition, refuse, rule
from .seccomp_policy import architecture
from .seccomp_tables import syscall_numbers

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


def profile_program(profile: dict[str, Any], capabilities: Iterable[str], machine: str, kernel: str) -> bytes:
    """The assembled profile for a container with these capabilities, on a machine (x86_64) and kernel release (6.1.0).

    Raises Invalid for a profile that is malformed or wants what can't be had (SCMP_ACT_TRACE, SCMP_ACT_NOTIFY), and
    Unsupported for a machine without a table.
    """
    arch = architecture(machine)
    numbers = syscall_numbers(machine)
    held = frozenset(capabilities)
    default = _verdict(profile.get("defaultAction"), profile.get("defaultErrnoRet"))
    calls: dict[int, _Rules] = {number: _Rules() for number in numbers.values()}
    for item in _as_list(profile.get("syscalls"), "syscalls"):
        entry = _as_dict(item, "an entry of syscalls")
        verdict, conditions = _verdict(entry.get("action"), entry.get("errnoRet")), _conditions(entry)
        names = _names(entry)
        if _applies(entry, held, machine, kernel):
            for name in names:
                if name in numbers:
                    calls[numbers[name]].add(conditions, verdict)
    unknown = answer(refuse(_ENOSYS))
    is_error = profile.get("defaultAction") == "SCMP_ACT_ERRNO"
    verdicts = {number: rules.code(default) for number, rules in calls.items()}
    return assemble(arch, verdicts, unknown if is_error else answer(default), unknown)
