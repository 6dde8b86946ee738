# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.listing import command_text, ports_text
from ansible_collections.hull.engine.plugins.module_utils._cli.process_table import parse_stat, terminal_name
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import PortPlan


def test_commands_are_quoted_and_cut():
    assert command_text(["sh"], full=False) == '"sh"'
    assert command_text(["/usr/bin/top", "-b", "-d", "1000"], full=False) == '"/usr/bin/top -b -d …"'
    assert command_text(["/usr/bin/top", "-b", "-d", "1000"], full=True) == '"/usr/bin/top -b -d 1000"'


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([("0.0.0.0", 8080, 80, "tcp")], "0.0.0.0:8080->80/tcp"),
        ([("::", 53, 53, "udp")], "[::]:53->53/udp"),
        ([("0.0.0.0", 8000 + n, 80 + n, "tcp") for n in (2, 0, 1)], "0.0.0.0:8000-8002->80-82/tcp"),
        (
            [("0.0.0.0", 8000, 80, "tcp"), ("0.0.0.0", 9000, 81, "tcp")],
            "0.0.0.0:8000->80/tcp, 0.0.0.0:9000->81/tcp",
        ),
    ],
)
def test_ports_are_shown_as_docker_does_with_runs_joined(ports, text):
    assert ports_text([PortPlan(*port) for port in ports]) == text


def test_the_name_of_a_process_may_hold_parentheses():
    line = "42 (a) b (c) S 7 42 42 34817 42 4194304 1 0 0 0 150 50 0 0 20 5 3 0 987654 1048576 12 18446744073709551615"
    stat = parse_stat(line)
    assert (stat.name, stat.parent, stat.cpu_ticks, stat.start_ticks) == ("a) b (c", 7, 200, 987654)
    assert (stat.state, stat.nice, stat.threads, stat.virtual_bytes, stat.resident_pages) == ("S", 5, 3, 1 << 20, 12)
    assert terminal_name(stat.terminal) == "pts/1"


def test_names_of_terminals():
    assert (terminal_name(0), terminal_name(1025)) == ("?", "tty1")
