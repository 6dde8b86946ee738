# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Which images a user means: the filters of `docker images` and `docker image prune`.

An image's age is that of its making, by its own word, as in Docker: one that does not say is older than any time.
"""

from __future__ import annotations

from .._base.clock import now_ns
from .._base.units import parse_moment
from .._base.values import Value
from .filters import as_boolean, filter_values, fits_labels
from .image_facts import created_ns, read_config
from .images import familiar, find, repository_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._store.records import ImageRecord, TagRecord
    from .engine import Engine

    Named = tuple[ImageRecord, list[TagRecord]]

LIST_FILTERS = ("dangling", "label", "label!", "before", "since", "until", "reference")


class ImageFilters(Value):
    """All that is given must fit; of several references one."""

    dangling: bool | None = None  # whether it has no name
    labels: tuple[str, ...] = ()  # NAME or NAME=value
    without_labels: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # patterns such as team/*:1.*
    after_ns: int = -1  # made later than this
    before_ns: int | None = None  # made earlier than this


def parse_filters(engine: Engine, given: Iterable[tuple[str, str]], known: tuple[str, ...]) -> ImageFilters:
    """The filters from names and values. Raises Invalid, and NotFound for an image that is not here."""
    values = filter_values(given, known)
    later = [created_ns(find(engine, name)) for name in values.get("since", [])]
    earlier = [created_ns(find(engine, name)) for name in values.get("before", [])]
    earlier += [parse_moment(text, now_ns(), option="filter until") for text in values.get("until", [])]
    return ImageFilters(
        as_boolean("dangling", values["dangling"][-1]) if "dangling" in values else None,
        tuple(values.get("label", ())),
        tuple(values.get("label!", ())),
        tuple(values.get("reference", ())),
        max(later, default=-1),
        min(earlier, default=None),
    )


def is_dangling(tags: list[TagRecord]) -> bool:
    """Whether an image has no name: a digest by which it was pulled is none."""
    return all("@" in tag.reference for tag in tags)


def fits_reference(tag: TagRecord, pattern: str) -> bool:
    """Whether a name, with its tag or without, fits a pattern, whose `*` and `?` do not stand for a slash."""
    name = familiar(tag.reference)
    return _matches(name, pattern) or _matches(repository_of(name), pattern)


def _matches(text: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase  # loads `re`: only for this filter

    parts, patterns = text.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def select(images: Iterable[Named], filters: ImageFilters) -> list[Named]:
    """The images that fit; with a filter for references only the names that do."""
    found = []
    for record, tags in images:
        if filters.references:
            tags = [tag for tag in tags if any(fits_reference(tag, pattern) for pattern in filters.references)]
            if not tags:
                continue
        if _fits(record, tags, filters):
            found.append((record, tags))
    return found


def _fits(record: ImageRecord, tags: list[TagRecord], filters: ImageFilters) -> bool:
    if filters.dangling is not None and is_dangling(tags) != filters.dangling:
        return False
    return _fits_time(record, filters) and _fits_labels(record, filters)


def _fits_time(record: ImageRecord, filters: ImageFilters) -> bool:
    if filters.after_ns < 0 and filters.before_ns is None:
        return True
    made = created_ns(record)
    return made > filters.after_ns and (filters.before_ns is None or made < filters.before_ns)


def _fits_labels(record: ImageRecord, filters: ImageFilters) -> bool:
    if not filters.labels and not filters.without_labels:
        return True
    return fits_labels(read_config(record).labels, filters.labels, filters.without_labels)
