# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The first and often longest part of a monitor's life: it sleeps until its container, a client or the host does
something, and has touched next to nothing of the memory that it shares with the spawner.

So this is one function over plain numbers, that calls the kernel and hardly any Python: every function that is called
and every object that is looked at costs a page of 4 KiB, in each of a thousand monitors. What a launch in a child hands
over stays packed until it is needed.
"""

from __future__ import annotations

import os
from _signal import SIG_DFL, SIGTERM, set_wakeup_fd  # type: ignore[import-not-found]
from _signal import signal as set_handler
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair
from _struct import unpack
from select import POLLIN, poll

from .._sys.process_title import title_place
from .monitor import Monitor, end_children
from .worker import MAX_MESSAGE, RIGHTS_SPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import NoReturn

_title_start, _title_room = title_place()


def _note(_number: int, _frame: object) -> None:
    """SIGTERM: the interpreter has written its number to the pipe already, which is all that is needed."""


def run_monitor(connection: socket | None, work: Callable[[socket], None]) -> NoReturn:
    """In the spawner's forked child: be the monitor of what `work`, in a child, hands over, and end the process."""
    code = 1
    try:
        signals, noted = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        set_wakeup_fd(noted)
        set_handler(SIGTERM, _note)
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        child = os.fork()
        if child == 0:
            _work(work, theirs)
        theirs.close()
        message, ancillary, _, _ = ours.recvmsg(MAX_MESSAGE, RIGHTS_SPACE, MSG_CMSG_CLOEXEC)
        ours.close()
        os.waitpid(child, 0)
        if message:
            if _title_room:
                memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
                os.pwrite(memory, message[1 : 1 + _title_room], _title_start)
                os.close(memory)
            rights = ancillary[0][2]
            fds = unpack(f"{len(rights) // 4}i", rights)
            if message[0]:  # how many of them wake it
                if connection is not None:
                    connection.close()
                    connection = None
                watch = poll()
                watch.register(signals, POLLIN)
                for fd in fds[: message[0]]:
                    watch.register(fd, POLLIN)
                watch.poll()
            Monitor(message[1 + _title_room :], fds, signals).serve(connection)
            code = 0
        else:
            end_children()
    finally:
        os._exit(code)


def _work(work: Callable[[socket], None], channel: socket) -> NoReturn:
    try:
        set_handler(SIGTERM, SIG_DFL)
        set_wakeup_fd(-1)
        work(channel)
    finally:
        os._exit(0)
