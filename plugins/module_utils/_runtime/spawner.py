# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The warm parent: a small interpreter that forks a child per request, a monitor or the helper of an exec.

It is an accelerator and no authority: it keeps no state, reads no request (its children do), may be killed at any
time, and is started by the next client that misses it. Whatever it forks lives on without it; a monitor that is killed
while it lives is replaced at once. It ends by itself after ten idle minutes without monitors, or when its socket or
launch code has gone.

Executed as `python3 -I -S` from a read-only clone of the interpreter (`spawner_start.py`), with the listening socket as
descriptor 3. Everything that a child needs is imported here, before the first fork.
"""

from __future__ import annotations

import gc
import os
from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGCHLD,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGSTOP,
    SIGXFSZ,
    default_int_handler,
    pthread_sigmask,
    set_wakeup_fd,
)
from _signal import signal as set_handler
from _socket import AF_UNIX, MSG_PEEK, SO_RCVTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack
from select import POLLIN, poll
from time import monotonic

from .._base.errors import HullError
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import enter_supervisor, leave_supervisor
from .._sys.file_calls import close_range
from .._sys.privilege_calls import set_child_subreaper, set_dumpable, set_name
from .._sys.process_calls import set_default_action
from . import protocol
from .clients import peer_uid
from .dormant import run_monitor
from .exec_server import run_exec
from .launch_plan import ProcessPlan, from_record
from .launch_worker import adopt_of, first_start
from .requests import read_request, refuse, unknown

IDLE_S = 600
_LOOK_S = 10
_REQUEST_TIMEOUT = pack("ll", 30, 0)
_MONITOR = bytes((protocol.MONITOR,))
_LISTENER = 3


def main(socket_path: str, launch_directory: str, cgroup_parent: str) -> None:
    """Serve until idle. `socket_path` and `launch_directory` are only looked at: when they go, so does the spawner."""
    _settle_in(cgroup_parent)
    listener = socket(AF_UNIX, SOCK_STREAM, fileno=_LISTENER)
    listener.setblocking(False)
    inode = os.stat(socket_path).st_ino
    ended, noted = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    set_wakeup_fd(noted)
    set_handler(SIGCHLD, _note)
    watch = poll()
    watch.register(listener.fileno(), POLLIN)
    watch.register(ended, POLLIN)
    socket.fileno  # noqa: B018  the type completes itself when it is first looked at, in each child otherwise
    gc.collect()
    gc.freeze()
    gc.disable()
    forked: set[int] = set()
    last = monotonic()
    while True:
        ready = [fd for fd, _events in watch.poll(_LOOK_S * 1000)]
        if ended in ready:
            os.read(ended, 4096)
            _reap(listener, socket_path, forked)
        if listener.fileno() in ready:
            while _serve_one(listener, forked):
                last = monotonic()
        if ready:
            continue
        if not _still_wanted(socket_path, inode, launch_directory):
            break
        if _reap(listener, socket_path, forked):
            last = monotonic()
        if monotonic() - last > IDLE_S:
            os.unlink(socket_path)  # from now on clients start another; those already waiting are served below
            while _serve_one(listener, forked):
                pass
            break
    _leave_cgroup(cgroup_parent)


def _note(_number: int, _frame: object) -> None:
    """SIGCHLD: the interpreter has written to the pipe already, which is all that is needed."""


def _reap(listener: socket, socket_path: str, forked: set[int]) -> bool:
    """Take note of what has ended; a monitor that was killed is replaced at once. Whether there are children left.

    Orphans of a container in the host's pid namespace become children too, and end as the container likes: only who
    is among `forked`, the spawner's own, is worth a fork.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        if pid in forked:
            forked.remove(pid)
            if os.WIFSIGNALED(status):
                _replace(listener, os.path.dirname(socket_path), pid, forked)


def _replace(listener: socket, run: str, killed: int, forked: set[int]) -> None:
    """Fork a monitor for the container whose monitor was the killed process, if it was one."""
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _become_monitor(listener)
                run_monitor(None, lambda channel: adopt_of(run, killed, channel))
            finally:
                os._exit(1)
        forked.add(pid)
    except OSError:
        pass  # no memory or processes left: the next operation on the container has it adopted


def _become_monitor(listener: socket) -> None:
    listener.close()
    set_wakeup_fd(-1)
    set_handler(SIGCHLD, SIG_DFL)
    os.setsid()
    name = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(name, b"hull-monitor")
    os.close(name)


def _settle_in(cgroup_parent: str) -> None:
    """Be nobody's: own session and cgroup, no terminal, no foreign descriptors, signals as a fresh process has them."""
    close_range(_LISTENER + 1)
    os.set_inheritable(_LISTENER, False)
    os.umask(0o022)
    set_name("hull-spawner")
    set_dumpable(False)
    for number in range(1, 65):
        if number not in (SIGKILL, SIGSTOP):
            set_default_action(number)
    set_handler(SIGINT, default_int_handler)
    pthread_sigmask(SIG_SETMASK, ())
    for number in (SIGPIPE, SIGXFSZ):
        set_handler(number, SIG_IGN)
    set_child_subreaper(True)  # the inits of killed monitors: their exit status is the adopter's once they are reaped
    try:
        enter_supervisor(detect(), cgroup_parent)
    except (HullError, OSError):
        pass  # a host without writable cgroups: the launch will say what is missing


def _leave_cgroup(cgroup_parent: str) -> None:
    """Go back to the roots and take the engine's cgroups along where nothing else is in them."""
    try:
        leave_supervisor(detect(), cgroup_parent)
    except (HullError, OSError):
        pass  # whoever starts the next container finds them


def _still_wanted(socket_path: str, inode: int, launch_directory: str) -> bool:
    try:
        return os.stat(socket_path).st_ino == inode and os.path.isdir(launch_directory)
    except OSError:
        return False


def _serve_one(listener: socket, forked: set[int]) -> bool:
    """Accept one connection and fork its child. False where none waits."""
    try:
        fd, _ = listener._accept()  # type: ignore[attr-defined]
    except OSError:
        return False
    connection = socket(AF_UNIX, SOCK_STREAM, fileno=fd)
    try:
        if peer_uid(connection) == 0:
            pid = os.fork()
            if pid == 0:
                _be_child(listener, connection)
            forked.add(pid)
    except OSError:
        pass  # no memory or processes left: the client sees its connection close before anything was accepted
    finally:
        connection.close()
    return True


def _be_child(listener: socket, connection: socket) -> None:
    """Become what the request asks for. Never returns.

    A monitor reads no request: its worker does. The first byte tells which it is.
    """
    try:
        connection.setblocking(True)
        connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _REQUEST_TIMEOUT)
        _become_monitor(listener)
        if connection.recv(1, MSG_PEEK) == _MONITOR:
            run_monitor(connection, lambda channel: first_start(connection, channel))
        decoder = protocol.Decoder()
        request = read_request(connection, decoder)
        if request.get("op") != "exec":
            raise unknown(request)
        run_exec(connection, decoder, request, from_record(ProcessPlan, request["process"]))
    except (HullError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        refuse(connection, error)
    finally:
        os._exit(1)
