# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.copying import split_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:etc/a:b", ("web", "etc/a:b")),
        ("web:", ("web", "")),
        ("./a:b", ("", "./a:b")),
        ("../a:b", ("", "../a:b")),
        ("/tmp/a:b", ("", "/tmp/a:b")),
        ("file", ("", "file")),
        ("-", ("", "-")),
        (":x", ("", ":x")),
    ],
)
def test_what_is_before_a_colon_is_a_container_unless_it_looks_like_a_path(text: str, place: tuple[str, str]) -> None:
    assert split_place(text) == place
