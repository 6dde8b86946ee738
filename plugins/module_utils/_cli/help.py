# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Help texts, made from the tables of commands and flags. Pure."""

from __future__ import annotations

from .flags import SWITCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .command import Command
    from .flags import Flag


def _left(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    value = f" {flag.metavar}" if flag.kind != SWITCH else ""
    return f"  {short}--{flag.name}{value}"


def flag_lines(flags: Iterable[Flag]) -> list[str]:
    """One line per flag, by name, the descriptions in one column."""
    ordered = sorted(flags, key=lambda flag: flag.name)
    width = max((len(_left(flag)) for flag in ordered), default=0)
    return [f"{_left(flag).ljust(width)}   {flag.help}" for flag in ordered]


def command_help(command: Command) -> str:
    """What `hull COMMAND --help` prints."""
    lines = [f"Usage:  hull {command.name} {command.usage}".rstrip(), "", command.summary]
    if command.flags:
        lines += ["", "Options:", *flag_lines(command.flags)]
    return "\n".join(lines) + "\n"


def group_help(name: str, summary: str, rows: Sequence[tuple[str, str]]) -> str:
    """What `hull volume` prints: `rows` are commands' names, as they follow the group's, and summaries."""
    return "\n".join([f"Usage:  hull {name} COMMAND", "", summary, "", "Commands:", *_columns(rows)]) + "\n"


def overview(flags: Iterable[Flag], sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """What `hull --help` prints: `sections` are titles with pairs of a command's name and summary."""
    lines = ["Usage:  hull [OPTIONS] COMMAND", "", "Containers without a daemon"]
    for title, rows in sections:
        lines += ["", f"{title}:", *_columns(rows)]
    lines += ["", "Options:", *flag_lines(flags), "", "Run 'hull COMMAND --help' for more about a command."]
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name.ljust(width)}   {summary}" for name, summary in rows]
