# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What may stand where the cursor is: the words that complete a command line, from the tables of commands and flags.

The shells' scripts (`shells.py`) know none of this, they ask `hull complete`. Pure, but for what `Names` does.
"""

from __future__ import annotations

from .._base.values import Value
from .command import HELP
from .commands import command_topics, find_command, group_topics
from .flags import LIST, SWITCH, UsageError, parse_flags
from .main import GLOBAL_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .command import Command
    from .commands import Topic
    from .flags import Flag, Parsed

    # The names of a kind, given what the flags before the command say: see `candidates`.
    Names = Callable[[str, Parsed], Iterable[Topic]]

CONTAINERS, IMAGES, VOLUMES, NETWORKS, FILES = "containers", "images", "volumes", "networks", "files"
SIGNALS, CAPABILITIES = "signals", "capabilities"
_CURSOR = "\0"  # no word of a command line has it

# A word of a usage line and what stands there. A colon behind a kind goes behind its names.
_ARGUMENTS = {
    "CONTAINER": (CONTAINERS,),
    "CONTAINER:PATH": (CONTAINERS + ":", FILES),
    "PATH|-": (CONTAINERS + ":", FILES),
    "FILE|URL|-": (FILES,),
    "IMAGE": (IMAGES,),
    "NAME": (CONTAINERS, IMAGES, VOLUMES),
    "NAME[:TAG": (IMAGES,),
    "NAME[:TAG|@DIGEST": (IMAGES,),
    "REPOSITORY[:TAG": (IMAGES,),
    "VOLUME": (VOLUMES,),
}
_METAVARS = {"directory": (FILES,), "file": (FILES,), "path": (FILES,), "image": (IMAGES,)}
_FLAG_KINDS = {
    "cap-add": (CAPABILITIES,),
    "cap-drop": (CAPABILITIES,),
    "device": (FILES,),
    "env-file": (FILES,),
    "label-file": (FILES,),
    "network": (NETWORKS,),
    "signal": (SIGNALS,),
    "stop-signal": (SIGNALS,),
    "volume": (VOLUMES + ":", FILES),
    "volumes-from": (CONTAINERS,),
}
FLAG_WORDS = {
    "cgroupns": "private host",
    "driver": "local",
    "ipc": "private none host container:",
    "log-driver": "json-file none journald syslog",
    "mount": "type=bind, type=volume, type=tmpfs, type=image,",
    "network": "bridge none host container:",
    "pid": "host container:",
    "pull": "missing always never",
    "restart": "no on-failure on-failure: always unless-stopped",
    "runtime": "native",
    "security-opt": "no-new-privileges seccomp=unconfined unmask=",
    "type": "container image volume",
    "userns": "host auto",
    "uts": "host",
}
_FORMATS = {"save": "docker-archive oci-archive oci-dir"}
_OPEN_ENDS = (":", "=", ",")


class Candidates(Value):
    """The words that fit, each with what it is; or, with `files`, that a file's name is wanted."""

    words: tuple[Topic, ...] = ()
    files: bool = False

    def text(self) -> str:
        """What the scripts read: a line per word, a tab before what it is; or the one line `:files`."""
        if self.files:
            return ":files\n"
        return "".join(f"{word}\t{about}\n" for word, about in self.words)


def is_open(word: str) -> bool:
    """Whether more belongs to a word, so that no blank follows it. The scripts go by the same rule."""
    return word.endswith(_OPEN_ENDS)


def candidates(words: Sequence[str], names: Names) -> Candidates:
    """What completes the last of the words that follow `hull`.

    `names` gives what there is of containers, images, volumes, networks, signals and capabilities (constants above);
    its second argument is what stands before the command. Files are named only where no other word fits. A line with
    a mistake in it gets nothing.
    """
    *before, current = words or ("",)
    try:
        found = _Line(before, current, names).candidates()
    except UsageError:
        return Candidates()
    fitting = tuple(topic for topic in found.words if topic[0].startswith(current))
    return Candidates(fitting, files=found.files and not fitting)


