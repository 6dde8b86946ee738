# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Work on a container's files in a forked process, which gets a stream of bytes from this one.

The opposite of `ForkedStream`. The process that enters a container's tree is changed for good, so it is one of its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import gc
import os

from .._base.codec import parse, render
from .._base.errors import HullError, SyscallError
from .._image.workers import error_of, error_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

_CHUNK = 1024 * 1024


class PipeStream:
    """What comes out of a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end."""
        return os.read(self._fd, size)


def work_forked(work: Callable[[PipeStream], Any], pieces: Iterable[bytes] = ()) -> Any:
    """What `work(stream)` returns (JSON types) in a forked process, to which `pieces` are fed.

    Raises what it raised there. Where it ends before it has read all, the rest is not made.
    """
    reading, feeding = os.pipe()
    result_fd, reporting = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(feeding)
        os.close(result_fd)
        _be_worker(work, reading, reporting)
    os.close(reading)
    os.close(reporting)
    try:
        try:
            _feed(feeding, pieces)
        finally:
            os.close(feeding)
        report = b""
        while more := os.read(result_fd, _CHUNK):
            report += more
    finally:
        os.close(result_fd)
        _, status = os.waitpid(pid, 0)
    if not report:
        raise HullError(f"work on the container's files: the process that does it was ended (wait status {status})")
    kind, value = parse(report, source="the process that works on the container's files")
    if kind == "error":
        raise error_of(value)
    return value


def _feed(pipe: int, pieces: Iterable[bytes]) -> None:
    handler = _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(pipe, view) :]
    except BrokenPipeError:
        pass  # it has ended: its report says why
    finally:
        _signal.signal(_signal.SIGPIPE, handler)


def _be_worker(work: Callable[[PipeStream], Any], reading: int, reporting: int) -> NoReturn:
    """The life of the other process."""
    try:
        gc.disable()
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # a terminal sends it to both; the parent decides
        data = render(_report(work, reading)).encode()
        while data:
            data = data[os.write(reporting, data) :]
    except BaseException:  # a fork boundary: nothing may run on in the parent's frames
        pass
    finally:
        os._exit(0)


def _report(work: Callable[[PipeStream], Any], reading: int) -> list[Any]:
    try:
        return ["result", work(PipeStream(reading))]
    except HullError as error:
        return ["error", error_record(error)]
    except OSError as error:
        place = f"{error.filename!r}: " if error.filename else ""
        text = f"work on the container's files: {place}{(error.strerror or str(error)).lower()}"
        return ["error", error_record(SyscallError(text, errno=error.errno or 0))]
    finally:
        os.close(reading)  # who feeds is told to stop, and reads the report
