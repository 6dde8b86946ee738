# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import codec
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from hypothesis import given
from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_writes_and_reads_what_json_does(value):
    text = codec.render(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert codec.parse(text, source="test") == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"a":1,"a":2}',
        "[1] x",
        "NaN",
        "[1e999]",
        "-1e999",
        "[Infinity]",
        "{a:1}",
        "'x'",
        '"\n"',
        b"\xff",
        "[" * 100000,
    ],
)
def test_anything_else_is_damaged_and_named(text):
    with pytest.raises(Damaged, match="read the thing: "):
        codec.parse(text, source="the thing")


def test_equal_values_give_equal_text():
    assert codec.render({"b": 1, "a": 2}, sort=True) == codec.render({"a": 2, "b": 1}, sort=True)


def test_neither_reading_nor_writing_loads_the_json_package():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from module_utils._base import codec
assert codec.parse(codec.render([1]), source='x') == [1]
loaded = {'json', 'typing', 're', 'enum', 'dataclasses'} & set(sys.modules)
assert not loaded, loaded
"""
    root = codec.__file__.partition("/module_utils/")[0]
    subprocess.run([sys.executable, "-I", "-S", "-c", code, root], check=True)
