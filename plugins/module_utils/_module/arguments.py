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
    """Those of the named options that the task gives, sub-options that it does not give left out."""
    return {name: _without_none(options[name]) for name in sorted(names) if options.get(name) is not None}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
