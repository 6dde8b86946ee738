# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Times of whole commands. The peers take turns, so what else the machine does hits all of them alike."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

WARM_UP = 2


@dataclass(frozen=True)
class Timed:
    """A command to be timed."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"


@dataclass(frozen=True)
class Result:
    """The times of one command, in seconds."""

    name: str
    times_s: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return median(self.times_s) * 1000

    @property
    def best_ms(self) -> float:
        return min(self.times_s) * 1000


def run_once(timed: Timed) -> float:
    """Seconds from the start of a command to its end. Raises RuntimeError where it fails."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    command = ["/usr/bin/env", "-C", timed.directory, *timed.command] if timed.directory != "/" else timed.command
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], list(command), {**os.environ, **timed.env}, file_actions=null)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{timed.name}: {' '.join(command)}: ended with wait status {status}")
    return took


def compare(candidates: Sequence[Timed], rounds: int) -> list[Result]:
    """Time all of them in turns. One that fails is told and left out."""
    times: dict[str, list[float]] = {}
    working = list(candidates)
    for number in range(-WARM_UP, rounds):
        for timed in list(working):
            try:
                took = run_once(timed)
            except (RuntimeError, OSError) as error:
                print(f"  left out: {error}")
                working.remove(timed)
                times.pop(timed.name, None)
                continue
            if number >= 0:
                times.setdefault(timed.name, []).append(took)
    return [Result(name, tuple(values)) for name, values in times.items()]


def table(title: str, results: Sequence[Result], reference: str) -> str:
    """The results as lines; ratios to the median of `reference`, if it is there."""
    base = next((result.median_ms for result in results if result.name == reference), 0.0)
    lines = [title, f"  {'':<18}{'median':>10}{'best':>10}{f'of {reference}':>14}"]
    for result in results:
        ratio = f"{result.median_ms / base:.2f}" if base else "-"
        lines.append(f"  {result.name:<18}{result.median_ms:>7.1f} ms{result.best_ms:>7.1f} ms{ratio:>14}")
    return "\n".join(lines)
