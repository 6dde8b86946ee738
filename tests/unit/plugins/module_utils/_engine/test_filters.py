# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._engine.filters import as_boolean, filter_values, has_label


def test_values_of_a_filter_are_kept_in_order() -> None:
    given = [("label", "a"), ("until", "1h"), ("label", "b=1")]
    assert filter_values(given, ("label", "until")) == {"label": ["a", "b=1"], "until": ["1h"]}


@pytest.mark.parametrize("given", [("colour", "red"), ("label", ""), ("", "red")])
def test_what_is_no_filter_is_named_with_those_that_are(given: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match=f"'{given[0]}={given[1]}' is not known; use name=value with label, until"):
        filter_values([given], ("label", "until"))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("False", False), ("0", False)])
def test_a_switch_is_on_or_off(text: str, value: bool) -> None:
    assert as_boolean("dangling", text) is value
    with pytest.raises(Invalid, match="dangling=perhaps is neither true nor false"):
        as_boolean("dangling", "perhaps")


@pytest.mark.parametrize(
    ("wanted", "there"), [("a", True), ("a=1", True), ("a=", False), ("a=2", False), ("b", False), ("c=x=y", True)]
)
def test_a_label_is_looked_for_by_name_or_with_its_value(wanted: str, there: bool) -> None:
    assert has_label({"a": "1", "c": "x=y"}, wanted) is there
