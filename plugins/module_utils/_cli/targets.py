# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One command, several objects: each is tried, each failure told, the exit code says whether all went well; and the
question before many of them go."""

from __future__ import annotations

import os

from .._base.codec import parse, render
from .._base.errors import HullError
from .flags import UsageError
from .printing import STDIN, is_terminal, put, put_error, put_line, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn

_MOST_AT_ONCE = 100
_CHUNK = 65536


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


def at_once(names: Sequence[str], act: Callable[[str], str | None]) -> int:
    """As `for_each`, but for all names at the same time, each in a forked process; printed is in the order of names.

    `act` opens the engine itself: a connection to the records does not survive a fork.
    """
    if len(names) == 1:
        return for_each(names, act)
    running: list[_Forked] = []
    code, waiting = 0, list(names)
    try:
        while waiting or running:
            while waiting and len(running) < _MOST_AT_ONCE:
                running.append(_Forked(waiting.pop(0), act))
            code |= for_each((running[0].name,), lambda _name: running[0].result())
            del running[0]
    finally:
        for forked in running:  # interrupted: they are, too, by the terminal or by losing who reads them
            forked.close()
    return code


class _Forked:
    """A process that does something to one name."""

    def __init__(self, name: str, act: Callable[[str], str | None]) -> None:
        self.name = name
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _do(name, act, writing)
        os.close(writing)

    def result(self) -> str | None:
        """What `act` returned. Raises HullError with the words of what it raised."""
        data = b""
        while more := os.read(self._reading, _CHUNK):
            data += more
        self.close()
        if not data:
            raise HullError(f"{self.name}: the process that does it was ended")
        shown, message = parse(data, source=f"the process for {self.name}")
        if message:
            raise HullError(message)
        return str(shown) if shown is not None else None

    def close(self) -> None:
        if self._reading >= 0:
            os.close(self._reading)
            os.waitpid(self._pid, 0)
            self._reading = -1


def _do(name: str, act: Callable[[str], str | None], writing: int) -> NoReturn:
    """The life of the forked process."""
    try:
        try:
            answer = [act(name), ""]
        except HullError as error:
            answer = [None, str(error)]
        except OSError as error:
            answer = [None, f"{name}: {(error.strerror or str(error)).lower()}"]
        os.write(writing, render(answer).encode())
    except BaseException:  # a fork boundary: nothing may run on in the parent's frames
        pass
    finally:
        os._exit(0)


def confirm(warning: str) -> bool:
    """Ask at the terminal whether to go on. Raises UsageError where nobody is there to answer."""
    if not is_terminal(STDIN):
        raise UsageError("there is nobody to ask", hint="use --force")
    put(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    with open(STDIN, closefd=False) as answers:
        return answers.readline().strip().lower() in ("y", "yes")
