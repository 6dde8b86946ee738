# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Network namespaces for tests: held by a descriptor only, so they and all links in them go with the test."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import traceback
from typing import TYPE_CHECKING, Any

from ansible_collections.hull.engine.plugins.module_utils._sys import calls

if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWNET = 0x40000000


class NetworkNamespace:
    """A fresh network namespace with its loopback up. `close` ends what was started in it."""

    def __init__(self) -> None:
        self._children: list[int] = []
        self.fd = self._make()
        self.run(command, "ip", "link", "set", "lo", "up")

    @staticmethod
    def _make() -> int:
        ready, told = os.pipe()
        go, gone = os.pipe()
        pid = os.fork()
        if pid == 0:
            calls.unshare(_CLONE_NEWNET)
            os.write(told, b"1")
            os.close(gone)
            os.read(go, 1)
            os._exit(0)
        for fd in (told, go):
            os.close(fd)
        assert os.read(ready, 1) == b"1"
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for other in (ready, gone):
            os.close(other)
        os.waitpid(pid, 0)
        return fd

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's value from a child in the namespace; an exception of it is raised here if it pickles."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                calls.setns(self.fd, _CLONE_NEWNET)
                answer: tuple[bool, Any] = (True, function(*arguments))
            except BaseException as error:
                answer = (False, (type(error), vars(error), str(error), traceback.format_exc()))
            with os.fdopen(write_end, "wb") as stream:
                stream.write(pickle.dumps(answer))
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as stream:
            data = stream.read()
        os.waitpid(pid, 0)
        succeeded, value = pickle.loads(data)
        if succeeded:
            return value
        kind, attributes, text, trace = value
        error = kind.__new__(kind)
        error.__dict__.update(attributes)
        error.args = (text,)
        raise error from RuntimeError(trace)

    def make_socket(self, kind: int) -> socket.socket:
        """An IPv4 socket of the namespace, made in a child because a test stays where it is."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:

            def make() -> None:
                with socket.socket(socket.AF_INET, kind) as made:
                    socket.send_fds(theirs, [b"1"], [made.fileno()])

            self.run(make)
            _data, fds, _flags, _address = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=fds[0])

    def hold(self, function: Callable[[int], None]) -> int:
        """Start a child in the namespace that runs until `close`; `function` writes a byte to its fd when ready."""
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                calls.setns(self.fd, _CLONE_NEWNET)
                function(told)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(told)
        self._children.append(pid)
        assert os.read(ready, 1) == b"1"
        os.close(ready)
        return pid

    def serve(self, label: str, port: int, *, udp: bool = False) -> None:
        """Answer every connection or datagram with the label and the address that it came from."""
        self.hold(lambda told: (_serve_udp if udp else _serve_tcp)(told, label, port))

    def close(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._children.clear()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def _serve_tcp(told: int, label: str, port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        os.write(told, b"1")
        while True:
            connection, peer = listener.accept()
            with connection:
                connection.sendall(f"{label} {peer[0]}".encode())


def _serve_udp(told: int, label: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", port))
        os.write(told, b"1")
        while True:
            _data, peer = listener.recvfrom(1000)
            listener.sendto(f"{label} {peer[0]}".encode(), peer)


def command(*words: str) -> str:
    """The output of a command; it must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def dial(address: str, port: int, *, udp: bool = False, timeout_s: float = 3) -> str:
    """What a server answers, or `refused`, `unreachable` or `silence`."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect((address, port))
            if udp:
                connection.send(b"?")
            return connection.recv(1000).decode()
        except ConnectionRefusedError:
            return "refused"
        except socket.timeout:  # TimeoutError from 3.10 on
            return "silence"
        except OSError as error:
            return f"unreachable: {error}"
