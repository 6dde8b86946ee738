# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write for a health check, as a HealthSpec, and how the image completes it. Pure."""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import HealthSpec
from .._base.units import parse_duration
from .._base.values import replace
from .limit_options import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OPTION = "healthcheck"
_NONE = ("NONE",)
_NOT_GIVEN = -1
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")
_LEAST_NS = 1_000_000


def parse_health(value: dict[str, Any] | None) -> HealthSpec | None:
    """A health check, or None where the option is not given. Raises Invalid.

    Without a test it switches the image's check off, as docker_container does; with `test_cli_compatible` it keeps the
    image's test and changes the rest. Numbers that are not given are -1: `complete_health` takes them from the image.
    """
    if value is None:
        return None
    test = value.get("test")
    words = _test(test)
    if words == _NONE or not (words or (value.get("test_cli_compatible") and test is None)):
        return HealthSpec(_NONE)
    fields = {f"{name}_ns": _duration(value, name) for name in _DURATIONS}
    return HealthSpec(words, **fields, retries=_retries(value))


def complete_health(health: HealthSpec | None, base: HealthSpec | None) -> HealthSpec | None:
    """The health check with what it does not say from `base`, the image's, and then from the engine's defaults."""
    if health is None:
        return base
    if health.test == _NONE:
        return health
    base = base if base is not None and base.test != _NONE else HealthSpec(())
    said = {name: value for name, value in health.fields().items() if value not in (_NOT_GIVEN, ())}
    return replace(base, **said)


def changed_health(new: HealthSpec | None, old: HealthSpec | None) -> HealthSpec | None:
    """A container's own health check after a change that keeps what it does not speak of."""
    if new is None or old is None or new.test == _NONE:
        return new
    if old.test == _NONE:
        return new if new.test else old
    return complete_health(new, old)


def _test(test: Any) -> tuple[str, ...]:
    if not test:
        return ()
    if isinstance(test, str):
        return _NONE if test == "NONE" else ("CMD-SHELL", test)
    words = tuple(str(word) for word in test) if isinstance(test, (list, tuple)) else ()
    lengths = {"NONE": len(words) == 1, "CMD": len(words) > 1, "CMD-SHELL": len(words) == 2}
    if not words or not lengths.get(words[0]):
        raise Invalid(
            f"{test!r} is not a test",
            option=_OPTION,
            hint="write a string for the container's shell, [CMD, word, ...], [CMD-SHELL, line] or [NONE]",
        )
    return words


def _duration(value: dict[str, Any], name: str) -> int:
    """Nanoseconds; 0 is not given, as in Docker."""
    if value.get(name) is None:
        return _NOT_GIVEN
    duration_ns = parse_duration(value[name], option=f"{_OPTION}.{name}")
    if 0 < duration_ns < _LEAST_NS:
        raise Invalid(f"{value[name]!r} is too little", option=f"{_OPTION}.{name}", hint="the minimum is 1ms")
    return duration_ns or _NOT_GIVEN


def _retries(value: dict[str, Any]) -> int:
    """How many failures; 0 is not given, as in Docker."""
    option = f"{_OPTION}.retries"
    return integer({option: value.get("retries")}, option, 0, 0, 1000) or _NOT_GIVEN
