# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.ages import ago, span

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
