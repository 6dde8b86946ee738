# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.auth import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (["Basic"], [Challenge("basic", {})]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a:pull,push"'],
            [Challenge("bearer", {"realm": "https://a/t?x=1,2", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (
            ['Basic realm="a \\"b\\"", BEARER Realm=c , service = d'],
            [Challenge("basic", {"realm": 'a "b"'}), Challenge("bearer", {"realm": "c", "service": "d"})],
        ),
        (['Negotiate, Basic realm="x"'], [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="a"', 'Basic realm="b"'],
            [Challenge("bearer", {"realm": "a"}), Challenge("basic", {"realm": "b"})],
        ),
        (['Bearer realm="a",realm="b"'], [Challenge("bearer", {"realm": "a"})]),
        ([""], []),
        (["realm=x"], []),
        (['Bearer realm="never ends'], [Challenge("bearer", {"realm": "never ends"})]),
    ],
)
def test_all_challenges_are_read(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected
