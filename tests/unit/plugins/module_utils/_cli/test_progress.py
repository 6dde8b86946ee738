# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.progress import ProgressPrinter, bar, line, short_subject

LAYER = "sha256:" + "ab" * 32


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_digest_is_shown_by_its_first_digits():
    assert short_subject(LAYER) == "abababababab"
    assert short_subject("manifest") == "manifest"


def test_bars_fill_and_never_overflow():
    assert bar(0, 100) == "[>                             ]  0B/100B"
    assert bar(50, 100) == "[===============>              ]  50B/100B"
    assert bar(100, 100) == "[==============================]  100B/100B"
    assert bar(500, 100).startswith("[==============================]")
    assert bar(1_200_000, 0) == "1.2MB"


def test_a_line_tells_what_happens_to_a_layer():
    assert line("download", LAYER, 5, 10).startswith("abababababab: Downloading  [===")
    assert line("download", LAYER, 10, 10).startswith("abababababab: Extracting  [===")
    assert line("done", LAYER, 10, 10) == "abababababab: Pull complete"


def test_a_line_can_not_steer_the_terminal():
    assert line("exists", "a\nb\x1b[2J", 0, 0) == "a\\x0ab\\x1b[2J: Already exists"


def test_a_warning_stays_above_the_bars(pipe):
    reader, writer = pipe
    progress = ProgressPrinter(writer, columns=80, rows=24)
    progress("done", LAYER, 0, 0)
    os.read(reader, 4096)
    progress("warning", "x", 0, 0)
    assert os.read(reader, 4096).decode() == ("\x1b[1A\r\x1b[JWARNING: x\n\r\x1b[2Kabababababab: Pull complete\n")


def test_without_a_terminal_each_finished_layer_is_told_once(pipe):
    reader, writer = pipe
    progress = ProgressPrinter(writer)
    progress("resolved", "docker.io/library/a:1", 0, 0)
    progress("download", LAYER, 5, 10)
    progress("done", LAYER, 10, 10)
    progress("done", LAYER, 10, 10)
    progress("exists", "sha256:" + "cd" * 32, 0, 0)
    progress.finish()
    assert (
        os.read(reader, 4096)
        == b"1: Pulling from library/a\nabababababab: Pull complete\ncdcdcdcdcdcd: Already exists\n"
    )


def test_on_a_terminal_lines_are_redrawn_in_place_and_cut_to_its_width(pipe):
    reader, writer = pipe
    progress = ProgressPrinter(writer, columns=20, rows=24)
    progress("exists", LAYER, 0, 0)
    progress("done", "sha256:" + "cd" * 32, 0, 0)
    first, second = "\r\x1b[2Kabababababab: Alrea\n", "\r\x1b[2Kcdcdcdcdcdcd: Pull \n"
    assert os.read(reader, 4096).decode() == first + "\x1b[1A" + first + second


def test_more_layers_than_rows_show_the_last_ones(pipe):
    reader, writer = pipe
    progress = ProgressPrinter(writer, columns=80, rows=3)
    for number in range(5):
        progress("done", f"layer{number}", 0, 0)
    last = os.read(reader, 65536).decode().split("\x1b[2A")[-1]
    assert "layer3" in last and "layer4" in last and "layer2" not in last
