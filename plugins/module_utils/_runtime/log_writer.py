# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
r"""The container's log: JSON lines of Docker's json-file shape, rotated by size, bounded, safe for any bytes.

    {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}

One record per line of output. A line beyond 16 KiB is split: records whose `log` lacks the final newline continue in
the next one of the same stream. Bytes that are not UTF-8 are written as lone surrogates (`\udcXX`), so
`text.encode("utf-8", "surrogateescape")` gives back exactly what the container wrote.

Files: `container.log` is the newest, `container.log.1` to `.N-1` are older. Together they never exceed
`max_files * max_size_bytes`. Only the monitor writes; `logs.py` reads.
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii
from errno import ENOSPC
from time import time_ns

from .._base.clock import format_time
from .launch_plan import LogPlan

MAX_LINE = 16 * 1024
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class LogWriter:
    """One container's log. A write that fails (a full disk) is counted, never raised, and told in the log later."""

    def __init__(self, plan: LogPlan) -> None:
        self._path = plan.path
        self._limit = plan.max_size_bytes
        self._files = max(plan.max_files, 1)
        self._partial = {"stdout": b"", "stderr": b""}
        self._size = 0
        self._fd = -1
        self.lost_bytes = 0
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, _FLAGS, 0o600)
        self._size = os.fstat(self._fd).st_size

    def configure(self, plan: LogPlan) -> None:
        """Change size and number of files; the path stays."""
        self._limit, self._files = plan.max_size_bytes, max(plan.max_files, 1)

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of output as it was read; an unfinished line waits for its end."""
        lines = (self._partial[stream] + data).split(b"\n")
        rest = lines.pop()
        if not lines and len(rest) <= MAX_LINE:
            self._partial[stream] = rest
            return
        tail = _tail(stream)
        records: list[str] = []
        for line in lines:
            if len(line) >= MAX_LINE:
                line = self._split(line, tail, records)
            records.append(_record(line + b"\n", tail))
        self._partial[stream] = self._split(rest, tail, records)
        self._append(records)

    @staticmethod
    def _split(line: bytes, tail: str, records: list[str]) -> bytes:
        while len(line) > MAX_LINE:
            records.append(_record(line[:MAX_LINE], tail))
            line = line[MAX_LINE:]
        return line

    def finish(self) -> None:
        """Write unfinished lines; the container's output has ended."""
        for stream, rest in self._partial.items():
            if rest:
                self._append([_record(rest, _tail(stream))])
            self._partial[stream] = b""

    def close(self) -> None:
        """Finish and close."""
        self.finish()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, records: list[str]) -> None:
        """Append whole records, each file at most to its limit but holding at least one."""
        if self.lost_bytes:
            note = f"[hull: {self.lost_bytes} bytes of log could not be written]\n"
            records = [_record(note.encode(), _tail("stderr")), *records]
        chunk: list[str] = []
        size = self._size
        for record in records:
            if self._limit and size and size + len(record) > self._limit:
                self._flush(chunk)
                self._rotate()
                chunk, size = [], self._size
            chunk.append(record)
            size += len(record)
        self._flush(chunk)

    def _flush(self, records: list[str]) -> None:
        chunk = "".join(records).encode("ascii")
        try:
            if self._fd < 0:
                self._open()
            written = os.write(self._fd, chunk) if chunk else 0
            if written < len(chunk):
                os.ftruncate(self._fd, self._size)  # half a record would damage the next one
                raise OSError(ENOSPC, "short write")
            self._size += written
            self.lost_bytes = 0
        except OSError:
            self.lost_bytes += len(chunk)

    def _rotate(self) -> None:
        """`log` becomes `log.1`, `log.1` `log.2` and so on; the oldest goes."""
        os.close(self._fd)
        try:
            for number in range(self._files - 1, 0, -1):
                source = f"{self._path}.{number - 1}" if number > 1 else self._path
                if os.path.exists(source):
                    os.rename(source, f"{self._path}.{number}")
            if self._files == 1:
                os.unlink(self._path)
        except OSError:
            pass  # the file stays and is emptied below
        try:
            self._open()
            if self._size:
                os.ftruncate(self._fd, 0)
                self._size = 0
        except OSError:
            self._fd = -1


def _tail(stream: str) -> str:
    return f',"stream":"{stream}","time":"{format_time(time_ns())}"}}\n'


def _record(line: bytes, tail: str) -> str:
    return '{"log":' + encode_basestring_ascii(line.decode("utf-8", "surrogateescape")) + tail
