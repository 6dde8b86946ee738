# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Options that every module has, and what modules do with options before the engine sees them.

Documented in `plugins/doc_fragments/engine.py`; `tests/unit/test_documentation.py` compares.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENGINE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "hull_root": {"type": "path"},
    "hull_run": {"type": "path"},
    "hull_config": {"type": "path"},
}


def given(options: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Those of the named options that the task gives; of lists of options, the sub-options that it gives.

    A dict stays as it is: its keys may be the user's own, and a null among the values the user's mistake.
    """
    return {name: _without_none(options[name]) for name in sorted(names) if options.get(name) is not None}


def _without_none(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [
        {name: each for name, each in item.items() if each is not None} if isinstance(item, dict) else item
        for item in value
    ]


def with_tag(name: str, tag: str | None) -> str:
    """The reference with the tag, unless it has one or is a digest or an id."""
    last = name.rpartition("/")[2]
    return name if not tag or ":" in last or "@" in last else f"{name}:{tag}"


def filter_pairs(filters: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Filters as the engine takes them: `{"label": ["a", "b"], "dangling": False}` is three names and values."""
    pairs = []
    for name, value in (filters or {}).items():
        for item in value if isinstance(value, list) else [value]:
            pairs.append((str(name), str(item).lower() if isinstance(item, bool) else str(item)))
    return pairs
