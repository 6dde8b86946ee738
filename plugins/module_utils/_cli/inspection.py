# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Documents about objects: an array of JSON, or a template for each."""

from __future__ import annotations

from .._base.codec import render
from .._base.errors import NotFound
from .printing import put, put_error, put_untrusted
from .tables import pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


def show_documents(names: Iterable[str], facts_of: Callable[[str], dict[str, Any]], layout: str | None) -> int:
    """Print what `facts_of` says of every name; missing ones are told and make the exit code 1, as with Docker."""
    documents, code = [], 0
    for name in names:
        try:
            documents.append(facts_of(name))
        except NotFound as error:
            put_error(f"hull: {error}")
            code = 1
    if layout is None:
        put(pretty(documents) + "\n")
    elif layout == "json":
        put("".join(render(document) + "\n" for document in documents))
    else:
        from .templates import parse_template

        template = parse_template(layout)
        put_untrusted("".join(template.expand(document) + "\n" for document in documents))
    return code
