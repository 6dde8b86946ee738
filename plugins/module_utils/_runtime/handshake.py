# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a process on its way into a container and the one that launches it say to each other: a closed list.

One SEQPACKET socket pair, one message per datagram, the first byte is its kind. The child's end closes on exec, so the
end of file after EXECUTING means that execve has succeeded.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, CMSG_LEN, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from _struct import pack, unpack
from select import POLLIN, poll

from .._base import codec
from .._base.errors import HullError, LaunchError, Timeout
from .patience import Patience
from .protocol import failure_error, failure_payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .wiring import Wiring

# to the child
GO = b"g"  # ids are mapped
NETWORK_READY = b"n"  # the interface is plugged, configure it

# from the child
TERMINAL = b"T"  # the terminal's master comes with it
WARNING = b"W"  # text
PID = b"P"  # the process's number on the host
EXECUTING = b"X"  # everything is set, execve comes next
FAILED = b"F"  # JSON, protocol.failure_payload

_MAX_MESSAGE = 16384


def make_pair() -> tuple[int, int]:
    """(launcher's end, child's end), both close-on-exec."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    return ours.detach(), theirs.detach()


def send(fd: int, kind: bytes, text: str = "") -> None:
    """One message."""
    os.write(fd, kind + text.encode("utf-8", "replace")[: _MAX_MESSAGE - 1])


def send_failure(fd: int, error: BaseException) -> None:
    """Tell why it failed; nothing happens where nobody listens any more."""
    try:
        send(fd, FAILED, codec.render(failure_payload(error)))
    except OSError:
        pass


def send_terminal(fd: int, master: int) -> None:
    """Hand over the master of a pseudo-terminal."""
    channel = socket(AF_UNIX, SOCK_SEQPACKET, 0, fileno=fd)
    try:
        channel.sendmsg([TERMINAL], [(SOL_SOCKET, SCM_RIGHTS, pack("i", master))])
    finally:
        channel.detach()


def expect(fd: int, kind: bytes) -> None:
    """Wait for this message of the launcher's. Raises LaunchError where it has gone."""
    if os.read(fd, 16) != kind:
        raise LaunchError("the launch was given up")


class Progress:
    """What a child has told so far. `failure` is the error to raise, if it told one."""

    def __init__(self) -> None:
        self.executing = False
        self.pid = 0
        self.warnings: list[str] = []
        self.failure: HullError | None = None

    def follow(self, fd: int, wiring: Wiring, timeout_s: int, is_paused: Callable[[], bool] = lambda: False) -> None:
        """Read until the child closes its end: by execve, or by ending. A timeout becomes the failure."""
        channel = socket(AF_UNIX, SOCK_SEQPACKET, 0, fileno=fd)
        watch = poll()
        watch.register(fd, POLLIN)
        patience = Patience(timeout_s * 10**9, is_paused)
        try:
            while True:
                if not watch.poll(patience.left_ms()):
                    if not patience.is_over():
                        continue
                    self.failure = self.failure or Timeout(f"the process was not ready within {timeout_s} s")
                    return
                try:
                    message, ancillary, _, _ = channel.recvmsg(_MAX_MESSAGE, CMSG_LEN(4))
                except ConnectionResetError:  # it ended without having read everything; what it told comes after this
                    continue
                if not message:
                    return
                if message[:1] == TERMINAL:
                    wiring.terminal = _received_fd(ancillary)
                else:
                    self._take(message[:1], message[1:])
        finally:
            channel.detach()

    def _take(self, kind: bytes, text: bytes) -> None:
        if kind == WARNING:
            self.warnings.append(text.decode("utf-8", "replace"))
        elif kind == PID:
            self.pid = int(text)
        elif kind == EXECUTING:
            self.executing = True
        elif kind == FAILED and self.failure is None:
            self.failure = failure_error(text)


def _received_fd(ancillary: list[tuple[int, int, bytes]]) -> int:
    for _level, _kind, data in ancillary:
        fd: int = unpack("i", data[:4])[0]
        os.set_inheritable(fd, False)
        return fd
    raise LaunchError("tty: the terminal did not arrive")
