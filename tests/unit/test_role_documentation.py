# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the README of the role host says of its variables is what the role accepts, and its example is accepted too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLE = Path(__file__).resolve().parents[2] / "roles/host"
README = (ROLE / "README.md").read_text(encoding="utf-8")
OPTIONS: dict[str, Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))[
    "argument_specs"
]["main"]["options"]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
WITH_KEYS = [name for name, option in OPTIONS.items() if "options" in option]


def _rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: what stands in the first column, and the other columns."""
    section = README.partition(f"{heading}\n")[2].partition("\n#")[0]
    rows = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip("|").split(" |")]
            rows.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), others))
    return rows


def _type(option: dict[str, Any]) -> str:
    return ", ".join(f"`{_default(choice)}`" for choice in option.get("choices", [])) or str(option["type"])


def _type_of_elements(option: dict[str, Any]) -> str:
    return "list" if option["type"] == "list" else _type(option)


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


def test_the_defaults_are_the_documented_ones() -> None:
    assert {name: option["default"] for name, option in OPTIONS.items()} == DEFAULTS


def test_the_table_has_each_variable_with_its_type_and_default() -> None:
    told = {name: row[:2] for name, row in _rows("## Variables").items()}
    assert told == {
        name: [_type_of_elements(option), f"`{_default(option['default'])}`"] for name, option in OPTIONS.items()
    }


@pytest.mark.parametrize("variable", WITH_KEYS)
def test_a_table_has_each_key_of_a_variable_with_its_type(variable: str) -> None:
    told = _rows(f"### `{variable}`")
    assert {name: row[0] for name, row in told.items()} == {
        name: _type_of_elements(option) for name, option in OPTIONS[variable]["options"].items()
    }
    for name, option in OPTIONS[variable]["options"].items():
        assert "default" not in option or told[name][1] == f"`{_default(option['default'])}`"
        for key in option.get("options", {}):
            assert f"`{key}`" in told[name][1]


def test_what_the_example_sets_is_accepted() -> None:
    variables = yaml.safe_load(README.partition("group_vars/container_hosts/hull.yml")[2].split("```")[1][4:])
    assert len(variables) > 5
    outcome = ArgumentSpecValidator(OPTIONS).validate(variables)
    assert outcome.error_messages == []
