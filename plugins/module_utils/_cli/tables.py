# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Rows for people and for programs: aligned tables, one JSON object per line, or a template per row. Pure."""

from __future__ import annotations

from .._base.codec import render
from .._base.values import Value
from .printing import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_GAP = 3
_MIN_WIDTH = 10


class Column(Value):
    """A column of a table: its heading, and the row's field that it shows."""

    heading: str
    field: str


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with aligned columns; control characters in cells are escaped."""
    cells = [[visible(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max(len(row[index]) for row in cells if index < len(row)) for index in range(count)]
    lines = []
    for row in cells:
        padded = [cell.ljust(max(width + _GAP, _MIN_WIDTH)) for cell, width in zip(row[:-1], widths)]
        lines.append(("".join(padded) + row[-1] if row else "").rstrip())
    return "\n".join(lines) + "\n" if lines else ""


def render_rows(columns: Sequence[Column], rows: Sequence[dict[str, Any]], layout: str | None) -> str:
    """The rows as text. `layout` is what `--format` was given: None or `table` for the columns, `json`, a template for
    each row, or `table` and a template with tabs between the columns. Raises Invalid for a template that is wrong.
    """
    if not layout or layout == "table":
        return align([[column.heading for column in columns], *([row[c.field] for c in columns] for row in rows)])
    if layout == "json":
        return "".join(render(row) + "\n" for row in rows)
    from .templates import parse_template

    if not layout.startswith("table "):
        template = parse_template(layout)
        return "".join(template.expand(row) + "\n" for row in rows)
    template = parse_template(layout[6:].strip())
    headings = {column.field: column.heading for column in columns}
    heading = template.expand_headings(headings)
    return align([line.split("\t") for line in (heading, *(template.expand(row) for row in rows))])


def pretty(value: Any, indent: str = "") -> str:
    """A value as JSON with an indent of four spaces, in ASCII, without a final line end."""
    deeper = indent + "    "
    if isinstance(value, dict) and value:
        pairs = [f"{deeper}{render(str(name))}: {pretty(item, deeper)}" for name, item in value.items()]
        return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(deeper + pretty(item, deeper) for item in value) + f"\n{indent}]"
    return render(value)
