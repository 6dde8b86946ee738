# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors

from __future__ import annotations

import json

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.clock import parse_time
from ansible_collections.hull.engine.plugins.module_utils._engine.image_filters import (
    ImageFilters,
    fits_reference,
    is_dangling,
    select,
)
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord, TagRecord

DIGEST = "sha256:" + "1" * 64
HUB = "docker.io/library/debian:12"


def tags(*references: str) -> list[TagRecord]:
    return [TagRecord(reference, DIGEST) for reference in references]


def image(number: int, created: str = "", **labels: str) -> ImageRecord:
    config = {"created": created, "config": {"Labels": labels}}
    return ImageRecord(f"sha256:{number:064x}", json.dumps(config), "{}", DIGEST, (), 0, 0)


@pytest.mark.parametrize(
    ("reference", "pattern", "fits"),
    [
        (HUB, "debian", True),
        (HUB, "debian:12", True),
        (HUB, "debian:1?", True),
        (HUB, "deb*", True),
        (HUB, "debian:13", False),
        (HUB, "docker.io/library/debian:12", False),  # matched is what is shown
        ("docker.io/team/app:1.4", "team/*", True),
        ("docker.io/team/app:1.4", "*", False),  # no star stands for a slash
        ("docker.io/team/app:1.4", "*/*:1.*", True),
        ("docker.io/team/app:1.4", "team/ap[o-q]", True),
        ("r.example.org:5000/team/app:1", "r.example.org:5000/*/app", True),
        ("r.example.org:5000/team/app:1", "*/*/*:1", True),
        (f"docker.io/team/app@{DIGEST}", "team/app", True),
        (f"docker.io/team/app@{DIGEST}", "team/app@sha256:1*", True),
        ("docker.io/library/debian:latest", "debian:latest", True),
    ],
)
def test_patterns_match_names_with_and_without_their_tags(reference: str, pattern: str, fits: bool) -> None:
    assert fits_reference(tags(reference)[0], pattern) is fits


def test_an_image_known_by_digest_only_has_no_name() -> None:
    assert is_dangling([]) and is_dangling(tags(f"docker.io/team/app@{DIGEST}"))
    assert not is_dangling(tags(f"docker.io/team/app@{DIGEST}", HUB))


def test_of_a_pattern_only_the_names_that_fit_are_left() -> None:
    names = tags(HUB, "docker.io/team/app:1")
    ((_record, left),) = select([(image(1), names)], ImageFilters(references=("team/*", "nothing")))
    assert left == names[1:]
    assert select([(image(1), names)], ImageFilters(references=("nothing",))) == []


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (ImageFilters(), [0, 1, 2]),
        (ImageFilters(before_ns=parse_time("2022-01-01", option="")), [0, 1]),
        (ImageFilters(after_ns=parse_time("2021-07-01", option="")), [2]),
        (ImageFilters(after_ns=0), [1, 2]),
        (ImageFilters(labels=("tier",)), [1, 2]),
        (ImageFilters(labels=("tier=a",)), [1]),
        (ImageFilters(labels=("tier", "tier=b")), [2]),
        (ImageFilters(without_labels=("tier=a", "absent")), [0, 2]),
        (ImageFilters(labels=("tier",), without_labels=("tier=b",)), [1]),
        (ImageFilters(labels=("tier=",)), []),
    ],
)
def test_all_filters_have_to_fit(filters: ImageFilters, numbers: list[int]) -> None:
    """The first image does not say when it was made."""
    every = [image(0), image(1, "2021-07-01T00:00:00Z", tier="a"), image(2, "2022-07-01T00:00:00Z", tier="b")]
    found = select([(record, tags(HUB)) for record in every], filters)
    assert [every.index(record) for record, _tags in found] == numbers
