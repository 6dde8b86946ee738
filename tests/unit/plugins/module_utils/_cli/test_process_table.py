# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.process_table import parse_columns, process_rows

FULL = "UID PID PPID C STIME TTY TIME CMD"


@pytest.mark.parametrize(
    ("words", "headings"),
    [
        ((), FULL),
        (("-ef",), FULL),
        (("aux",), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        (("-o", "pid,user,args"), "PID USER COMMAND"),
        (("-opid,%cpu",), "PID %CPU"),
        (("-eo", "pid,comm=NAME"), "PID NAME"),
        (("-o", "pid", "-o", "etime rss"), "PID ELAPSED RSS"),
    ],
)
def test_the_options_of_ps_name_columns(words: tuple[str, ...], headings: str) -> None:
    assert " ".join(column.heading for column in parse_columns(words)) == headings


@pytest.mark.parametrize("words", [("-x",), ("--forest",), ("-o",), ("-o", "colour"), ("pid",)])
def test_other_options_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        parse_columns(words)


def test_a_process_is_shown_as_it_is_and_one_that_has_gone_is_left_out() -> None:
    headings, row = process_rows([os.getpid(), 2**22 + 1], parse_columns(("-o", "pid,ppid,uid,nlwp,comm,args")))
    threads = len(os.listdir("/proc/self/task"))
    expected = [os.getpid(), os.getppid(), os.geteuid(), threads]
    assert headings[:2] == ["PID", "PPID"] and row[:4] == [str(number) for number in expected]
    assert "python" in row[5] or "pytest" in row[5]
