# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Rows about processes for `top`, read from /proc (no `ps` needed). Source: proc_pid_stat(5), proc_pid_cmdline(5)."""

from __future__ import annotations

import os
import time

from .._base.values import Value

HEADINGS = ("UID", "PID", "PPID", "STIME", "TTY", "TIME", "CMD")


class ProcessStat(Value):
    """The fields of /proc/<pid>/stat that are shown. Times are clock ticks, the start since boot."""

    name: str
    parent: int
    terminal: int
    cpu_ticks: int
    start_ticks: int


def parse_stat(line: str) -> ProcessStat:
    """One line of /proc/<pid>/stat. The name may hold blanks and parentheses."""
    name = line[line.index("(") + 1 : line.rindex(")")]
    rest = line[line.rindex(")") + 2 :].split()
    return ProcessStat(name, int(rest[1]), int(rest[4]), int(rest[11]) + int(rest[12]), int(rest[19]))


def terminal_name(number: int) -> str:
    """The device number of a controlling terminal as `pts/0`, `tty1` or `?`."""
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    return f"tty{minor}" if major == 4 and number else "?"


def process_row(pid: int) -> tuple[str, ...] | None:
    """The row of a process, or None where it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = parse_stat(file.read())
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().rstrip("\0").replace("\0", " ")
        owner = os.stat(f"/proc/{pid}").st_uid
        with open("/proc/uptime", encoding="ascii") as file:
            uptime_s = float(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    started = time.localtime(time.time() - uptime_s + stat.start_ticks / ticks)
    cpu_s = stat.cpu_ticks // ticks
    return (
        str(owner),
        str(pid),
        str(stat.parent),
        time.strftime("%H:%M", started),
        terminal_name(stat.terminal),
        f"{cpu_s // 3600:02d}:{cpu_s // 60 % 60:02d}:{cpu_s % 60:02d}",
        words or f"[{stat.name}]",
    )
