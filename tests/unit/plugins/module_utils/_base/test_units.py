# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import units
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (67108864, 67108864),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("64MiB", 64 << 20),
        ("64 M", 64 << 20),
        ("0.5g", 512 << 20),
        ("1.5k", 1536),
        ("2T", 2 << 40),
        ("7b", 7),
        ("-1", -1),
        ("unlimited", -1),
    ],
)
def test_sizes_are_powers_of_1024(text, size):
    assert units.parse_size(text, option="memory") == size


@pytest.mark.parametrize("text", ["", "M", "64X", "6 4M", "1e3", "64ib", "--1", "1..5M", "٦M", "1_0"])
def test_what_is_no_size_names_the_option(text):
    with pytest.raises(Invalid, match=r"^memory: "):
        units.parse_size(text, option="memory")


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [("30s", 30 * 10**9), ("1m30s", 90 * 10**9), ("500ms", 5 * 10**8), ("2h", 7200 * 10**9), (5, 5 * 10**9), ("0", 0)],
)
def test_durations(text, duration_ns):
    assert units.parse_duration(text, option="interval") == duration_ns


@pytest.mark.parametrize("text", ["", "soon", "1x", "-1s", "s"])
def test_what_is_no_duration_names_the_option(text):
    with pytest.raises(Invalid, match=r"^interval: "):
        units.parse_duration(text, option="interval")


@pytest.mark.parametrize(("size", "text"), [(0, "0B"), (999, "999B"), (4_863_000, "4.86MB"), (124_000_000, "124MB")])
def test_sizes_for_people(size, text):
    assert units.format_size(size) == text


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
    assert units.parse_moment(text, NOW, option="--since") == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "2026-13-01", "2026-11-23T25:00:00Z", "."])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(Invalid, match="--since: .* is not a time"):
        units.parse_moment(text, NOW, option="--since")
