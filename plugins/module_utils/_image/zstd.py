# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The ways to decompress zstd that a host may have: Python 3.14's own module, the package `zstandard`, the command.

The command gets an empty environment and is looked for in the system's directories only, never in PATH.
"""

from __future__ import annotations

import os
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

from .._base.errors import Damaged, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .compression import ByteStream, Decompressor

_COMMANDS = ("/usr/bin/zstd", "/bin/zstd", "/usr/local/bin/zstd")
_WINDOW_LOG = 28  # 256 MiB
_PIECE = 1024  # of input: a block of 4 bytes may stand for 128 KiB, so this much for 32 MiB at most
_INPUT = 64 * 1024
_SIGPIPE = 13


def decompressor() -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]] | None:
    """What makes a decompressor of one frame, and its errors; None where this Python has none."""
    return _own_module() or _package()


def _own_module() -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]] | None:
    try:
        from compression.zstd import (  # type: ignore[import-not-found, unused-ignore]
            DecompressionParameter,
            ZstdDecompressor,
            ZstdError,
        )
    except ImportError:
        return None
    options = {DecompressionParameter.window_log_max: _WINDOW_LOG}
    return (lambda: ZstdDecompressor(options=options)), (ZstdError, EOFError)


def _package() -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]] | None:
    try:
        import zstandard  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    context = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
    return (lambda: _Frame(context.decompressobj())), (zstandard.ZstdError,)


class _Frame:
    """One frame through the package `zstandard`, in the form of bz2.BZ2Decompressor.

    The package has no limit of output that also tells a truncated frame, so it is fed in small pieces.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._input = b""
        self._position = 0
        self._output = b""
        self._ended = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return not self._output and self._position >= len(self._input) and not self._ended

    @property
    def eof(self) -> bool:
        return self._ended and not self._output

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._input, self._position = self._input[self._position :] + data, 0
        pieces, size = [self._output], len(self._output)
        while size < max_length and not self._ended and self._position < len(self._input):
            piece = self._inner.decompress(self._input[self._position : self._position + _PIECE])
            self._position += _PIECE
            pieces.append(piece)
            size += len(piece)
            if self._inner.eof:
                self._ended = True
                self.unused_data = self._inner.unused_data + self._input[self._position :]
        whole = b"".join(pieces)
        self._output = whole[max_length:]
        return whole[:max_length]


class ZstdCommand:
    """The `zstd` command as a filter: what is read here went through its pipes. The process ends with `close`."""

    def __init__(self, stream: ByteStream) -> None:
        command = next((path for path in _COMMANDS if os.access(path, os.X_OK)), None)
        if command is None:
            raise Unsupported(
                "decompress zstd: this host has no way to do it",
                hint="install the command zstd or the Python package zstandard",
            )
        self._stream = stream
        self._errors = os.memfd_create("zstd-errors", os.MFD_CLOEXEC)
        child_in, self._to_child = os.pipe()
        self._from_child, child_out = os.pipe()
        try:
            self._pid = os.posix_spawn(
                command,
                ["zstd", "-d", "-c", "-q", f"--memory={1 << _WINDOW_LOG}"],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, child_in, 0),
                    (os.POSIX_SPAWN_DUP2, child_out, 1),
                    (os.POSIX_SPAWN_DUP2, self._errors, 2),
                ],
                setsigdef=[_SIGPIPE],
            )
        except BaseException:
            os.close(self._to_child)
            os.close(self._from_child)
            os.close(self._errors)
            raise
        finally:
            os.close(child_in)
            os.close(child_out)
        os.set_blocking(self._to_child, False)
        self._pending = memoryview(b"")
        self._poll = poll()
        self._poll.register(self._from_child, POLLIN)
        self._poll.register(self._to_child, POLLOUT)

    def read(self, size: int) -> bytes:
        while self._from_child >= 0:
            ready = dict(self._poll.poll())
            if self._from_child in ready:
                data = os.read(self._from_child, size)
                if not data:
                    self._finish()
                return data
            if ready.get(self._to_child, 0) & (POLLOUT | POLLERR | POLLHUP):
                self._feed()
        return b""

    def _feed(self) -> None:
        if not self._pending:
            self._pending = memoryview(self._stream.read(_INPUT))
        try:
            if self._pending:
                self._pending = self._pending[os.write(self._to_child, self._pending) :]
                return
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # it has given up; its exit status tells why
        self._close_input()

    def _close_input(self) -> None:
        if self._to_child >= 0:
            self._poll.unregister(self._to_child)
            os.close(self._to_child)
            self._to_child = -1

    def _finish(self) -> None:
        """Its output has ended: the exit status says whether that was the end of the stream."""
        message = self.close()
        if message is not None:
            raise Damaged(f"decompress zstd: {message}")

    def close(self) -> str | None:
        """End the process if it runs, and free the descriptors. What it complained about, None if it was content."""
        if self._from_child < 0:
            return None
        self._close_input()
        os.close(self._from_child)
        self._from_child = -1
        status = os.waitpid(self._pid, 0)[1]
        text = os.pread(self._errors, 500, 0).decode("utf-8", "replace").strip()
        os.close(self._errors)
        if status == 0:
            return None
        return " ".join(text.rpartition("\n")[2].split()) or f"zstd ended with status {status}"
