# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Does a container still match its task? Spec against spec, option by option. Pure.

`declared`: what the task gives is compared with what was declared when the container was made, completed by the image
where neither said anything, as docker_container does: values and lists must be equal, sets and dicts may have more than
the task wants. `exact`: also what was given before and is no longer counts, and nothing may be more. The image's part
is on both sides, so it never is a difference. `comparisons` changes the rule per option.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import to_record
from .._base.values import Value, replace
from .health_options import changed_health
from .option_fields import ALLOW_MORE, FIELDS, IGNORE, STRICT, get, part_name, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .image_facts import ImageConfig

IMAGE, PLATFORM = "image", "platform"  # compared by the plan: they are no part of the spec
ALIASES = {"ports": "published_ports", "log_opt": "log_options", "env_file": "env"}
# Options of docker_container that say nothing about a container of ours, or nothing that is compared.
_ACCEPTED = frozenset(
    (
        "detach paused networks network_links exposed_ports exposed expose links dns_opts dns_search_domains "
        "mac_address publish_all_ports device_requests volume_driver"
    ).split()
)


class Difference(Value):
    """One option that does not match, in JSON types."""

    option: str
    before: Any
    after: Any
    live: bool


def check_comparisons(comparisons: dict[str, str] | None) -> dict[str, str]:
    """The comparison per option that the task asks for, `'*'` spread out. Raises Invalid."""
    asked = {str(option): str(mode) for option, mode in (comparisons or {}).items()}
    result: dict[str, str] = {}
    everything = asked.pop("*", "")
    if everything:
        if everything not in (STRICT, IGNORE):
            raise Invalid(f"'*' can be strict or ignore, not {everything!r}", option="comparisons")
        result = dict.fromkeys([*FIELDS, IMAGE, PLATFORM], everything)
    named: dict[str, str] = {}
    for name, mode in asked.items():
        option = ALIASES.get(name, name)
        if option in named:
            raise Invalid(
                f"{named[option]} and {name} are the same option", option="comparisons", hint="name one of them"
            )
        named[option] = name
        _check_comparison(option, mode)
        result[option] = mode
    return result


def _check_comparison(option: str, mode: str) -> None:
    is_value = option in (IMAGE, PLATFORM) or (option in FIELDS and FIELDS[option].kind == "value")
    if option not in FIELDS and option not in (IMAGE, PLATFORM) and option not in _ACCEPTED:
        raise Invalid(f"{option!r} is not an option that is compared", option="comparisons")
    if mode not in (STRICT, IGNORE, ALLOW_MORE):
        raise Invalid(f"{mode!r} is not known", option="comparisons", hint="strict, ignore, allow_more_present")
    if mode == ALLOW_MORE and is_value:
        raise Invalid(f"{option} is a single value: it can't be allow_more_present", option="comparisons")


def _is_subsequence(wanted: tuple[Any, ...], actual: tuple[Any, ...]) -> bool:
    rest = iter(actual)
    return all(item in rest for item in wanted)


def matches(wanted: Any, actual: Any, kind: str, mode: str) -> bool:
    """Whether the actual value is what is wanted under this comparison. None and empty are the same."""
    if kind == "value":
        return bool(wanted == actual)
    if not wanted and (not actual or mode == ALLOW_MORE):
        return True
    if kind == "dict":
        wanted, actual = wanted or {}, actual or {}
        if mode == ALLOW_MORE:
            return all(name in actual and actual[name] == value for name, value in wanted.items())
        return bool(wanted == actual)
    wanted, actual = tuple(wanted or ()), tuple(actual or ())
    if kind == "set":
        return set(wanted) <= set(actual) if mode == ALLOW_MORE else set(wanted) == set(actual)
    return _is_subsequence(wanted, actual) if mode == ALLOW_MORE else wanted == actual


