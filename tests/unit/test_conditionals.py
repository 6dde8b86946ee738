# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Conditions of shipped tasks are such that ansible-core before 2.19 takes them too, which puts them in an if block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
KEYWORDS = ("when", "that", "failed_when", "changed_when")
FILES = sorted(path for place in ("roles", "playbooks") for path in (ROOT / place).rglob("*.yml"))


def _conditions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key in KEYWORDS:
                yield from (str(condition) for condition in (member if isinstance(member, list) else [member]))
            else:
                yield from _conditions(member)
    elif isinstance(value, list):
        for member in value:
            yield from _conditions(member)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_conditions_can_stand_in_an_if_block(path: Path) -> None:
    for condition in _conditions(yaml.safe_load(path.read_text(encoding="utf-8"))):
        Environment(autoescape=True).parse(f"{{% if {condition} %}}x{{% endif %}}")
