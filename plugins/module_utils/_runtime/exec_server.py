# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The helper of one exec: forked by the spawner, it starts the process, serves its one client, and ends with it.

The client's end is the process's end: when the connection breaks, everything that the exec has started is killed. A
detached exec (`attach` false) is answered once it runs, and its helper stays to drain its output and to reap it.
"""

from __future__ import annotations

import os
from _signal import SIG_SETMASK, pthread_sigmask  # type: ignore[import-not-found]
from time import monotonic_ns

from .._base.errors import Conflict, HullError
from .._kernel.cgroup_host import detect
from .._sys.privilege_calls import set_name
from .._sys.process_title import set_title
from . import protocol, state
from .clients import Client, Clients
from .event_loop import EventLoop
from .exec_process import Spawned, spawn, target_of
from .launch_plan import ProcessPlan
from .streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any, NoReturn

_DRAIN_NS = 2 * 10**9
_FINISH_NS = 5 * 10**9


class ExecServer:
    """Serves one exec."""

    def __init__(self, connection: socket, decoder: protocol.Decoder) -> None:
        self.loop = EventLoop()
        self.clients = Clients(self.loop, self._frame, self._gone)
        self.client = Client(connection, decoder)
        self.process: Spawned | None = None
        self.streams: Streams | None = None
        self._attach = True

    def serve(self, run_directory: str, process: ProcessPlan, *, attach: bool) -> None:
        """Run the process to its end. Errors go to the client."""
        self._attach = self.client.attached = attach
        self.clients.add(self.client)
        try:
            self.process = self._spawn(run_directory, process)
        except (HullError, OSError) as error:
            self.client.send(protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error)))
            self.clients.finish(monotonic_ns() + _FINISH_NS)
            return
        self.streams = Streams(self.loop, self.clients, self.process.wiring)
        self.loop.watch(self.process.pid_fd, lambda _events: self._ended())
        answer = {"pid": self.process.pid, "warnings": self.process.warnings}
        self.client.send(protocol.encode_json(protocol.ANSWER, answer))
        self.clients.deliver_pending(self.client)
        self.clients.settle_all()
        self.loop.run()

    def _spawn(self, run_directory: str, process: ProcessPlan) -> Spawned:
        record = state.read_state(run_directory)
        if record is None or not state.init_alive(record):
            raise Conflict("execute: the container is not running", hint="start it first")
        seccomp = b""
        if process.seccomp_path:
            with open(process.seccomp_path, "rb", buffering=0) as file:
                seccomp = file.read()
        return spawn(target_of(record), process, detect(), seccomp=seccomp, rows=process.rows, columns=process.columns)

    def _frame(self, client: Client, kind: int, payload: bytes) -> None:
        if self.streams is None:
            return
        if kind == protocol.STDIN:
            self.streams.feed(payload)
        elif kind == protocol.CLOSE_STDIN:
            self.streams.close_stdin()
        elif kind == protocol.RESIZE:
            self.streams.resize(*protocol.decode_resize(payload))
        elif kind == protocol.DETACH:
            self._attach = client.attached = False
            client.send(protocol.encode(protocol.DETACHED))

    def _gone(self, _client: Client) -> None:
        if self._attach and self.process is not None:
            self.process.kill()

    def _ended(self) -> None:
        assert self.process is not None and self.streams is not None
        self.loop.forget(self.process.pid_fd)
        self.streams.drain(monotonic_ns() + _DRAIN_NS)
        self.streams.close()
        exit_code = self.process.finish()
        record = {"exit_code": exit_code, "oom_killed": False, "error": ""}
        if self.client.attached:
            self.client.send(protocol.encode_json(protocol.EXIT, record))
        self.clients.finish(monotonic_ns() + _FINISH_NS)
        self.loop.finished = True


def run_exec(connection: socket, decoder: protocol.Decoder, request: dict[str, Any], process: ProcessPlan) -> NoReturn:
    """In the spawner's forked child: serve this exec, and end the process."""
    code = 1
    try:
        pthread_sigmask(SIG_SETMASK, ())
        set_name("hull-exec")
        set_title(f"hull-exec {request['run_directory']}")
        server = ExecServer(connection, decoder)
        server.serve(str(request["run_directory"]), process, attach=bool(request.get("attach", True)))
        code = 0
    finally:
        os._exit(code)
