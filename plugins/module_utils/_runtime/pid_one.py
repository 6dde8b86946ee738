# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The engine's own PID 1 (`init: true`): starts the command, forwards signals to it, reaps orphans, ends as it ends.

It is the forked interpreter itself, so no binary of the host or helper is brought into the container. It runs with the
command's user and privileges, is not dumpable, and its /proc/1/exe is the read-only clone that the spawner runs from.
"""

from __future__ import annotations

import os
from _signal import SIG_BLOCK, SIGCHLD, SIGTTIN, SIGTTOU, pthread_sigmask, sigwait  # type: ignore[import-not-found]

from .handshake import send_failure
from .launch_plan import ProcessPlan
from .process_setup import execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SIGSTOP, _SIGKILL = 19, 9
_SYNCHRONOUS = frozenset((4, 5, 6, 7, 8, 11, 31, 32, 33))  # faults, abort, and those of the C library
_ALL = frozenset(range(1, 65)) - _SYNCHRONOUS - {_SIGKILL, _SIGSTOP}


def run_as_pid_one(process: ProcessPlan, env: dict[bytes, bytes], channel_fd: int) -> NoReturn:
    """Fork the command and serve until it ends; exits with its status, or 128 and the signal's number."""
    pthread_sigmask(SIG_BLOCK, _ALL)
    child = os.fork()
    if child == 0:
        _run_command(process, env, channel_fd)
    os.close(channel_fd)
    while True:
        number = sigwait(_ALL)
        if number == SIGCHLD:
            _reap(child)
        elif number not in (SIGTTIN, SIGTTOU):
            _forward(child, number)


def _run_command(process: ProcessPlan, env: dict[bytes, bytes], channel_fd: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        if process.tty:
            os.tcsetpgrp(0, os.getpid())
        execute(process, env)
    except BaseException as error:  # the fork boundary
        send_failure(channel_fd, error)
    finally:
        os._exit(127)


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _forward(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except OSError:  # it has just ended, or runs as somebody else
        pass
