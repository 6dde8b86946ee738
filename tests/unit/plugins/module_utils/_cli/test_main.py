# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 5))
HULL = os.path.join(ROOT, "bin", "hull")
SLOW = "argparse json re enum typing dataclasses subprocess socket signal logging threading ctypes".split()


@pytest.fixture
def hull(tmp_path):
    def call(*words, **options):
        directories = ["--root", f"{tmp_path}/root", "--run", f"{tmp_path}/run", "--config", f"{tmp_path}/etc"]
        command = [sys.executable, "-I", "-S", HULL, *directories, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, **options)

    return call


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["frobnicate"], 1, "hull: 'frobnicate' is not a command\nRun 'hull --help' for usage\n"),
        (["imagse"], 1, "hull: 'imagse' is not a command; did you mean 'images'?\nRun 'hull --help' for usage\n"),
        (["--frob"], 1, "hull: unknown flag --frob\nRun 'hull --help' for usage\n"),
        (["run"], 125, "hull run: needs at least 1 argument\nRun 'hull run --help' for usage\n"),
        (["run", "--frob", "x"], 125, "hull run: unknown flag --frob\nRun 'hull run --help' for usage\n"),
        (["ps", "x"], 1, "hull ps: takes no arguments, 1 were given\nRun 'hull ps --help' for usage\n"),
        (["rename", "x"], 1, "hull rename: needs 2 arguments\nRun 'hull rename --help' for usage\n"),
        (
            ["run", "--memory", "64X", "debian"],
            125,
            "hull: --memory: '64X' is not a size; write bytes, or a number with K, M, G, T or P: 64M\n",
        ),
        (["run", "-p", "x:80", "debian"], 125, "hull: --publish: 'x' in 'x:80' is not a port; write 80,"),
        (
            ["run", "--health-cmd", "x", "--health-start-period", "zz", "debian"],
            125,
            "hull: --health-start-period: 'zz' is not a duration; write it like",
        ),
        (["run", "--gpus", "all", "debian"], 125, "hull: --gpus: there is no driver that hands devices out"),
        (["run", "--restart", "maybe", "debian"], 125, "hull: --restart: 'maybe' is not a policy; use no,"),
        (
            ["create", "--cap-add", "NET_RAW", "--network", "moon", "debian"],
            1,
            "hull: --network: there is no network 'moon'",
        ),
        (["run", "--detach-keys", "zz", "debian"], 125, "hull: --detach-keys: 'zz' is not a key"),
        (["run", "-it", "debian"], 125, "hull: --tty: standard input is not a terminal; leave out -t, or -i\n"),
        (["--root", "relative", "ps"], 1, "hull: HULL_ROOT: 'relative' is not an absolute path\n"),
    ],
)
def test_a_wrong_command_line_gets_one_clear_message(hull, words, code, message):
    result = hull(*words, stdin=subprocess.DEVNULL)
    if os.geteuid() != 0 and "only root" in result.stderr:
        pytest.skip("the engine is root's, and said so")
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(message)


@pytest.mark.parametrize("words", [["--help"], ["help"], [], ["-D"], ["volume"], ["volume", "--help"], ["image"]])
def test_help_goes_to_standard_output(hull, words):
    result = hull(*words)
    assert result.returncode == 0
    assert result.stdout.startswith("Usage:  hull ")


@pytest.mark.parametrize("group", ["container", "image", "volume", "system"])
def test_what_the_help_of_a_group_lists_is_understood_there(hull, group):
    listed = hull(group, "--help").stdout.partition("Commands:\n")[2].splitlines()
    assert listed
    for name in (line.split()[0] for line in listed):
        assert hull(group, name, "--help").stdout.startswith("Usage:  hull "), name


@pytest.mark.parametrize("words", [["run", "--help"], ["help", "run"], ["container", "run", "--help"]])
def test_help_of_a_command_is_found_in_every_way(hull, words):
    result = hull(*words)
    assert result.stdout.startswith("Usage:  hull run [OPTIONS] IMAGE [COMMAND] [ARG...]\n")
    assert "  -p, --publish list " in result.stdout


def test_every_command_has_help(hull):
    from ansible_collections.hull.engine.plugins.module_utils._cli.commands import HOMES, find_command

    for name in HOMES:
        command, _ = find_command(name.split())
        assert command is not None and command.name == name and command.summary


def test_long_forms_mean_the_short_ones():
    from ansible_collections.hull.engine.plugins.module_utils._cli.commands import find_command

    for long, short in {"container ls": "ps", "image rm": "rmi", "volume list": "volume ls"}.items():
        command, rest = find_command([*long.split(), "-q"])
        assert command is not None and (command.name, list(rest)) == (short, ["-q"])


def test_reading_makes_no_directories(hull, tmp_path):
    for words in (["ps", "-a"], ["images"], ["volume", "ls"], ["inspect", "x"], ["rm", "x"]):
        hull(*words)
    assert os.listdir(tmp_path) == []


def test_the_version_is_the_collections(hull):
    with open(os.path.join(ROOT, "galaxy.yml"), encoding="utf-8") as file:
        version = next(line.split()[1] for line in file if line.startswith("version:"))
    assert hull("--version").stdout == f"hull version {version}\n"


def test_a_reader_that_goes_away_is_no_error(hull):
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-I", "-S", HULL, "--help"], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=20
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


def test_starting_run_loads_nothing_slow():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import module_utils._cli.main, module_utils._cli.run;"
        "import module_utils._cli.commands, module_utils._engine.options, module_utils._engine.creation;"
        f"print([name for name in {SLOW[:-1]!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, os.path.join(ROOT, "plugins")],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
