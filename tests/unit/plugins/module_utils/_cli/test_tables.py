# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.tables import Column, align, pretty, render_rows

COLUMNS = (Column("NAME", "Name"), Column("CONTAINER ID", "ID"))
ROWS = [
    {"Name": "web", "ID": "0123456789ab", "Labels": "a=1"},
    {"Name": "a-long-name", "ID": "ba9876543210", "Labels": ""},
]


def test_columns_are_aligned_with_a_gap_of_three():
    assert render_rows(COLUMNS, ROWS, None).split("\n") == [
        "NAME          CONTAINER ID",
        "web           0123456789ab",
        "a-long-name   ba9876543210",
        "",
    ]


def test_a_table_without_rows_has_its_headings():
    assert render_rows(COLUMNS, [], "table") == "NAME      CONTAINER ID\n"


def test_json_is_one_object_per_line():
    lines = render_rows(COLUMNS, ROWS, "json").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_a_template_makes_one_line_per_row():
    assert render_rows(COLUMNS, ROWS, "{{.Name}}={{.ID}}") == "web=0123456789ab\na-long-name=ba9876543210\n"


def test_a_table_of_a_template_has_headings():
    shown = render_rows(COLUMNS, ROWS, "table {{.ID}}\\t{{.Labels}}")
    assert shown.splitlines() == ["CONTAINER ID   LABELS", "0123456789ab   a=1", "ba9876543210"]


def test_an_unknown_field_lists_the_known_ones():
    with pytest.raises(Invalid, match="--format: there is no field '.Nope'; fields: Name, ID, Labels"):
        render_rows(COLUMNS, ROWS, "{{.Nope}}")


def test_cells_can_not_steer_a_terminal():
    assert align([["a\x1b[31m\n\u202e", "b"]]) == "a\\x1b[31m\\x0a\\u202e   b\n"


@pytest.mark.parametrize("value", [[], {}, [1, [2, {"a": None}]], {"a": {"b": [True, "x\n"]}, "c": []}, "é", 1.5])
def test_pretty_json_is_the_json_of_the_standard_library_with_indent_4(value):
    assert pretty(value) == json.dumps(value, indent=4)
