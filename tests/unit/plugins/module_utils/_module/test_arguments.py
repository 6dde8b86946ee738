# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._module.arguments import filter_pairs, with_tag
from ansible_collections.hull.engine.plugins.modules.container_image import default_source, other_name

DIGEST = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("name", "tag", "whole"),
    [
        ("debian", None, "debian"),
        ("debian", "12", "debian:12"),
        ("debian:11", "12", "debian:11"),
        ("r:5000/team/app", "1", "r:5000/team/app:1"),
        ("r:5000/team/app:2", "1", "r:5000/team/app:2"),
        (f"debian@{DIGEST}", "12", f"debian@{DIGEST}"),
        (DIGEST, "12", DIGEST),
    ],
)
def test_a_tag_goes_with_a_name_that_has_none(name: str, tag: str | None, whole: str) -> None:
    assert with_tag(name, tag) == whole


@pytest.mark.parametrize(
    ("filters", "pairs"),
    [
        (None, []),
        ({"dangling": False, "until": 24}, [("dangling", "false"), ("until", "24")]),
        ({"label": ["a", "b=1"]}, [("label", "a"), ("label", "b=1")]),
        ({"label!": "keep"}, [("label!", "keep")]),
    ],
)
def test_filters_become_names_and_values(filters: dict[str, Any] | None, pairs: list[tuple[str, str]]) -> None:
    assert filter_pairs(filters) == pairs


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, "pull"),
        ({"load_path": "/x"}, "load"),
        ({"import_path": "/x"}, "import"),
        ({"build": {"path": "/x"}}, "build"),
        ({"load_path": "/x", "source": "local"}, "local"),
    ],
)
def test_the_source_is_what_the_other_options_speak_of(given: dict[str, Any], source: str) -> None:
    assert default_source({"source": None, "load_path": None, "import_path": None, "build": None, **given}) == source


@pytest.mark.parametrize(
    ("name", "tag", "repository", "other"),
    [
        ("app:1", None, None, ""),
        ("app:1", None, "r:5000/app", "r:5000/app:1"),
        ("app:1", "2", "r:5000/app", "r:5000/app:1"),
        ("app:2", "2", "r:5000/app:3", "r:5000/app:3"),
        ("r:5000/app", None, "copy", "copy"),
        (f"app@{DIGEST}", "4", "copy", "copy:4"),
        (DIGEST, None, "copy", "copy"),
    ],
)
def test_the_other_name_has_the_tag_of_the_image(
    name: str, tag: str | None, repository: str | None, other: str
) -> None:
    assert other_name({"repository": repository, "tag": tag}, name) == other
