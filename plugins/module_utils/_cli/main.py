# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The `hull` command: from words to an exit code. The only place of the command line that knows how errors end.

Exit codes are Docker's: the container's own for `run`, `exec`, `start -a` and `attach`; 125, 126 and 127 where `run`
could not start it; 1 for any other error; 130 after Ctrl-C; 141 where the reader of standard output went away.
"""

from __future__ import annotations

from .._base.errors import HullError, LaunchError
from .command import HELP, Invocation, Settings
from .flags import UsageError, parse_flags, switch, text
from .printing import open_standard_streams, put_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .command import Command

GLOBAL_FLAGS = (
    text("root", "directory of images, containers and volumes [/var/lib/hull]", "directory"),
    text("run", "directory of run-time files [/run/hull]", "directory"),
    text("config", "directory of configuration [/etc/hull]", "directory"),
    switch("debug", "show where an error comes from", short="D"),
    switch("version", "print the version"),
)
INTERRUPTED, READER_GONE = 130, 141


def main(argv: Sequence[str]) -> int:
    """Do what the words after `hull` say. Prints; never raises but for what ends an interpreter."""
    settings = Settings()
    open_standard_streams()
    try:
        globals_ = parse_flags((*GLOBAL_FLAGS, HELP), argv, stop_at_argument=True)
        settings = Settings(
            globals_.text("root"), globals_.text("run"), globals_.text("config"), globals_.is_on("debug")
        )
        words = globals_.arguments
        if globals_.is_on("version"):
            words = ("version", "--short")
        elif globals_.is_on("help") or not words:
            words = ("help",)
        return _dispatch(settings, words)
    except BrokenPipeError:
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageError as error:
        put_error(f"hull: {error}\nRun 'hull --help' for usage")
        return 1


def _dispatch(settings: Settings, words: Sequence[str]) -> int:
    from . import commands

    if words[0] == "help":
        return commands.show_help(words[1:])
    command, rest = commands.find_command(words)
    if command is None:
        return commands.show_help(words)
    try:
        parsed = command.parse(rest)
        if parsed.is_on("help"):
            return commands.show_help(command.name.split())
        return command.action(Invocation(settings, parsed))
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # here every error becomes a line and an exit code
        if settings.debug:
            _show_traceback(error)
        return report(command, error)


def report(command: Command, error: Exception) -> int:
    """Tell an error on standard error. The exit code that it stands for."""
    if isinstance(error, UsageError):
        put_error(f"hull {command.name}: {error}\nRun 'hull {command.name} --help' for usage")
        return command.error_code
    if isinstance(error, HullError):
        put_error(f"hull: {_worded(command, error)}")
        return error.exit_code if isinstance(error, LaunchError) and command.error_code != 1 else command.error_code
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        put_error(f"hull: {command.name}{where}: {(error.strerror or str(error)).lower()}")
        return command.error_code
    put_error(f"hull: {command.name}: {type(error).__name__}: {error}; this is a bug, see it with hull --debug")
    return command.error_code


def _worded(command: Command, error: HullError) -> str:
    """The message, with the flag in place of the module's option."""
    option, colon, rest = str(error).partition(": ")
    flag = command.flag_of(option)
    return f"{flag}{colon}{rest}" if flag else str(error)


def _show_traceback(error: Exception) -> None:
    from traceback import format_exception

    put_error("".join(format_exception(type(error), error, error.__traceback__)).rstrip())
