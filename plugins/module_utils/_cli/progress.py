# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How far a pull, push or load is: bars that are redrawn in place on a terminal, else one line per finished layer.

The transfer calls `progress(event, subject, done, total)` with the events of `_image/pull.py` and `push.py`; `total` 0
means not known.
"""

from __future__ import annotations

import time

from .._base.units import format_size
from .printing import STDERR, STDOUT, is_terminal, visible, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_BAR_WIDTH = 30
_REDRAW_S = 0.08
_FINAL = {
    "exists": "Already exists",
    "done": "Pull complete",
    "present": "Layer already exists",
    "mounted": "Mounted from another repository",
    "pushed": "Pushed",
}
_STATES = {"compress": "Compressing", "upload": "Pushing"}


def short_subject(subject: str) -> str:
    """A digest as its first twelve digits; other subjects as they are."""
    algorithm, colon, digits = subject.partition(":")
    return digits[:12] if colon and algorithm.startswith("sha") else subject


def pulling(canonical: str) -> str:
    """`1.4: Pulling from team/app` for a canonical reference: its tag or digest, and the path at its registry."""
    name, by_digest, version = canonical.partition("@")
    if not by_digest:
        name, _, version = canonical.rpartition(":")
    return f"{version}: Pulling from {name.partition('/')[2]}"


def bar(done: int, total: int) -> str:
    """`[=========>          ]  1.2MB/4.8MB`, or only the amount where the total is not known."""
    if total <= 0:
        return format_size(done)
    filled = min(done, total) * _BAR_WIDTH // total
    drawn = "=" * filled + (">" if filled < _BAR_WIDTH else "")
    return f"[{drawn.ljust(_BAR_WIDTH)}]  {format_size(done)}/{format_size(total)}"


def line(event: str, subject: str, done: int, total: int, *, loading: bool = False) -> str:
    """One layer's line, of a pull, a push or of the loading of an archive."""
    if event in _FINAL:
        return f"{visible(short_subject(subject))}: {'Loaded' if loading and event == 'done' else _FINAL[event]}"
    state = "Loading" if loading else "Extracting" if 0 < total <= done else "Downloading"
    state = _STATES.get(event, state)
    return f"{visible(short_subject(subject))}: {state}  {bar(done, total)}"


class ProgressPrinter:
    """Where progress goes; call it as the transfer's `progress`."""

    def __init__(self, fd: int, *, columns: int = 0, rows: int = 0, loading: bool = False) -> None:
        self._fd = fd
        self._loading = loading
        self._columns, self._rows = columns, rows  # zeros: not a terminal
        self._lines: dict[str, str] = {}
        self._finished: set[str] = set()
        self._drawn = 0
        self._last_draw = 0.0
        self.resolved = False  # whether the registry had something that was not here

    def __call__(self, event: str, subject: str, done: int, total: int) -> None:
        if event in ("resolved", "warning"):
            self.resolved = self.resolved or event == "resolved"
            self._tell(f"WARNING: {visible(subject)}" if event == "warning" else pulling(visible(subject)))
            return
        final = event in _FINAL
        if final and subject in self._finished:
            return
        if final:
            self._finished.add(subject)
        self._lines[subject] = line(event, subject, done, total, loading=self._loading)
        if not self._columns:
            if final:
                self._tell(self._lines[subject])
        elif final or time.monotonic() - self._last_draw > _REDRAW_S:
            self._draw()

    def _tell(self, text: str) -> None:
        """A line that stays: above the bars, where there are any."""
        if self._drawn:
            write_all(self._fd, f"\x1b[{self._drawn}A\r\x1b[J".encode())
            self._drawn = 0
        write_all(self._fd, (text + "\n").encode())
        if self._columns and self._lines:
            self._draw()

    def _draw(self) -> None:
        """All lines again over the ones drawn before; with more layers than rows only the last ones."""
        shown = list(self._lines.values())[-max(self._rows - 1, 1) :]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = up + "".join(f"\r\x1b[2K{entry[: self._columns - 1]}\n" for entry in shown)
        write_all(self._fd, text.encode())
        self._drawn, self._last_draw = len(shown), time.monotonic()

    def finish(self) -> None:
        """Draw the last state."""
        if self._columns and self._lines:
            self._draw()


class _Quiet:
    """No output at all."""

    resolved = False

    def __call__(self, event: str, subject: str, done: int, total: int) -> None:
        """Progress that nobody wants to see."""

    def finish(self) -> None:
        """Nothing was drawn."""


class ProgressOutput:
    """`with ProgressOutput(...) as progress:` on standard output, or on standard error for `run`.

    A load is only shown on a terminal; what it brought is told by its caller.
    """

    def __init__(self, *, quiet: bool, on_error: bool = False, loading: bool = False) -> None:
        self._fd = STDERR if on_error else STDOUT
        self._loading = loading
        self._quiet = quiet
        self._printer: ProgressPrinter | _Quiet = _Quiet()

    def __enter__(self) -> ProgressPrinter | _Quiet:
        terminal = is_terminal(self._fd)
        if not self._quiet and (terminal or not self._loading):
            columns = rows = 0
            if terminal:
                from .terminal import window_size

                size = window_size(self._fd)
                columns, rows = size.columns or 80, size.rows or 24
            self._printer = ProgressPrinter(self._fd, columns=columns, rows=rows, loading=self._loading)
        return self._printer

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._printer.finish()
