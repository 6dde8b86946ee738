# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A stream that a forked process makes while this one uses it: a tree is packed on one core and unpacked on another.

The end of the stream is only told when the process has said that all went well; what it raised is raised here instead,
so nothing incomplete looks whole. It ends with its parent: nobody reads its pipe then.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import gc
import os
from fcntl import fcntl

from .._base.codec import parse, render
from .._base.errors import HullError, SyscallError
from .workers import error_of, error_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .compression import ByteStream

_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1024 * 1024
_MAX_REPORT = 1024 * 1024


class ForkedStream:
    """`with ForkedStream(make, finish) as stream:` what `make()` gives to read, read in a forked process.

    `finish()` is called there at the end; what it returns (JSON types) is `result` when all was read.
    """

    def __init__(self, make: Callable[[], ByteStream], finish: Callable[[], Any]) -> None:
        self.result: Any = None
        self._make, self._finish = make, finish
        self._data = self._report = -1
        self._pid = 0

    def __enter__(self) -> ForkedStream:
        self._data, writing = os.pipe()
        self._report, reporting = os.pipe()
        _enlarge(writing)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                self._be_producer(writing, reporting)
        except BaseException:
            os.close(self._data)
            os.close(self._report)
            raise
        finally:
            os.close(writing)
            os.close(reporting)
        return self

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end. Raises what reading raised in the other process."""
        data = os.read(self._data, size)
        if not data and self._pid:
            self._end()
        return data

    def _end(self) -> None:
        report = b""
        while more := os.read(self._report, _MAX_REPORT):
            report += more
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if not report:
            raise HullError(f"read files: the process that reads them was ended (wait status {status})")
        kind, value = parse(report, source="the process that reads files")
        if kind == "error":
            raise error_of(value)
        self.result = value

    def __exit__(self, *_error: object) -> None:
        os.close(self._data)
        os.close(self._report)
        if self._pid:
            os.kill(self._pid, _signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _be_producer(self, writing: int, reporting: int) -> None:
        """The life of the other process; never returns."""
        try:
            gc.disable()
            _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # a terminal sends it to both; the parent decides
            os.close(self._data)
            os.close(self._report)
            os.write(reporting, render(self._produce(writing)).encode())
        except BaseException:  # a fork boundary: nothing may run on in the parent's frames
            pass
        finally:
            os._exit(0)

    def _produce(self, writing: int) -> list[Any]:
        try:
            stream = self._make()
            while data := stream.read(_PIPE_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(writing, view) :]
            return ["result", self._finish()]
        except HullError as error:
            return ["error", error_record(error)]
        except OSError as error:
            place = f"{error.filename!r}: " if error.filename else ""
            text = f"read files: {place}{(error.strerror or str(error)).lower()}"
            return ["error", error_record(SyscallError(text, errno=error.errno or 0))]


def _enlarge(pipe: int) -> None:
    try:
        fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # a limit of this host; the pipe works as it is
