# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""`login logout search tags`."""

from __future__ import annotations

from .._engine import registries
from .command import Command
from .flags import UsageError, switch, text
from .printing import STDIN, is_terminal, put, put_error, put_line, put_untrusted, visible
from .tables import Column, render_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .command import Invocation

_DEFAULT_LIMIT = 25
_DESCRIPTION = 45
_MAX_PASSWORD = 64 * 1024
_COLUMNS = (
    Column("NAME", "Name"),
    Column("DESCRIPTION", "Description"),
    Column("STARS", "StarCount"),
    Column("OFFICIAL", "IsOfficial"),
)


def _login(invocation: Invocation) -> int:
    server = invocation.arguments[0] if invocation.arguments else ""
    with invocation.engine() as engine:
        name = registries.server_name(engine, server)
        username = invocation.text("username") or _ask_username(invocation)
        login = registries.Login(
            name, username, _password(invocation), path=invocation.text("authfile") or "", reauthorize=True
        )
        registries.log_in(engine, login)
        where = registries.where_kept(engine, name, login.path)
    put_line("Login Succeeded")
    put_error(f"credentials for {name} are kept {where}")
    return 0


def _ask_username(invocation: Invocation) -> str:
    if invocation.is_on("password-stdin"):
        raise UsageError("--password-stdin needs --username")
    if not is_terminal(STDIN):
        raise UsageError("there is nobody to ask for a user name", hint="use --username and --password-stdin")
    put("Username: ")
    with open(STDIN, encoding="utf-8", closefd=False) as answers:
        return answers.readline().strip()


def _password(invocation: Invocation) -> str:
    given = invocation.text("password")
    if invocation.is_on("password-stdin"):
        if given is not None:
            raise UsageError("--password and --password-stdin exclude each other")
        with open(STDIN, "rb", closefd=False) as source:
            return source.read(_MAX_PASSWORD).decode("utf-8", "surrogateescape").rstrip("\r\n")
    if given is not None:
        put_error("a password on the command line can be seen by every user of this host; use --password-stdin")
        return given
    if not is_terminal(STDIN):
        raise UsageError("there is nobody to ask for a password", hint="use --password-stdin")
    from getpass import getpass

    return getpass("Password: ")


def _logout(invocation: Invocation) -> int:
    path = invocation.text("authfile") or ""
    if invocation.is_on("all") and invocation.arguments:
        raise UsageError("--all goes without a registry")
    with invocation.engine() as engine:
        given = invocation.arguments[0] if invocation.arguments else ""
        names = registries.logins(engine, path) if invocation.is_on("all") else [registries.server_name(engine, given)]
        for name in names:
            changed = registries.log_out(engine, name, path=path).changed
            put_line(f"Removed login credentials for {visible(name)}" if changed else f"Not logged in to {name}")
    return 0


def _limit(invocation: Invocation) -> int:
    given = invocation.text("limit")
    if given is None:
        return _DEFAULT_LIMIT
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 100:
        raise UsageError(f"--limit: {given!r} is not a number between 1 and 100")
    return int(given)


def _search(invocation: Invocation) -> int:
    full = invocation.is_on("no-trunc")
    with invocation.engine() as engine:
        domain, hits = registries.search(engine, invocation.arguments[0], _limit(invocation))
        prefix = "" if domain == engine.settings().default_registry else f"{domain}/"
    rows = [
        {
            "Name": prefix + hit.name,
            "Description": hit.description if full else _shortened(hit.description),
            "StarCount": str(hit.stars),
            "IsOfficial": "[OK]" if hit.is_official else "",
        }
        for hit in hits
    ]
    put_untrusted(render_rows(_COLUMNS, rows, invocation.text("format")))
    return 0


def _shortened(description: str) -> str:
    line = " ".join(description.split())
    return line if len(line) <= _DESCRIPTION else line[: _DESCRIPTION - 1] + "…"


def _tags(invocation: Invocation) -> int:
    from .._engine.images import reference_of, remote_tags

    (name,) = invocation.arguments
    if ":" in name.rpartition("/")[2] or "@" in name:
        raise UsageError("a tag or digest does not go with tags", hint="give the repository only")
    with invocation.engine() as engine:
        put_untrusted("".join(f"{tag}\n" for tag in remote_tags(engine, reference_of(engine, name))))
    return 0


_AUTHFILE = text("authfile", "file of credentials, such as ~/.docker/config.json [/etc/hull/auth.json]", "path")

COMMANDS = (
    Command(
        "login",
        "[OPTIONS] [REGISTRY]",
        "Log in to a registry",
        _login,
        (
            text("username", "user name", short="u", option="username"),
            text("password", "password, seen by every user of this host", short="p", option="password"),
            switch("password-stdin", "read the password from standard input"),
            _AUTHFILE,
        ),
        maximum=1,
    ),
    Command(
        "logout",
        "[OPTIONS] [REGISTRY]",
        "Forget the credentials for a registry",
        _logout,
        (switch("all", "for all registries", short="a"), _AUTHFILE),
        maximum=1,
    ),
    Command(
        "search",
        "[OPTIONS] [REGISTRY/]TERM",
        "Find repositories of a registry",
        _search,
        (
            text("limit", "how many at most, up to 100 [25]", "number"),
            switch("no-trunc", "show whole descriptions"),
            text("format", "json, a template, or 'table' and a template"),
        ),
        minimum=1,
        maximum=1,
    ),
    Command("tags", "REPOSITORY", "List the tags that a registry has of a repository", _tags, minimum=1, maximum=1),
)
