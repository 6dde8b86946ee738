# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.commands import HOMES, find_command, sections
from ansible_collections.hull.engine.plugins.module_utils._cli.completion import FLAG_WORDS, candidates, is_open
from ansible_collections.hull.engine.plugins.module_utils._cli.container_flags import container_options
from ansible_collections.hull.engine.plugins.module_utils._cli.manual import manual_page
from ansible_collections.hull.engine.plugins.module_utils._cli.shells import SHELLS, completion_script
from ansible_collections.hull.engine.plugins.module_utils._engine.options import container_spec

NAMES = {"containers": ["web", "wiki"], "images": ["debian:12"], "volumes": ["data"], "signals": ["SIGHUP"]}


def _names(kind, _globals):
    return [(name, "") for name in NAMES.get(kind, ())]


def _complete(line):
    """The words for a line that is cut at blanks, `:files` where those are wanted."""
    found = candidates(line.split(" "), _names)
    return ":files" if found.files else " ".join(word for word, _ in found.words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hist", "history"),
        ("imag", "images image"),
        ("help vol", "volume"),
        ("--ro", "--root"),
        ("--root ", ":files"),
        ("--root /x --r", "--run"),
        ("volume i", "inspect"),
        ("volume inspect ", "data"),
        ("rm ", "web wiki"),
        ("rm web ", "wiki"),
        ("rm -f w", "web wiki"),
        ("rm --v", "--volumes"),
        ("rm --volumes --v", ""),
        ("container rm w", "web wiki"),
        ("kill -s ", "SIGHUP"),
        ("kill --signal=S", "--signal=SIGHUP"),
        ("rename w", "web wiki"),
        ("rename web ", ""),
        ("run ", "debian:12"),
        ("run --rm --publish 80 deb", "debian:12"),
        ("run -itp 80 deb", "debian:12"),
        ("run debian:12 ", ""),
        ("run debian:12 --r", ""),
        ("run --rm -- --r", ""),
        ("run --env-file ", ":files"),
        ("run --net=h", "--net=host"),
        ("run -v ", "data:"),
        ("run -v /", ":files"),
        ("run --wrong x ", ""),
        ("run --rm=maybe ", ""),
        ("cp w", "web: wiki:"),
        ("cp ./", ":files"),
        ("cp web:/etc ", "web: wiki:"),
        ("save --format ", "docker-archive oci-archive oci-dir"),
        ("ps --filter st", "status="),
        ("import ", ":files"),
        ("inspect ", "web wiki debian:12 data"),
        ("completion ", "bash zsh fish"),
        ("frobnicate ", ""),
        ("info --help ", ""),
    ],
)
def test_a_line_is_completed(line, words):
    assert _complete(line) == words


def test_nothing_typed_offers_every_command():
    found = {word for word, _ in candidates((), _names).words}
    assert found == {name.partition(" ")[0] for name in HOMES if name != "complete"} | {"container", "help"}


@pytest.mark.parametrize("name", [name for name in HOMES if name != "complete"])
def test_every_command_is_in_the_help_and_in_the_manual(name):
    command, _ = find_command(name.split())
    assert command in [command for _, commands in sections() for command in commands]
    assert f".SS hull {name}\n" in manual_page().replace("\\-", "-")


FLAGS_OF_RUN = {flag.name for flag in find_command(["run"])[0].flags}
FINISHED = [
    (flag, word)
    for flag, words in FLAG_WORDS.items()
    for word in words.split()
    if flag in FLAGS_OF_RUN and not is_open(word)
]


@pytest.mark.parametrize(("flag", "word"), FINISHED)
def test_a_word_that_is_offered_for_a_flag_is_accepted(flag, word):
    command, _ = find_command(["run"])
    options = container_options(command.parse([f"--{flag}", word, "debian"]), name="web")
    assert container_spec(options)


def test_the_manual_page_is_plain_ascii_without_a_line_that_roff_takes_for_a_request_of_its_own():
    known = (".TH", ".SH", ".SS", ".PP", ".TP", ".B ")
    assert all(line.startswith(known) for line in manual_page().splitlines() if line.startswith((".", "'")))
    assert manual_page().isascii() and "\n\n" not in manual_page()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_for_the_name_of_the_command(shell):
    assert " cabin" in completion_script(shell, "cabin")


def test_another_shell_is_refused():
    with pytest.raises(Invalid, match="'tcsh' is not a shell .*; use bash, zsh, fish"):
        completion_script("tcsh")
