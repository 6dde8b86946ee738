# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Work in a throw-away child, so that the pages which it dirties go with it.

A monitor stays for months and shares its memory with the spawner and all other monitors, until it writes to it; and
what Python only looks at, it writes to. So what a monitor does once, or seldom, is done by a child: its result comes
back as plain data (marshal, one message), its descriptors as descriptors.
"""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIGTERM, set_wakeup_fd  # type: ignore[import-not-found]
from _signal import signal as set_handler
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from _struct import pack, unpack
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import Any

MAX_MESSAGE = 131072
RIGHTS_SPACE = CMSG_SPACE(4 * 250)


class Worker:
    """A child at work. `channel` becomes readable when it has given its result, or has ended."""

    def __init__(self, work: Callable[[socket], None]) -> None:
        """Fork. The work runs in the child, calls `give` at most once, and ends the child by returning."""
        self.channel, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.channel.close()
                set_handler(SIGTERM, SIG_DFL)
                set_wakeup_fd(-1)
                work(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def result(self) -> tuple[Any, tuple[int, ...]]:
        """What it gave, waiting for it, and the descriptors that came along; (None, ()) where it ended without."""
        data, ancillary, _, _ = self.channel.recvmsg(MAX_MESSAGE, RIGHTS_SPACE, MSG_CMSG_CLOEXEC)
        self.channel.close()
        os.waitpid(self.pid, 0)
        fds: tuple[int, ...] = ()
        for _level, _kind, numbers in ancillary:
            fds = unpack(f"{len(numbers) // 4}i", numbers)
        return (loads(data) if data else None), fds


def give(channel: socket, value: Any, fds: Sequence[int] = ()) -> None:
    """In the child: hand over the result, plain data, and descriptors. Raises OSError where the monitor is gone."""
    rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    channel.sendmsg([dumps(value)], rights, MSG_NOSIGNAL)


def call(work: Callable[[], Any]) -> Any:
    """The plain data that a function returns when a child calls it; None where the child was killed."""
    return Worker(lambda channel: give(channel, work())).result()[0]
