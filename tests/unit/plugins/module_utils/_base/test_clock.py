# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.clock import parse_moment
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid

S = 10**9
NOW = 1_800_000_000 * S


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1792764273", 1792764273 * S),
        ("1792764273.5", 1792764273 * S + S // 2),
        ("10m", NOW - 600 * S),
        ("1h30m", NOW - 5400 * S),
        ("2026-11-23T20:24:33Z", 1795465473 * S),
        ("2026-11-23T20:24:33.25+01:00", 1795461873 * S + S // 4),
        ("2026-11-23", 1795392000 * S),
    ],
)
def test_times_that_people_write(text, moment):
    assert parse_moment(text, NOW, option="--since") == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "2026-13-01", "2026-11-23T25:00:00Z", "."])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(Invalid, match="--since: .* is not a time"):
        parse_moment(text, NOW, option="--since")
