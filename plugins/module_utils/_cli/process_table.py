# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Tables of processes for `top`, with the columns of ps(1), read from /proc. No `ps` is needed or executed.

Ids and numbers are the host's, as Docker's are. Source: proc_pid_stat(5), proc_pid_cmdline(5), ps(1).
"""

from __future__ import annotations

import os
import time

from .._base.errors import Invalid
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAX_COMMAND = 128 * 1024


class ProcessStat(Value):
    """The fields of /proc/<pid>/stat that are shown. Times are clock ticks, the start since boot."""

    name: str
    state: str
    parent: int
    group: int
    session: int
    terminal: int
    foreground: int
    cpu_ticks: int
    priority: int
    nice: int
    threads: int
    start_ticks: int
    virtual_bytes: int
    resident_pages: int


def parse_stat(line: str) -> ProcessStat:
    """One line of /proc/<pid>/stat. The name may hold blanks and parentheses."""
    name = line[line.index("(") + 1 : line.rindex(")")]
    rest = line[line.rindex(")") + 2 :].split()
    numbers = [int(field) for field in rest[1:22]]
    return ProcessStat(
        name=name,
        state=rest[0],
        parent=numbers[0],
        group=numbers[1],
        session=numbers[2],
        terminal=numbers[3],
        foreground=numbers[4],
        cpu_ticks=numbers[10] + numbers[11],
        priority=numbers[14],
        nice=numbers[15],
        threads=numbers[16],
        start_ticks=numbers[18],
        virtual_bytes=numbers[19],
        resident_pages=numbers[20],
    )


def terminal_name(number: int) -> str:
    """The device number of a controlling terminal as `pts/0`, `tty1` or `?`."""
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    return f"tty{minor}" if major == 4 and number else "?"


class Host:
    """What all processes of a table have in common."""

    def __init__(self) -> None:
        self.ticks = os.sysconf("SC_CLK_TCK")
        self.page_bytes = os.sysconf("SC_PAGE_SIZE")
        self.now_s = time.time()
        with open("/proc/uptime", encoding="ascii") as file:
            self.uptime_s = float(file.read().split()[0])
        with open("/proc/meminfo", encoding="ascii") as file:
            self.memory_bytes = int(file.readline().split()[1]) * 1024
        self._names: dict[tuple[str, int], str] = {}

    def name_of(self, kind: str, number: int) -> str:
        """The host's name of a user or group; the number where it has none."""
        known = self._names.get((kind, number))
        if known is None:
            import grp
            import pwd

            try:
                known = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
            except KeyError:
                known = str(number)
            self._names[kind, number] = known
        return known


