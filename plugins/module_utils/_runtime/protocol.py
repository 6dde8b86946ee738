# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What goes over the sockets between client, spawner and monitor: frames of a closed list of kinds.

A frame is one byte of kind, four bytes of length (big endian), payload. The same framing serves a connection to the
spawner (one REQUEST, then the container's streams) and one to `monitor.sock` (one REQUEST each, or an attach).
Pure: no socket is touched here.
"""

from __future__ import annotations

from _struct import Struct

from .._base import codec, errors
from .._base.errors import Damaged, HullError, LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# from the client
REQUEST = 0x52  # R: JSON
MONITOR = 0x4D  # M: JSON, to the spawner: a request that makes a monitor of the process that serves it
STDIN = 0x69  # i: bytes for the container's standard input
CLOSE_STDIN = 0x63  # c: no more of them
RESIZE = 0x77  # w: rows and columns, two bytes each
DETACH = 0x64  # d: stop sending me streams

# to the client
ACCEPTED = 0x41  # A: the request is being worked on; before it, nothing was done and it may be sent again
ANSWER = 0x53  # S: JSON, the request succeeded
FAILURE = 0x58  # X: JSON, it did not: see `failure_payload`
STDOUT = 0x6F  # o: bytes
STDERR = 0x65  # e: bytes
LOST = 0x6C  # l: decimal number of output bytes that this client was too slow for
EXIT = 0x78  # x: JSON {"exit_code", "oom_killed", "error"}; the last frame
DETACHED = 0x44  # D: the streams end here, the process goes on

KINDS = frozenset(
    (
        REQUEST,
        MONITOR,
        STDIN,
        CLOSE_STDIN,
        RESIZE,
        DETACH,
        ACCEPTED,
        ANSWER,
        FAILURE,
        STDOUT,
        STDERR,
        LOST,
        EXIT,
        DETACHED,
    )
)
MAX_PAYLOAD = 16 * 1024 * 1024

_header = Struct(">BI")
_size = Struct(">HH")


def encode(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return _header.pack(kind, len(payload)) + payload


def encode_json(kind: int, value: Any) -> bytes:
    """One frame with a JSON payload."""
    return encode(kind, codec.render(value).encode())


def encode_resize(rows: int, columns: int) -> bytes:
    """A RESIZE frame; sizes beyond 65535 are cut."""
    return encode(RESIZE, _size.pack(min(max(rows, 0), 65535), min(max(columns, 0), 65535)))


def decode_resize(payload: bytes) -> tuple[int, int]:
    """(rows, columns) of a RESIZE frame. Raises Damaged."""
    if len(payload) != _size.size:
        raise Damaged("read a frame: a window size has four bytes")
    rows, columns = _size.unpack(payload)
    return rows, columns


class Decoder:
    """Cuts received bytes into frames, whatever the pieces in which they arrive."""

    def __init__(self, limit: int = MAX_PAYLOAD, *, pending: bytes = b"") -> None:
        self._pending = pending
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now, as (kind, payload). Raises Damaged for what is not a frame."""
        buffer = self._pending + data if self._pending else data
        frames = []
        at, end = 0, len(buffer)
        while end - at >= 5:
            kind, length = self._head(buffer, at)
            if end - at - 5 < length:
                break
            frames.append((kind, buffer[at + 5 : at + 5 + length]))
            at += 5 + length
        self._pending = buffer[at:]
        return frames

    def _head(self, buffer: bytes, at: int) -> tuple[int, int]:
        kind, length = _header.unpack_from(buffer, at)
        if kind not in KINDS or length > self._limit:
            raise Damaged(f"read a frame: kind {kind:#x} with {length} bytes is not part of the protocol")
        return kind, length

    def rest(self) -> bytes:
        """What was received after the last frame."""
        return self._pending

    def next(self, data: bytes) -> tuple[int, bytes] | None:
        """The first frame, if it is complete now; what follows it is kept for later."""
        buffer = self._pending + data
        self._pending = buffer
        if len(buffer) < 5:
            return None
        kind, length = self._head(buffer, 0)
        if len(buffer) - 5 < length:
            return None
        self._pending = buffer[5 + length :]
        return kind, buffer[5 : 5 + length]


def failure_payload(error: BaseException) -> dict[str, Any]:
    """An error as it crosses a socket. What is not one of the engine's errors is told with its type."""
    if isinstance(error, HullError):
        return {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code if isinstance(error, LaunchError) else 125,
            "errno": error.errno if isinstance(error, errors.SyscallError) else 0,
        }
    text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    number = error.errno if isinstance(error, OSError) and error.errno else 0
    return {"error": "LaunchError", "message": text, "hint": "", "exit_code": 125, "errno": number}


_ERRORS: dict[str, type[HullError]] = {
    "Invalid": errors.Invalid,
    "NotFound": errors.NotFound,
    "Conflict": errors.Conflict,
    "Unsupported": errors.Unsupported,
    "Denied": errors.Denied,
    "Timeout": errors.Timeout,
    "Damaged": errors.Damaged,
}


def failure_error(payload: bytes, *, prefix: str = "") -> HullError:
    """The error that a FAILURE frame tells of, ready to be raised; `prefix` names the object."""
    record = codec.parse(payload, source="the monitor's answer")
    message, hint = prefix + str(record.get("message", "")), str(record.get("hint", ""))
    name = str(record.get("error", ""))
    if name == "SyscallError":
        return errors.SyscallError(message, errno=int(record.get("errno", 0)), hint=hint)
    kind = _ERRORS.get(name)
    if kind is not None:
        return kind(message, hint=hint)
    return LaunchError(message, exit_code=int(record.get("exit_code", 125)), hint=hint)
