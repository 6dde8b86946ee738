# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.templates import parse_template

ROW = {
    "ID": "abc",
    "State": {"Status": "running", "Pid": 7, "Running": True, "Health": None},
    "Args": ["a", "b c"],
    "Labels": {"x.y": "1", "a": "2"},
    "Names": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "abc"),
        ("{{ .ID }}", "abc"),
        ("{{- .ID -}}", "abc"),
        ("id {{.ID}}, pid {{.State.Pid}}.", "id abc, pid 7."),
        ("{{.State.Running}}", "true"),
        ("{{.Names}}", "<no value>"),
        ("{{.State.Missing}}", "<no value>"),
        ("{{json .State.Running}} {{json .Args}}", 'true ["a","b c"]'),
        ("{{json .Names}}", "null"),
        ("{{.Args}}", "[a b c]"),
        ("{{.Labels}}", "map[a:2 x.y:1]"),
        ('{{index .Labels "x.y"}}', "1"),
        ("{{index .Args 1}}", "b c"),
        ('{{join .Args ","}}', "a,b c"),
        ("{{len .Args}}", "2"),
        ("{{.ID | upper}}", "ABC"),
        ("{{.State.Status | upper | lower | json}}", '"running"'),
        ("a\\tb\\n", "a\tb\n"),
        ("plain", "plain"),
        ('{{"quoted {x}"}}', "quoted {x}"),
    ],
)
def test_forms_that_people_type(template, text):
    assert parse_template(template).expand(ROW) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{.ID",
        "{{}}",
        "{{.Nope}}",
        "{{range .Args}}{{.}}{{end}}",
        "{{.ID .ID}}",
        '{{index .Args "x"}}',
        '{{"a}}',
        "{{f .ID}}",
    ],
)
def test_what_is_not_understood_is_an_error_that_names_the_flag(template):
    with pytest.raises(Invalid, match="--format"):
        parse_template(template).expand(ROW)
