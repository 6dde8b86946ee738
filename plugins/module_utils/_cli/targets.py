# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One command, several objects: each is tried, each failure told, the exit code says whether all went well; and the
question before many of them go."""

from __future__ import annotations

from .._base.errors import HullError
from .flags import UsageError
from .printing import STDIN, is_terminal, put, put_error, put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def for_each(names: Iterable[str], act: Callable[[str], str | None], *, multiline: bool = False) -> int:
    """Do `act` for every name and print what it gives, if anything. 0 where all went well, else 1."""
    code = 0
    for name in names:
        try:
            shown = act(name)
        except HullError as error:
            put_error(f"hull: {error}")
            code = 1
            continue
        if shown is not None:
            put_line(visible(shown, keep="\n" if multiline else ""))
    return code


def confirm(warning: str) -> bool:
    """Ask at the terminal whether to go on. Raises UsageError where nobody is there to answer."""
    if not is_terminal(STDIN):
        raise UsageError("there is nobody to ask", hint="use --force")
    put(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    with open(STDIN, closefd=False) as answers:
        return answers.readline().strip().lower() in ("y", "yes")