class Process:
    """One process as it was when it was looked at. Raises FileNotFoundError or ProcessLookupError where it is gone."""

    def __init__(self, pid: int, host: Host) -> None:
        self.pid, self.host = pid, host
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            self.stat = parse_stat(file.read())
        owner = os.stat(f"/proc/{pid}")
        self.uid, self.gid = owner.st_uid, owner.st_gid

    @property
    def age_s(self) -> float:
        return max(self.host.uptime_s - self.stat.start_ticks / self.host.ticks, 0.0)

    @property
    def resident_bytes(self) -> int:
        return self.stat.resident_pages * self.host.page_bytes

    def command(self) -> str:
        with open(f"/proc/{self.pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read(_MAX_COMMAND).rstrip("\0").replace("\0", " ")
        return words or f"[{self.stat.name}]"

    def cpu_percent(self) -> float:
        return self.stat.cpu_ticks * 100 / self.host.ticks / self.age_s if self.age_s else 0.0

    def memory_percent(self) -> float:
        return self.resident_bytes * 100 / self.host.memory_bytes

    def cpu_time(self, *, short: bool = False) -> str:
        seconds = self.stat.cpu_ticks // self.host.ticks
        if short:
            return f"{seconds // 60}:{seconds % 60:02d}"
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def elapsed(self) -> str:
        seconds = int(self.age_s)
        days, clock = divmod(seconds, 86400)
        hours, minutes, rest = clock // 3600, clock // 60 % 60, clock % 60
        text = f"{minutes:02d}:{rest:02d}"
        text = f"{hours:02d}:{text}" if hours or days else text
        return f"{days}-{text}" if days else text

    def started(self) -> str:
        """The hour of a start within the last day, else the date."""
        moment = time.localtime(self.host.now_s - self.age_s)
        return time.strftime("%H:%M" if self.age_s < 86400 else "%b%d", moment)

    def states(self) -> str:
        """The state with ps's marks: nice, session leader, threads, foreground."""
        stat = self.stat
        marks = "<" if stat.nice < 0 else "N" if stat.nice > 0 else ""
        marks += "s" if stat.session == self.pid else ""
        marks += "l" if stat.threads > 1 else ""
        return stat.state + marks + ("+" if stat.foreground == stat.group and stat.terminal else "")


class Column(Value):
    """A column: its heading and what it shows of a process."""

    heading: str
    show: Callable[[Process], str]


_COLUMNS: dict[str, Column] = {
    "pid": Column("PID", lambda process: str(process.pid)),
    "ppid": Column("PPID", lambda process: str(process.stat.parent)),
    "pgid": Column("PGID", lambda process: str(process.stat.group)),
    "sid": Column("SID", lambda process: str(process.stat.session)),
    "uid": Column("UID", lambda process: str(process.uid)),
    "gid": Column("GID", lambda process: str(process.gid)),
    "user": Column("USER", lambda process: process.host.name_of("user", process.uid)),
    "group": Column("GROUP", lambda process: process.host.name_of("group", process.gid)),
    "c": Column("C", lambda process: str(int(process.cpu_percent()))),
    "pcpu": Column("%CPU", lambda process: f"{process.cpu_percent():.1f}"),
    "pmem": Column("%MEM", lambda process: f"{process.memory_percent():.1f}"),
    "vsz": Column("VSZ", lambda process: str(process.stat.virtual_bytes // 1024)),
    "rss": Column("RSS", lambda process: str(process.resident_bytes // 1024)),
    "tty": Column("TTY", lambda process: terminal_name(process.stat.terminal)),
    "stat": Column("STAT", Process.states),
    "s": Column("S", lambda process: process.stat.state),
    "stime": Column("STIME", Process.started),
    "start": Column("START", Process.started),
    "time": Column("TIME", Process.cpu_time),
    "bsdtime": Column("TIME", lambda process: process.cpu_time(short=True)),
    "etime": Column("ELAPSED", Process.elapsed),
    "etimes": Column("ELAPSED", lambda process: str(int(process.age_s))),
    "ni": Column("NI", lambda process: str(process.stat.nice)),
    "pri": Column("PRI", lambda process: str(39 - process.stat.priority)),
    "nlwp": Column("NLWP", lambda process: str(process.stat.threads)),
    "comm": Column("COMMAND", lambda process: process.stat.name),
    "args": Column("COMMAND", Process.command),
    "cmd": Column("CMD", Process.command),
}
_ALIASES = {
    "%cpu": "pcpu",
    "%mem": "pmem",
    "command": "args",
    "cputime": "time",
    "euid": "uid",
    "egid": "gid",
    "euser": "user",
    "uname": "user",
    "egroup": "group",
    "nice": "ni",
    "pgrp": "pgid",
    "rssize": "rss",
    "sess": "sid",
    "session": "sid",
    "start_time": "stime",
    "state": "s",
    "thcount": "nlwp",
    "tname": "tty",
    "tt": "tty",
    "ucmd": "comm",
    "ucomm": "comm",
    "vsize": "vsz",
}
_FULL = "user pid ppid c stime tty time cmd"
_FORMS = {
    "ef": _FULL,
    "f": _FULL,
    "aux": "user pid pcpu pmem vsz rss tty stat start bsdtime args",
    "u": "user pid pcpu pmem vsz rss tty stat start bsdtime args",
    "ax": "pid tty stat bsdtime args",
    "e": "pid tty time comm",
    "a": "pid tty time comm",
}


def parse_columns(words: Sequence[str]) -> list[Column]:
    """The columns that options of ps(1) ask for: none, `-ef`, `aux`, `-o pid,user=WHO,args`. Raises Invalid."""
    if not words:
        words = ("-ef",)
    if len(words) == 1 and words[0].lstrip("-") in _FORMS:
        form = words[0].lstrip("-")
        columns = [_COLUMNS[name] for name in _FORMS[form].split()]
        return [Column("UID", columns[0].show), *columns[1:]] if _FORMS[form] == _FULL else columns
    chosen: list[Column] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        letters, given, inline = word.lstrip("-").partition("o")
        if not given or not set(letters) <= set("eax"):
            raise Invalid(
                f"{word!r} is not an option that is known here", option="top", hint="use -ef, aux or -o pid,args"
            )
        text = inline or (waiting.pop(0) if waiting else "")
        chosen += [_column(name) for name in text.replace(",", " ").split()]
    if not chosen:
        raise Invalid("-o names no column", option="top", hint="use -o pid,user,args")
    return chosen


def _column(text: str) -> Column:
    name, equals, heading = text.partition("=")
    column = _COLUMNS.get(_ALIASES.get(name.lower(), name.lower()))
    if column is None:
        raise Invalid(f"there is no column {name!r}", option="top", hint=f"use {', '.join(_COLUMNS)}")
    return Column(heading, column.show) if equals else column


def process_rows(pids: Sequence[int], columns: Sequence[Column]) -> list[list[str]]:
    """The rows of the processes that are there still, the oldest first, below their headings."""
    host = Host()
    rows = []
    for pid in sorted(pids):
        try:
            process = Process(pid, host)
            rows.append([column.show(process) for column in columns])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return [[column.heading for column in columns], *rows]
