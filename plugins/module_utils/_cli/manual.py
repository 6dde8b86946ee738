# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The manual page hull(1), made from the tables of commands and flags. Pure.

Source: man(7), groff_man(7): only the macros that every reader of manual pages knows.
"""

from __future__ import annotations

from .._base.paths import DEFAULT_CONFIG, DEFAULT_ROOT, DEFAULT_RUN
from .._base.version import VERSION
from .commands import sections
from .flags import SWITCH
from .main import GLOBAL_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .command import Command
    from .flags import Flag

_DESCRIPTION = (
    "hull runs containers without a daemon: it brings images from registries and archives, makes containers of "
    "them, runs and watches those. Its containers, images and volumes are those of the modules of the Ansible "
    "collection hull.engine.",
    "Commands, flags, tables and exit codes are Docker's where both have them. Managing containers needs root.",
    "Containers are named by name, ID or the beginning of an ID that fits only one; images by reference, ID or its "
    "beginning. A first word that is no flag ends the flags of run, create and exec: what follows belongs to the "
    "container. -- ends them everywhere. A lone - is standard input or output.",
)
_ENVIRONMENT = (
    ("HULL_ROOT", "directory of images, containers and volumes; --root comes first"),
    ("HULL_RUN", "directory of run-time files; --run comes first"),
    ("HULL_CONFIG", "directory of configuration; --config comes first"),
)
_FILES = (
    (f"{DEFAULT_CONFIG}/engine.json", "default limits, logging, address pools, the control group of all containers"),
    (f"{DEFAULT_CONFIG}/registries.json", "registries, their mirrors, certificates and credentials"),
    (f"{DEFAULT_CONFIG}/policy.json", "which images may come in"),
    (f"{DEFAULT_CONFIG}/auth.json", "credentials that hull login keeps"),
    (DEFAULT_ROOT, "images, containers and volumes"),
    (DEFAULT_RUN, "what runs now; gone after a reboot"),
)
_EXIT_STATUS = (
    ("0", "all went well"),
    ("1", "a command other than run and exec could not do all of it"),
    ("125", "run or exec could not do it: a wrong flag, no such image, a port in use"),
    ("126, 127", "the container's command is no program, or does not exist"),
    ("130, 141", "Ctrl-C before the container started; the reader of the output went away"),
    ("any other", "the container's own, of run, start --attach, attach and exec; 128 + n where signal n ended it"),
)
_EXAMPLES = (
    ("A shell in a container that is gone afterwards:", "hull run --rm -it debian:12 /bin/bash"),
    ("A web server in the background, with half a processor:", "hull run -d --name web --cpus 0.5 -p 8080:80 nginx:1"),
    ("What it has written, as it comes:", "hull logs -f web"),
    ("A root file system's tarball as an image:", "hull import --change 'CMD /sbin/init' rootfs.tar.gz template:1"),
    ("What this host lacks, and what to do about it:", "hull info"),
)
_SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}


def manual_page() -> str:
    """The page's source in roff, ASCII only. The same version gives the same bytes."""
    lines = [f'.TH HULL 1 "" "hull {VERSION}" "User Commands"']
    lines += [".SH NAME", "hull \\- containers without a daemon"]
    lines += [".SH SYNOPSIS", ".B hull", "[OPTIONS] COMMAND [ARG...]"]
    lines += [".SH DESCRIPTION", *_paragraphs(_DESCRIPTION), ".SH OPTIONS", *_flags(GLOBAL_FLAGS)]
    for title, commands in sections():
        lines += [f".SH {_escaped(title).upper()}"]
        for command in commands:
            lines += _command(command)
    for title, rows in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES), ("EXIT STATUS", _EXIT_STATUS)):
        lines += [f".SH {title}", *_rows(rows)]
    lines.append(".SH EXAMPLES")
    for text, example in _EXAMPLES:
        lines += [".TP", _text(text), f"\\fB{_escaped(example)}\\fR"]
    lines += [".SH SEE ALSO", _text("hull COMMAND --help, ansible-doc hull.engine.container")]
    return "\n".join(lines) + "\n"


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in (".PP", _text(text))][1:]


def _command(command: Command) -> list[str]:
    lines = [f".SS hull {_escaped(command.name)}", f"\\fBhull {_escaped(command.name)}\\fR {_escaped(command.usage)}"]
    return [*lines, ".PP", _text(command.summary + "."), *_flags(command.flags)]


def _flags(flags: Iterable[Flag]) -> list[str]:
    return [
        line for flag in sorted(flags, key=lambda flag: flag.name) for line in (".TP", _flag(flag), _text(flag.help))
    ]


def _flag(flag: Flag) -> str:
    names = [f"--{name}" for name in (flag.name, *flag.aliases)]
    if flag.short:
        names.insert(0, f"-{flag.short}")
    shown = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in names)
    return shown if flag.kind == SWITCH else f"{shown} \\fI{_escaped(flag.metavar)}\\fR"


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [line for name, text in rows for line in (".TP", f"\\fB{_escaped(name)}\\fR", _text(text))]


def _text(text: str) -> str:
    """A line of text; one that begins with a control character is text all the same."""
    escaped = _escaped(text)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _escaped(text: str) -> str:
    """Minus signs that stay minus signs when they are copied, quotes and backslashes as they are."""
    return (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
