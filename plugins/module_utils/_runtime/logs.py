# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Reading a container's log while it is being written and rotated. The inverse of `log_writer.py`."""

from __future__ import annotations

import os
import time
from select import POLLIN, poll

from .._base import codec
from .._base.clock import parse_time
from .._base.errors import Damaged, Invalid
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_FOLLOW_POLL_S = 0.05
_LONGEST_WAIT_MS = 1000
_BLOCK = 64 * 1024
FILE_NAME = "container.log"


class LogLine(Value):
    """One record: the stream's name, when it was read from the container, and exactly the bytes written."""

    stream: str
    time_ns: int
    data: bytes


def read_log(
    container_directory: str,
    *,
    since_ns: int = 0,
    until_ns: int = 0,
    tail: int = -1,
    follow: Callable[[], bool] | None = None,
) -> Iterator[LogLine]:
    """The records of a container, oldest first; nothing where it never wrote a log.

    `container_directory` is Paths.container(id). `tail` takes only the last so many (-1: all), `since_ns` and
    `until_ns` bound the time (0: no bound). With `follow` it goes on: whenever the end is reached the function is
    asked whether more may come (the container runs), and False ends it after a last look. A damaged record is skipped.
    """
    reader = _Reader(f"{container_directory}/{FILE_NAME}")
    changes = _Changes(container_directory) if follow is not None else None
    try:
        lines = reader.existing(tail)
        while True:
            for raw in lines:
                line = parse_line(raw)
                if line is None or line.time_ns < since_ns:
                    continue
                if until_ns and line.time_ns > until_ns:
                    return
                yield line
            if follow is None or changes is None:
                return
            lines = reader.more()
            if not lines:
                alive = follow()
                lines = reader.more()
                if not lines:
                    if not alive:
                        return
                    changes.wait()
    finally:
        reader.close()
        if changes is not None:
            changes.close()


class _Changes:
    """Waits until something happens in a directory, a second at most: not all that a follower asks for is a file."""

    def __init__(self, directory: str) -> None:
        from .._sys.inotify_calls import IN_CREATE, IN_MODIFY, IN_MOVED_TO, inotify_add_watch, inotify_init1

        self._fd = -1
        try:
            self._fd = inotify_init1()
            inotify_add_watch(self._fd, directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        except OSError:  # all of the host's instances or watches are in use
            self.close()

    def wait(self) -> None:
        if self._fd < 0:
            time.sleep(_FOLLOW_POLL_S)
            return
        watch = poll()
        watch.register(self._fd, POLLIN)
        if watch.poll(_LONGEST_WAIT_MS):
            os.read(self._fd, _BLOCK)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def parse_line(raw: bytes) -> LogLine | None:
    """The record of one line of the file, or None where it is damaged."""
    try:
        record: Any = codec.parse(raw, source="container.log")
        data = str(record["log"]).encode("utf-8", "surrogateescape")
        return LogLine(str(record["stream"]), _time_ns(record["time"]), data)
    except (Damaged, Invalid, KeyError, TypeError, UnicodeEncodeError):
        return None


def _time_ns(text: str) -> int:
    """The writer's own fixed form by hand, thirty times faster than strptime; other forms by the general parser."""
    if len(text) == 30 and text[-1] == "Z" and text[19] == ".":
        day = _days(int(text[:4]), int(text[5:7]), int(text[8:10]))
        seconds = day * 86400 + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
        return seconds * 10**9 + int(text[20:29])
    return parse_time(text, option="time")


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar (years counted from March, so the leap day is last)."""
    year -= month < 3
    shifted = (month + 9) % 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * shifted + 2) // 5 + day - 719469


class _Reader:
    """The files of one log, oldest first, then the growing end of the newest, also across rotations."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def existing(self, tail: int) -> Iterator[bytes] | list[bytes]:
        """The lines that are there; with `tail` only the last so many, read from the end."""
        fds = self._open_all()
        self._fd = fds[-1] if fds else -1
        return self._all(fds) if tail < 0 else self._last(fds, tail)

    def _open_all(self) -> list[int]:
        """All files, oldest first. Opened newest first: a rotation meanwhile shows one twice, which its inode tells."""
        fds: list[int] = []
        seen = set()
        number = 0
        while True:
            try:
                fd = os.open(f"{self._path}.{number}" if number else self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if number:
                    return fds
            else:
                inode = os.fstat(fd).st_ino
                if inode in seen:
                    os.close(fd)
                else:
                    seen.add(inode)
                    fds.insert(0, fd)
            number += 1

    def _all(self, fds: list[int]) -> Iterator[bytes]:
        try:
            for fd in fds:
                rest = b""
                while fd != self._fd and (block := os.read(fd, _BLOCK)):
                    lines = (rest + block).split(b"\n")
                    rest = lines.pop()
                    yield from lines
        finally:
            for fd in fds:
                if fd != self._fd:
                    os.close(fd)
        while lines := self.more():
            yield from lines

    def _last(self, fds: list[int], count: int) -> list[bytes]:
        lines: list[bytes] = []
        for fd in reversed(fds):
            if len(lines) < count:
                found, rest = _last_lines(fd, count - len(lines))
                lines = found + lines
                if fd == self._fd:
                    self._rest = rest
            if fd == self._fd:
                os.lseek(fd, 0, os.SEEK_END) if count == 0 else None
            else:
                os.close(fd)
        return lines

    def more(self) -> list[bytes]:
        """The complete lines that came since the last call; about as many as a block holds."""
        while True:
            if self._fd < 0 and not self._advance():
                return []
            block = os.read(self._fd, _BLOCK)
            if not block and not self._advance():
                return []
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            if lines:
                return lines

    def _advance(self) -> bool:
        """Go on to the file that came after the present one, which has been read out. False where there is none."""
        try:
            newest = os.stat(self._path).st_ino
        except FileNotFoundError:
            return False
        own = os.fstat(self._fd).st_ino if self._fd >= 0 else 0
        if newest == own:
            return False
        fds = self._open_all()
        later = [fd for fd in fds if os.fstat(fd).st_ino == own]
        following = fds[fds.index(later[0]) + 1 :] if later else fds
        for fd in fds:
            if fd not in following[:1]:
                os.close(fd)
        if not following:
            return False
        self.close()
        self._fd, self._rest = following[0], b""
        return True


def _last_lines(fd: int, count: int) -> tuple[list[bytes], bytes]:
    """The last `count` complete lines and the unfinished rest; the descriptor stands at the end that was seen."""
    end = os.lseek(fd, 0, os.SEEK_END)
    if count <= 0:
        return [], b""
    at, data = end, b""
    while at > 0 and data.count(b"\n") <= count:
        start = max(at - _BLOCK, 0)
        data = os.pread(fd, at - start, start) + data
        at = start
    lines = data.split(b"\n")
    rest = lines.pop()
    return lines[-count:], rest
