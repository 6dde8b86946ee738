# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`name=value` filters, as `docker ps`, `images` and the prune commands have them: what all of them share."""

from __future__ import annotations

from .._base.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def filter_values(given: Iterable[tuple[str, str]], known: tuple[str, ...]) -> dict[str, list[str]]:
    """All values of every filter that is given. Raises Invalid for one that is not known, or has no value."""
    values: dict[str, list[str]] = {}
    for name, value in given:
        if name not in known or not value:
            written = f"{name}={value}"
            raise Invalid(f"filter {written!r} is not known", hint=f"use name=value with {', '.join(known)}")
        values.setdefault(name, []).append(value)
    return values


def as_boolean(name: str, value: str) -> bool:
    """What a filter that is on or off says. Raises Invalid."""
    if value.lower() not in (*_TRUE, *_FALSE):
        raise Invalid(f"filter {name}={value} is neither true nor false")
    return value.lower() in _TRUE


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether there is the label NAME, or NAME=value."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def fits_labels(labels: dict[str, str], wanted: Iterable[str], unwanted: Iterable[str]) -> bool:
    """Whether all wanted labels are there and no unwanted one is."""
    return all(has_label(labels, text) for text in wanted) and not any(has_label(labels, text) for text in unwanted)