class Rules(Value):
    """What a comparison goes by: the options that the task gives, what it says of single ones, whether it is exact."""

    given: frozenset[str]
    comparisons: dict[str, str] = {}
    exact: bool = False

    def options(self, actual: ContainerSpec) -> list[str]:
        """The options to compare."""
        names = self.given | frozenset(actual.given) if self.exact else self.given
        return sorted(names & FIELDS.keys())

    def mode(self, option: str) -> str:
        """How an option is compared."""
        if option in self.comparisons:
            return self.comparisons[option]
        return STRICT if self.exact else FIELDS[option].comparison


def compare(
    wanted: ContainerSpec, actual: ContainerSpec, desired: ImageConfig, current: ImageConfig, rules: Rules
) -> list[Difference]:
    """The options whose values do not match. `desired` completes the wanted spec, `current` the container's."""
    found = []
    for option in rules.options(actual):
        mode, rule = rules.mode(option), FIELDS[option]
        if mode == IGNORE:
            continue
        want, have = view(option, wanted, desired), view(option, actual, current)
        if rule.parts and mode == ALLOW_MORE:
            want = {key: item for key, item in (want or {}).items() if part_name(option, key) in rules.given}
        if not matches(want, have, rule.kind, mode):
            found.append(Difference(option, _plain(have, rule.kind), _plain(want, rule.kind), rule.live))
    return found


def _plain(value: Any, kind: str) -> Any:
    """The value for the diff: JSON types, what has no order sorted, of mounts and their like what is not usual."""
    if kind == "dict" and value:
        return {key: to_record(value[key]) for key in sorted(value)}
    if kind == "set" and value:
        return sorted((_without_defaults(item) for item in value), key=str)
    return to_record(value)


def _without_defaults(item: Any) -> Any:
    if not isinstance(item, Value):
        return to_record(item)
    said = {name: part for name, part in item.fields().items() if part != getattr(type(item), name, None)}
    return to_record(said)


def merge(
    wanted: ContainerSpec, actual: ContainerSpec, options: list[str], rules: Rules | None = None
) -> ContainerSpec:
    """The declared spec after these live options were changed.

    What may have more than the task wants keeps the rest: labels, ulimits, rates, rules, keys of log_options.
    """
    rules = rules or Rules(frozenset(wanted.given))
    limits = actual.limits
    changes: dict[str, Any] = {}
    for option in options:
        for path in _paths(option, wanted, rules):
            value = _merged(path, wanted, actual, FIELDS[option].kind if rules.mode(option) == ALLOW_MORE else "")
            if path.startswith("limits."):
                limits = replace(limits, **{path.partition(".")[2]: value})
            else:
                changes[path] = value
    return replace(actual, limits=limits, given=_given(wanted, actual, options, rules), **changes)


def _paths(option: str, wanted: ContainerSpec, rules: Rules) -> tuple[str, ...]:
    rule = FIELDS[option]
    if not rule.parts or rules.mode(option) != ALLOW_MORE:
        return rule.names
    return tuple(dict.fromkeys(path for key, path in rule.parts.items() if part_name(option, key) in wanted.given))


def _merged(path: str, wanted: ContainerSpec, actual: ContainerSpec, kind: str) -> Any:
    value, old = get(wanted, path), get(actual, path)
    if path == "health" and kind:
        return changed_health(value, old)
    if kind == "dict" and isinstance(old, dict):
        return {**old, **value}
    return tuple(dict.fromkeys((*old, *value))) if kind == "set" else value


def _given(wanted: ContainerSpec, actual: ContainerSpec, options: list[str], rules: Rules) -> tuple[str, ...]:
    """The options that the container was given: what this task gives of those that changed, or all that it gives."""

    def option(name: str) -> str:
        return name.partition(".")[0]

    if rules.exact:
        kept = (name for name in actual.given if option(name) in FIELDS and rules.mode(option(name)) == IGNORE)
        return tuple(sorted({*wanted.given, *kept}))
    return tuple(sorted({*actual.given, *options, *(name for name in wanted.given if option(name) in options)}))
