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
from time import time_ns

from .._base.clock import format_time
from .launch_plan import LogPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Forward = Callable[[str, bytes], None]

MAX_LINE = 16 * 1024
_MOST_HELD = 8 * 1024 * 1024  # more than the records of what is read before the reading stops
_HEAD = '{"log":'
_BACKSLASH = "\x01"  # stands for an escaped one meanwhile; ASCII JSON has no such character
# Without waiting, should a FIFO have the log's name.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class LogWriter:
    """One container's log. A write that fails (a full disk) is counted, never raised, and told in the log later.

    With `blocking` the records that could not be written are kept instead, and `holds_up` says so until they are.
    `forward` gets the output too, in the pieces of `cut`.
    """

    def __init__(self, plan: LogPlan, forward: Forward | None = None) -> None:
        self._path = plan.path
        self._forward = forward
        self._partial = {"stdout": b"", "stderr": b""}
        self._size = 0
        self._fd = -1
        self._held = b""
        self._untold = 0
        self.lost_bytes = 0
        self._files = 0
        self.configure(plan)

    def _open(self) -> bool:
        """Open the newest file, if that has not been done; there is none before something is written."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, _FLAGS, 0o600)
                self._size = os.fstat(self._fd).st_size
            except OSError:
                return False
        return True

    def configure(self, plan: LogPlan) -> None:
        """Change size and number of files, and whether the container waits; the path stays."""
        before, self._files = self._files, max(plan.max_files, 1)
        self._limit, self._blocking = plan.max_size_bytes, plan.blocking
        for number in range(self._files, before):
            try:
                os.unlink(f"{self._path}.{number}")
            except OSError:
                pass

    def write(self, stream: str, data: bytes) -> None:
        """Take a piece of output as it was read; an unfinished line waits for its end."""
        tail = _tail(stream)
        for at in range(0, len(data), MAX_LINE):  # the records of empty lines are eighty times as long
            pieces, self._partial[stream] = cut(self._partial[stream] + data[at : at + MAX_LINE])
            for piece in pieces:
                self._append(_records(piece, tail))
                if self._forward is not None:
                    self._forward(stream, piece)

    def finish(self) -> None:
        """Write unfinished lines; the container's output has ended."""
        for stream, rest in self._partial.items():
            if rest:
                self._append(_records(rest, _tail(stream)))
                if self._forward is not None:
                    self._forward(stream, rest)
            self._partial[stream] = b""

    def close(self) -> None:
        """Finish and close."""
        self.finish()
        if self.holds_up():
            self._lose(len(self._held))
            self._held = b""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def holds_up(self) -> bool:
        """Whether the container should wait, because records wait to be written; they are tried again here."""
        if self._held:
            held, self._held = self._held, b""
            self._append(held)
        return bool(self._held)

    def _append(self, records: bytes) -> None:
        """Append whole records, each file at most to its limit but holding at least one."""
        if self._held and self.holds_up():
            if len(self._held) < _MOST_HELD:
                self._held += records
            else:
                self._lose(len(records))
            return
        if self._untold:
            note = f"[hull: {self._untold} bytes of log could not be written]\n"
            if not self._flush(_records(note.encode(), _tail("stderr"))):
                self._fail(records)
                return
            self._untold = 0
        while records:
            end = self._fitting(records) if self._open() else len(records)
            done = self._flush(records[:end])
            if done < end:
                self._fail(records[done:])
                return
            records = records[end:]
            if records:
                self._rotate()

    def _fitting(self, records: bytes) -> int:
        """How much of them, in whole records, goes into the present file."""
        room = self._limit - self._size if self._limit else len(records)
        if len(records) <= room:
            return len(records)
        end = records.rfind(b"\n", 0, room) + 1 if room > 0 else 0
        return end if end or self._size else records.find(b"\n") + 1

    def _fail(self, records: bytes) -> None:
        if self._blocking:
            self._held = records
        else:
            self._lose(len(records))

    def _lose(self, count: int) -> None:
        self.lost_bytes += count
        self._untold += count

    def _flush(self, records: bytes) -> int:
        """Write what the disk takes of them, in whole records. How many bytes."""
        if not records or not self._open():
            return 0
        try:
            written = os.write(self._fd, records)
            if written < len(records):
                written = records.rfind(b"\n", 0, written) + 1
                os.ftruncate(self._fd, self._size + written)  # half a record would damage the next one
        except OSError:
            return 0
        self._size += written
        return written

    def _rotate(self) -> None:
        """`log` becomes `log.1`, `log.1` `log.2` and so on; the oldest goes."""
        os.close(self._fd)
        self._fd = -1
        try:
            for number in range(self._files - 1, 0, -1):
                source = f"{self._path}.{number - 1}" if number > 1 else self._path
                if os.path.exists(source):
                    os.rename(source, f"{self._path}.{number}")
            if self._files == 1:
                os.unlink(self._path)
        except OSError:
            pass  # the file stays and is emptied below
        if self._open() and self._size:
            os.ftruncate(self._fd, 0)
            self._size = 0


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Output in pieces, and the unfinished line at its end. Pure.

    A piece is a number of whole lines, none of them beyond 16 KiB, or 16 KiB of one line without its end.
    """
    end = data.rfind(b"\n") + 1
    block, rest = data[:end], data[end:]
    if _has_only_short_lines(block):
        pieces = [block] if block else []
    else:
        pieces = []
        for line in block.split(b"\n")[:-1]:
            pieces += _slices(line)
            pieces[-1] += b"\n"
    if len(rest) > MAX_LINE:
        *full, rest = _slices(rest)
        pieces += full
    return pieces, rest


def _has_only_short_lines(block: bytes) -> bool:
    """Whether no line is beyond 16 KiB: a newline in every 8 KiB proves it, without looking at each line."""
    half = MAX_LINE // 2
    return all(block.find(b"\n", at, at + half) >= 0 for at in range(0, len(block) - half, half))


def _slices(line: bytes) -> list[bytes]:
    return [line[at : at + MAX_LINE] for at in range(0, len(line), MAX_LINE)] or [b""]


def _tail(stream: str) -> str:
    return f',"stream":"{stream}","time":"{format_time(time_ns())}"}}\n'


def _records(piece: bytes, tail: str) -> bytes:
    """The records of a piece, one per line, made at once: a flood has a hundred thousand lines a second."""
    ends = piece.endswith(b"\n")
    text = encode_basestring_ascii((piece[:-1] if ends else piece).decode("utf-8", "surrogateescape"))
    between = '\\n"' + tail + _HEAD + '"'
    if b"\\" in piece:  # a backslash before an n looks like the escape of a newline
        text = text.replace("\\\\", _BACKSLASH).replace("\\n", between).replace(_BACKSLASH, "\\\\")
    else:
        text = text.replace("\\n", between)
    return "".join((_HEAD, text[:-1], '\\n"' if ends else '"', tail)).encode("ascii")
