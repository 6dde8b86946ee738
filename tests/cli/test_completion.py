# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Keys typed into real shells that have read the scripts of `hull completion`; the manual page in roff's eyes."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Hull, engine_in
from tests.support.terminal import Terminal

PROMPT = "READY> "


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hull]:
    """An engine with an image of two names, a container and a volume."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    for hull in engine_in(tmp_path_factory.mktemp("engine")):
        hull("import", "--change", "CMD x", "-", "small:1", stdin=tar.getvalue())
        hull("tag", "small:1", "smaller:1.1")
        hull("create", "--name", "sunflower", "small:1")
        hull("volume", "create", "meadow")
        yield hull


def _bash(hull: Hull, directory: Path) -> Terminal:
    return _shell(["bash", "--norc", "--noprofile", "-i"], f". {directory}/_hull", hull, directory)


def _zsh(hull: Hull, directory: Path) -> Terminal:
    load = f"fpath=({directory} $fpath); autoload -Uz compinit; compinit -u -D; setopt interactivecomments"
    return _shell(["zsh", "-f", "-i"], load, hull, directory)


def _shell(command: list[str], load: str, hull: Hull, directory: Path) -> Terminal:
    Path(directory, "_hull").write_text(hull("completion", command[0]))
    Path(directory, "inputrc").write_text("set enable-bracketed-paste off\nset bell-style none\n")
    settings = {"PS1": PROMPT, "TERM": "dumb", "INPUTRC": f"{directory}/inputrc", "HOME": str(directory)}
    terminal = Terminal(command, env={**hull.env, **settings}, columns=200)
    terminal.wait_for(PROMPT)
    terminal.type(load + "\r")
    return terminal


LINES = [
    ("hull vers", "hull version "),
    ("hull volume cr", "hull volume create "),
    ("hull help vers", "hull help version "),
    ("hull --deb", "hull --debug "),
    ("hull run --net", "hull run --network "),
    ("hull run --network=br", "hull run --network=bridge "),
    ("hull run --restart unl", "hull run --restart unless-stopped "),
    ("hull run -e 'A=b c' --pull=mi", "hull run -e 'A=b c' --pull=missing "),
    ("hull run --mount type=b", "hull run --mount type=bind,"),
    ("hull run smaller:", "hull run smaller:1.1 "),
    ("hull history smaller:1", "hull history smaller:1.1 "),
    ("hull kill -s SIGUSR1 sun", "hull kill -s SIGUSR1 sunflower "),
    ("hull cp sun", "hull cp sunflower:"),
    ("hull volume rm mea", "hull volume rm meadow "),
    ("hull run -v mead", "hull run -v meadow:"),
    ("hull import /etc/hostn", "hull import /etc/hostname "),
]


@pytest.mark.parametrize("open_shell", [_bash, _zsh])
def test_a_shell_completes_lines(filled: Hull, tmp_path: Path, open_shell: Callable[[Hull, Path], Terminal]) -> None:
    with open_shell(filled, tmp_path) as shell:
        for line, completed in LINES:
            shell.wait_for(PROMPT)
            shell.type(f"{line}\t")
            shell.wait_for(completed)
            shell.type("\x01#\r")  # at the beginning of the line a comment sign: nothing is executed


def test_fish_completes_lines(filled: Hull, tmp_path: Path) -> None:
    script = tmp_path / "hull.fish"
    script.write_text(filled("completion", "fish"))
    asked = "".join(f'complete -C "{line}"; echo .; ' for line, _ in LINES)
    done = subprocess.run(
        ["fish", "-N", "-c", f"source {script}; {asked}"],
        env={**filled.env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    answers = [answer.splitlines() for answer in done.stdout.split(".\n")]
    for (line, completed), answer in zip(LINES, answers):
        words = [words.partition("\t")[0] for words in answer]
        assert words == [completed.split()[-1]], line


def test_who_may_not_read_the_records_completes_the_rest(filled: Hull) -> None:
    """As a user who has yet to type sudo: no names, and no message between the keys."""
    as_nobody = ["unshare", "--user", *filled.command, "complete", "--", "rm"]
    for word, answer in (("", ""), ("--f", "--force\t")):
        done = subprocess.run([*as_nobody, word], env=filled.env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(answer) and bool(done.stdout) == bool(answer)


def test_the_manual_page_has_every_command_and_no_mistake(filled: Hull) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n"],
        input=filled("manual"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "hull - containers without a daemon" in done.stdout
    for line in ("hull image prune [OPTIONS]", "-p, --publish list", "hull import --change 'CMD /sbin/init'"):
        assert line in done.stdout
    assert "\\" not in done.stdout
