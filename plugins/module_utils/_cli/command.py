# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a command of the command line is: its flags, its arguments and the function that does it."""

from __future__ import annotations

import os

from .._base.errors import Denied
from .._base.values import Value
from .flags import Flag, Parsed, UsageError, parse_flags, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._engine.engine import Engine
    from .flags import FlagValue

HELP = switch("help", "print this help")


class Settings(Value):
    """What the flags before the command say. None means that the environment or the default decides."""

    root: str | None = None
    run: str | None = None
    config: str | None = None
    debug: bool = False


class Invocation(Value):
    """One command as it was typed: what its function gets."""

    settings: Settings
    parsed: Parsed

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.parsed.arguments

    @property
    def values(self) -> dict[str, FlagValue]:
        return self.parsed.values

    def is_on(self, name: str) -> bool:
        return self.parsed.is_on(name)

    def text(self, name: str) -> str | None:
        return self.parsed.text(name)

    def items(self, name: str) -> list[str]:
        return self.parsed.items(name)

    def engine(self) -> Engine:
        """The engine that the flags name; the caller closes it (`with invocation.engine() as engine:`).

        Raises Denied for anyone but root, who alone can read the records.
        """
        from .._engine.engine import open_engine

        engine = open_engine(self.settings.root, self.settings.run, self.settings.config)
        if os.geteuid() != 0:
            raise Denied("only root can manage containers", hint="use sudo")
        return engine


class Command(Value):
    """A command. `action` returns the exit code; errors are raised and end with `error_code`."""

    name: str  # as typed after `hull`: "run", "volume ls"
    usage: str  # what follows the name: "[OPTIONS] IMAGE [COMMAND] [ARG...]"
    summary: str
    action: Callable[[Invocation], int]
    flags: tuple[Flag, ...] = ()
    minimum: int = 0
    maximum: int = -1  # -1: any number
    stop_at_argument: bool = False
    error_code: int = 1

    def parse(self, words: Sequence[str]) -> Parsed:
        """The words after the command's name. Raises UsageError; `--help` is accepted with any arguments."""
        parsed = parse_flags((*self.flags, HELP), words, stop_at_argument=self.stop_at_argument)
        if not parsed.is_on("help"):
            self._check_count(len(parsed.arguments))
        return parsed

    def _check_count(self, count: int) -> None:
        if count < self.minimum:
            raise UsageError(
                f"needs at least {_arguments(self.minimum)}"
                if self.maximum != self.minimum
                else f"needs {_arguments(self.minimum)}"
            )
        if 0 <= self.maximum < count:
            raise UsageError(
                f"takes {_arguments(self.maximum) if self.maximum else 'no arguments'}, {count} were given"
                if self.maximum == self.minimum
                else f"takes at most {_arguments(self.maximum)}"
            )

    def flag_of(self, option: str) -> str:
        """The flag that sets an option of the container module, or empty."""
        return next((f"--{flag.name}" for flag in self.flags if option and flag.option == option), "")


def _arguments(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"
