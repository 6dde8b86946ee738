# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`doctor`: what of the engine's state does not fit together, and mending it."""

from __future__ import annotations

from .._base.errors import Invalid
from .command import Command
from .flags import switch, text
from .printing import put_error, put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .command import Invocation


def _doctor(invocation: Invocation) -> int:
    from .._engine.doctor import treat

    layout = invocation.text("format")
    if layout not in (None, "json"):
        raise Invalid(f"{layout!r} is not a format", option="--format", hint="use json")
    with invocation.engine() as engine:
        treatment = treat(engine, layers=invocation.is_on("layers"), check=not invocation.is_on("fix"))
    documents = treatment.documents()
    if layout == "json":
        from .._base.codec import render

        put_line(render({"findings": documents, "left": len(treatment.left)}))
    else:
        _show(documents, fix=invocation.is_on("fix"))
    return 1 if treatment.left else 0


def _show(documents: list[dict[str, Any]], *, fix: bool) -> None:
    for found in documents:
        put_line(visible(f"{found['kind']} {found['where']}: {found['what']}"))
        if found["fixed"]:
            put_line(f"    mended: {visible(found['cure'])}")
            continue
        put_line(f"    cure: {visible(found['cure'])}{' (--fix does)' if found['fixable'] and not fix else ''}")
        if "error" in found:
            put_line(f"    not mended: {visible(found['error'])}")
    left = [found for found in documents if not found["fixed"]]
    if not documents:
        put_line("no findings")
    elif left and not fix:
        fixable = sum(found["fixable"] for found in left)
        put_error(f"hull doctor: {_count(len(left))}, of which --fix mends {fixable}")
    elif left:
        put_error(f"hull doctor: {_count(len(left))} left")


def _count(number: int) -> str:
    return "1 finding" if number == 1 else f"{number} findings"


COMMANDS = (
    Command(
        "doctor",
        "[OPTIONS]",
        "Check the whole state against the kernel; exit 1 if something is wrong",
        _doctor,
        (
            switch("fix", "mend what can be mended; exit 1 if something is left"),
            switch("layers", "read every byte of all images too"),
            text("format", "json", short="f"),
        ),
        maximum=0,
    ),
)
