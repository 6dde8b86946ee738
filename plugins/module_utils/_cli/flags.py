# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A small declarative parser for flags in the manner of Docker's command line.

`argparse` takes longer to import than a container takes to start. This one knows what users of Docker type:
`-it`, `-p8080:80`, `-p=8080:80`, `--name web`, `--name=web`, `--detach=false`, `--`; a lone `-` is an argument.
Pure: it reads and writes nothing. Values stay text, what they mean is decided by who uses them.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Union

    FlagValue = Union[bool, str, "list[str]"]

SWITCH, TEXT, LIST = "switch", "text", "list"

_TRUE = ("true", "1", "t", "yes", "on")
_FALSE = ("false", "0", "f", "no", "off")


class UsageError(Invalid):
    """The command line itself is wrong: an unknown flag, a missing value, too few arguments."""


class Flag(Value):
    """One flag. `option` is the container module's option that it sets, so an error about it can name the flag."""

    name: str  # long name without dashes
    help: str
    kind: str = SWITCH
    short: str = ""  # one letter, without the dash
    metavar: str = ""
    option: str = ""
    aliases: tuple[str, ...] = ()  # further long names


def switch(name: str, help: str, *, short: str = "", option: str = "") -> Flag:
    """A flag that is on or off."""
    return Flag(name, help, SWITCH, short, "", option)


def text(name: str, help: str, metavar: str = "string", *, short: str = "", option: str = "", alias: str = "") -> Flag:
    """A flag with a value; the last one given counts."""
    return Flag(name, help, TEXT, short, metavar, option, (alias,) if alias else ())


def many(name: str, help: str, metavar: str = "list", *, short: str = "", option: str = "", alias: str = "") -> Flag:
    """A flag with a value that may be given more than once; all count."""
    return Flag(name, help, LIST, short, metavar, option, (alias,) if alias else ())


class Parsed(Value):
    """What was given: flags by long name, and the arguments in order."""

    values: dict[str, FlagValue]
    arguments: tuple[str, ...]

    def is_on(self, name: str) -> bool:
        """Whether a switch is on; one that was not given is off."""
        return self.values.get(name) is True

    def text(self, name: str) -> str | None:
        """The value of a flag, None where it was not given."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def items(self, name: str) -> list[str]:
        """All values of a flag that may be given more than once."""
        value = self.values.get(name)
        return value if isinstance(value, list) else []


class _Reader:
    """The state of one pass over the words of a command line."""

    def __init__(self, flags: Iterable[Flag], words: Sequence[str]) -> None:
        self.long: dict[str, Flag] = {}
        self.short: dict[str, Flag] = {}
        for flag in flags:
            self.long[flag.name] = flag
            for alias in flag.aliases:
                self.long[alias] = flag
            if flag.short:
                self.short[flag.short] = flag
        self.words = words
        self.position = 0
        self.values: dict[str, FlagValue] = {}

    def take_value(self, shown: str) -> str:
        if self.position >= len(self.words):
            raise UsageError(f"flag {shown} needs a value")
        self.position += 1
        return self.words[self.position - 1]

    def store(self, flag: Flag, value: FlagValue) -> None:
        if flag.kind == LIST:
            known = self.values.setdefault(flag.name, [])
            assert isinstance(known, list) and isinstance(value, str)
            known.append(value)
        else:
            self.values[flag.name] = value

    def read_long(self, word: str) -> None:
        """`--name`, `--name value` or `--name=value`."""
        name, equals, value = word[2:].partition("=")
        flag = self.long.get(name)
        if flag is None:
            raise UsageError(f"unknown flag --{name}", hint=_suggestion(name, self.long))
        if flag.kind == SWITCH:
            self.store(flag, _boolean(value, f"--{name}") if equals else True)
        else:
            self.store(flag, value if equals else self.take_value(f"--{name}"))

    def read_short(self, word: str) -> None:
        """`-d`, `-it`, `-p80`, `-p 80`, `-p=80`, `-itp80`, `-d=false`."""
        index = 1
        while index < len(word):
            letter = word[index]
            flag = self.short.get(letter)
            if flag is None:
                where = f" in {word}" if len(word) > 2 else ""
                raise UsageError(f"unknown flag -{letter}{where}")
            rest = word[index + 1 :]
            if flag.kind == SWITCH:
                if rest.startswith("="):
                    self.store(flag, _boolean(rest[1:], f"-{letter}"))
                    return
                self.store(flag, True)
                index += 1
                continue
            self.store(flag, rest[rest.startswith("=") :] if rest else self.take_value(f"-{letter}"))
            return


def _boolean(value: str, shown: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise UsageError(f"flag {shown}: {value!r} is neither true nor false")


def _suggestion(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only on the way to an error

    close = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean --{close[0]}?" if close else ""


def parse_flags(flags: Iterable[Flag], words: Sequence[str], *, stop_at_argument: bool = False) -> Parsed:
    """Read the words. With `stop_at_argument` everything from the first argument on is an argument, flags included,
    as `run IMAGE COMMAND -x` needs it. Raises UsageError.
    """
    reader = _Reader(flags, words)
    arguments: list[str] = []
    while reader.position < len(words):
        word = words[reader.position]
        if word == "--":
            reader.position += 1
            break
        if word == "-" or not word.startswith("-"):
            if stop_at_argument:
                break
            arguments.append(word)
            reader.position += 1
            continue
        reader.position += 1
        if word.startswith("--"):
            reader.read_long(word)
        else:
            reader.read_short(word)
    arguments += words[reader.position :]
    return Parsed(reader.values, tuple(arguments))