class _Line:
    """One command line with the cursor at its end."""

    def __init__(self, before: Sequence[str], current: str, names: Names) -> None:
        self._current = current
        self._names = names
        self._globals = parse_flags((*GLOBAL_FLAGS, HELP), [*before, _CURSOR], stop_at_argument=True)

    def candidates(self) -> Candidates:
        """All that may stand there, whatever it begins with."""
        flag = self._awaits(self._globals, GLOBAL_FLAGS)
        if flag is not None:
            return self._of_kinds(_METAVARS.get(flag.metavar, ()))
        words = self._globals.arguments
        if words[0] == "help":
            words = words[1:]
        elif words[0] == _CURSOR and self._current.startswith("-"):
            return self._flags((*GLOBAL_FLAGS, HELP), self._globals)
        if words[0] == _CURSOR:
            return Candidates((*command_topics(), *group_topics(), ("help", "Show help")))
        group = group_topics(words[0])
        if group and words[1] == _CURSOR:
            return Candidates(tuple(group))
        command, rest = find_command(words)
        return self._of_command(command, rest) if command else Candidates()

    def _of_command(self, command: Command, rest: Sequence[str]) -> Candidates:
        flags = (*command.flags, HELP)
        parsed = parse_flags(flags, rest, stop_at_argument=command.stop_at_argument)
        flag = self._awaits(parsed, flags)
        if flag is not None:
            return self._values(command, flag)
        at = parsed.arguments.index(_CURSOR)
        if self._current.startswith("-") and "--" not in rest and not (command.stop_at_argument and at):
            return self._after_equals(command, flags) if "=" in self._current else self._flags(flags, parsed)
        given = parsed.arguments[:at]
        found = self._of_kinds(_argument_kinds(command.usage, at))
        choices = [(word, "") for word in _choices(command.usage, at)]
        return Candidates((*choices, *(topic for topic in found.words if topic[0] not in given)), found.files)

    @staticmethod
    def _awaits(parsed: Parsed, flags: Iterable[Flag]) -> Flag | None:
        """The flag whose value is at the cursor."""
        return next((flag for flag in flags if _CURSOR in (parsed.text(flag.name), *parsed.items(flag.name))), None)

    @staticmethod
    def _flags(flags: Iterable[Flag], parsed: Parsed) -> Candidates:
        """Flags that are not given yet, or can be given again."""
        fresh = (flag for flag in flags if flag.kind == LIST or flag.name not in parsed.values)
        return Candidates(tuple((f"--{flag.name}", flag.help) for flag in fresh))

    def _after_equals(self, command: Command, flags: Iterable[Flag]) -> Candidates:
        """`--name=value` as one word."""
        name, _, _ = self._current[2:].partition("=")
        flag = next((flag for flag in flags if name in (flag.name, *flag.aliases) and flag.kind != SWITCH), None)
        if flag is None:
            return Candidates()
        found = self._values(command, flag)
        return Candidates(tuple((f"--{name}={word}", about) for word, about in found.words), found.files)

    def _values(self, command: Command, flag: Flag) -> Candidates:
        found = self._of_kinds(_FLAG_KINDS.get(flag.name, _METAVARS.get(flag.metavar, ())))
        fixed = [(word, "") for word in _fixed_values(command, flag)]
        return Candidates((*fixed, *found.words), found.files)

    def _of_kinds(self, kinds: Sequence[str]) -> Candidates:
        words: list[Topic] = []
        for kind in kinds:
            if kind != FILES:
                end = ":" if kind.endswith(":") else ""
                words += ((name + end, about) for name, about in self._names(kind.rstrip(":"), self._globals))
        return Candidates(tuple(words), FILES in kinds)


def _fixed_values(command: Command, flag: Flag) -> list[str]:
    """The values that a flag has whatever the engine has: words of its help, where the help has them."""
    if flag.name == "filter":
        return [word.strip(",") for word in flag.help.split() if word.strip(",").endswith("=")]
    if flag.name == "format":
        return _FORMATS.get(command.name, "json").split()
    return FLAG_WORDS.get(flag.name, "").split()


def _usage_word(usage: str, position: int) -> str:
    """The word of a usage line that stands for the argument at a position; the last one may stand for more."""
    words = [word for word in usage.partition(" | ")[0].split() if word != "[OPTIONS]"]
    if position >= len(words) and words and words[-1].endswith("...]"):
        position = -1
    word = words[position] if position < len(words) else ""
    return word.strip("[]").rstrip(".")


def _argument_kinds(usage: str, position: int) -> Sequence[str]:
    return _ARGUMENTS.get(_usage_word(usage, position), ())


def _choices(usage: str, position: int) -> list[str]:
    """`bash|zsh|fish` of a usage line: what is in small letters is typed as it is."""
    word = _usage_word(usage, position)
    return word.split("|") if word.islower() else []
