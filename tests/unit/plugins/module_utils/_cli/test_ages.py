# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.ages import ago, parse_moment, span

S = 10**9
NOW = 1_800_000_000 * S


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_spans_are_one_unit_rounded_down(seconds, text):
    assert span(int(seconds * S)) == text


def test_a_moment_that_is_not_known_has_no_age():
    assert ago(0, NOW) == "N/A"
    assert ago(NOW - 3 * S, NOW) == "3 seconds ago"


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
