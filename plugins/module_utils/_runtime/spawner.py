# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The warm parent: a small interpreter that forks a child per request, a monitor or the helper of an exec.

It is an accelerator and no authority: it keeps no state, reads no request (its children do), may be killed at any
time, and is started by the next client that misses it. Whatever it forks lives on without it. It ends by itself after
ten idle minutes, or when its socket or launch code has gone.

Executed as `python3 -I -S` from a read-only clone of the interpreter (`spawner_start.py`), with the listening socket as
descriptor 3. Everything that a child needs is imported here, before the first fork.
"""

from __future__ import annotations

import gc
import os
from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGSTOP,
    SIGXFSZ,
    default_int_handler,
)
from _signal import signal as set_handler
from _socket import AF_UNIX, SO_RCVTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack
from select import POLLIN, poll
from time import monotonic

from .._base import codec
from .._base.errors import Damaged, HullError, Invalid
from .._kernel.cgroup_files import write_text
from .._kernel.cgroup_host import detect
from .._kernel.cgroups import enter_supervisor, remove_if_empty
from .._sys.file_calls import close_range
from .._sys.privilege_calls import set_dumpable, set_name
from .._sys.process_calls import set_default_action
from . import protocol
from .clients import peer_uid
from .exec_server import run_exec
from .launch_plan import ProcessPlan, from_record, plan_from_record
from .monitor import run_monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IDLE_S = 600
_LOOK_S = 10
_REQUEST_TIMEOUT_S = 30
_LISTENER = 3


def main(socket_path: str, launch_directory: str, cgroup_parent: str) -> None:
    """Serve until idle. `socket_path` and `launch_directory` are only looked at: when they go, so does the spawner."""
    _settle_in(cgroup_parent)
    listener = socket(AF_UNIX, SOCK_STREAM, fileno=_LISTENER)
    listener.setblocking(False)
    inode = os.stat(socket_path).st_ino
    watch = poll()
    watch.register(listener.fileno(), POLLIN)
    gc.collect()
    gc.freeze()
    gc.disable()
    last = monotonic()
    while True:
        if watch.poll(_LOOK_S * 1000):
            while _serve_one(listener):
                last = monotonic()
            continue
        if not _still_wanted(socket_path, inode, launch_directory):
            break
        if monotonic() - last > IDLE_S:
            os.unlink(socket_path)  # from now on clients start another; those already waiting are served below
            while _serve_one(listener):
                pass
            break
    _leave_cgroup(cgroup_parent)


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
    for number in (SIGPIPE, SIGXFSZ, SIGCHLD):  # ignored children are reaped by the kernel
        set_handler(number, SIG_IGN)
    try:
        enter_supervisor(detect(), cgroup_parent)
    except (HullError, OSError):
        pass  # a host without writable cgroups: the launch will say what is missing


def _leave_cgroup(cgroup_parent: str) -> None:
    """Go back to the roots and take the engine's cgroups along where nothing else is in them."""
    try:
        host = detect()
        for root in (*(root for name, root in host.mounts.items() if name.startswith("name=")), host.unified):
            if root:
                write_text(f"{root}/cgroup.procs", "0")
        remove_if_empty(host, cgroup_parent)
    except (HullError, OSError):
        pass  # whoever starts the next container finds them


def _still_wanted(socket_path: str, inode: int, launch_directory: str) -> bool:
    try:
        return os.stat(socket_path).st_ino == inode and os.path.isdir(launch_directory)
    except OSError:
        return False


def _serve_one(listener: socket) -> bool:
    """Accept one connection and fork its child. False where none waits."""
    try:
        fd, _ = listener._accept()  # type: ignore[attr-defined]
    except OSError:
        return False
    connection = socket(AF_UNIX, SOCK_STREAM, fileno=fd)
    try:
        if peer_uid(connection) == 0 and os.fork() == 0:
            _be_child(listener, connection)
    except OSError:
        pass  # no memory or processes left: the client sees its connection close before anything was accepted
    finally:
        connection.close()
    return True


def _be_child(listener: socket, connection: socket) -> None:
    """Read the request and become what it asks for. Never returns."""
    try:
        listener.close()
        set_handler(SIGCHLD, SIG_DFL)
        os.setsid()
        connection.setblocking(True)
        connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack("ll", _REQUEST_TIMEOUT_S, 0))
        decoder = protocol.Decoder()
        request = _read_request(connection, decoder)
        connection.send(protocol.encode(protocol.ACCEPTED))
        _dispatch(connection, decoder, request)
    except (HullError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _refuse(connection, error)
    finally:
        os._exit(1)


def _read_request(connection: socket, decoder: protocol.Decoder) -> dict[str, Any]:
    while True:
        data = connection.recv(65536)
        if not data:
            raise Damaged("the client went away before its request was read")
        frame = decoder.next(data)
        if frame is not None:
            request = codec.parse(frame[1], source="the request")
            if frame[0] != protocol.REQUEST or not isinstance(request, dict):
                raise Invalid("the first frame is not a request")
            return request


def _dispatch(connection: socket, decoder: protocol.Decoder, request: dict[str, Any]) -> None:
    operation = request.get("op")
    if operation == "start":
        run_monitor(connection, decoder, request, plan_from_record(request["plan"]))
    elif operation == "exec":
        run_exec(connection, decoder, request, from_record(ProcessPlan, request["process"]))
    raise Invalid(f"the spawner does not know the request {str(operation)[:40]!r}")


def _refuse(connection: socket, error: BaseException) -> None:
    try:
        connection.send(protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error)))
    except OSError:
        pass
