# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""journald and syslog, seen from the other end of a real socket: nothing waits, what is dropped is counted and told."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._runtime.container_log import ContainerLog
from ansible_collections.hull.engine.plugins.module_utils._runtime.event_loop import EventLoop
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import LaunchPlan, LogPlan, ProcessPlan
from ansible_collections.hull.engine.plugins.module_utils._runtime.log_drivers import LogDriver, receiver_warnings
from ansible_collections.hull.engine.plugins.module_utils._runtime.logs import read_log

ID = "0123456789abcdef" * 4


class Logged:
    """A container's log with a receiver, and what the receiver gets."""

    def __init__(self, directory: Path, **log: Any) -> None:
        self.directory = str(directory)
        self.path = f"{directory}/receiver"
        self.loop = EventLoop()
        fields = {"driver": "syslog", "tag": "web", "address": f"unixgram://{self.path}", "image": "debian:12", **log}
        self.log_plan = LogPlan(f"{directory}/container.log", 1 << 20, 3, **fields)
        process = ProcessPlan(("true",), ())
        self.plan = LaunchPlan(ID, "web-1", "hull", self.directory, self.directory, (), process, "host")
        self.losses = 0
        self.log: ContainerLog | None = None

    def open(self) -> ContainerLog:
        self.log = ContainerLog(self.loop, lambda: self.plan, self.log_plan.fields(), self._lost)
        self.log.open()
        return self.log

    def _lost(self) -> None:
        self.losses += 1

    def listen(self, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, kind)
        receiver.bind(self.path)
        if kind == socket.SOCK_STREAM:
            receiver.listen()
        receiver.settimeout(5)
        return receiver

    def turn_until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 5
        while not (value := condition()):
            assert time.monotonic() < deadline
            self.loop.run_once(10)
        return value

    def in_file(self) -> bytes:
        return b"".join(line.data for line in read_log(self.directory))


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[..., Logged]]:
    made: list[Logged] = []

    def make(**log: Any) -> Logged:
        made.append(Logged(tmp_path, **log))
        return made[-1]

    yield make
    for one in made:
        if one.log is not None:
            one.log.close()


def entry(data: bytes) -> dict[str, bytes]:
    """A journal entry, parsed as the protocol's documentation says."""
    fields = {}
    while data:
        line, data = data.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[9 + size :]
        fields[name.decode()] = value
    return fields


def test_journald_gets_entries_with_dockers_fields(logged: Callable[..., Logged]) -> None:
    case = logged(driver="journald")
    receiver = case.listen()
    log = case.open()
    log.write("stdout", b"hello\n\x1b[1m\0=\xff\n")
    log.write("stderr", b"x" * 20000 + b"\n")
    first = entry(receiver.recv(65536))
    assert first == {
        "CONTAINER_ID": ID[:12].encode(),
        "CONTAINER_ID_FULL": ID.encode(),
        "CONTAINER_NAME": b"web-1",
        "CONTAINER_TAG": b"web",
        "IMAGE_NAME": b"debian:12",
        "SYSLOG_IDENTIFIER": b"web",
        "PRIORITY": b"6",
        "MESSAGE": b"hello",
    }
    assert entry(receiver.recv(65536))["MESSAGE"] == b"\x1b[1m\0=\xff"
    begin, end = entry(receiver.recv(65536)), entry(receiver.recv(65536))
    assert (begin["PRIORITY"], begin["CONTAINER_PARTIAL_MESSAGE"], len(begin["MESSAGE"])) == (b"3", b"true", 16384)
    assert "CONTAINER_PARTIAL_MESSAGE" not in end and end["MESSAGE"] == b"x" * (20000 - 16384)
    assert case.in_file() == b"hello\n\x1b[1m\0=\xff\n" + b"x" * 20000 + b"\n"


def test_journald_gets_what_is_too_large_for_a_datagram_in_a_sealed_file(logged: Callable[..., Logged]) -> None:
    case = logged(driver="journald")
    receiver = case.listen()
    driver = LogDriver(case.loop, case.plan, case.log_plan)
    sender = driver._forwarder._socket
    assert sender is not None
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it its minimum, less than 16 KiB
    driver.write("stdout", b"y" * 16000 + b"\n")
    data, fds, _, _ = socket.recv_fds(receiver, 65536, 1)
    assert data == b"" and len(fds) == 1
    with open(fds[0], "rb") as file:
        assert entry(file.read())["MESSAGE"] == b"y" * 16000
        with pytest.raises(PermissionError):
            os.truncate(file.fileno(), 0)
    driver.close()


def test_syslog_gets_lines_as_a_local_daemon_expects_them(logged: Callable[..., Logged]) -> None:
    case = logged(tag="my web", facility=16)
    receiver = case.listen()
    log = case.open()
    log.write("stdout", b"one\ntwo")
    log.write("stderr", b"bad\n")
    log.finish()
    pid = os.getpid()
    messages = [receiver.recv(65536).decode() for _ in range(3)]
    assert re.fullmatch(rf"<134>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d my_web\[{pid}\]: one", messages[0])
    assert messages[1].startswith("<131>") and messages[1].endswith(": bad")
    assert messages[2].endswith(": two")


def test_syslog_of_rfc5424(logged: Callable[..., Logged]) -> None:
    case = logged(format="rfc5424")
    receiver = case.listen()
    case.open().write("stdout", "wört\n".encode())
    text = receiver.recv(65536).decode()
    host, pid = os.uname().nodename, os.getpid()
    assert re.fullmatch(rf"<30>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z {re.escape(host)} web {pid} - - wört", text)


def test_a_local_daemon_that_listens_for_a_stream_is_found_too(logged: Callable[..., Logged]) -> None:
    case = logged()
    receiver = case.listen(socket.SOCK_STREAM)
    log = case.open()
    log.write("stdout", b"one\ntwo\n")
    connection, _ = receiver.accept()
    connection.settimeout(5)
    assert [line[-5:] for line in connection.recv(65536).split(b"\n")] == [b": one", b": two", b""]
    connection.close()


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_syslog_over_the_network_names_its_host(logged: Callable[..., Logged], scheme: str, host: str) -> None:
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip(f"no {host} here")
        receiver.settimeout(5)
        if scheme == "tcp":
            receiver.listen()
        case = logged(address=f"{scheme}://{host}:{receiver.getsockname()[1]}")
        log = case.open()
        log.write("stdout", b"far\n")
        if scheme == "tcp":
            connection, _ = receiver.accept()
            connection.settimeout(5)
            case.loop.run_once(1000)
        else:
            connection = receiver
        message = connection.recv(65536).decode()
        assert f" {os.uname().nodename} web[" in message and message.rstrip("\n").endswith(": far")
        connection.close()


def test_a_missing_receiver_is_told_at_the_start_and_gets_everything_once_it_is_there(
    logged: Callable[..., Logged],
) -> None:
    case = logged()
    log = case.open()
    (warning,) = receiver_warnings(case.log_plan)
    assert "log_driver: syslog" in warning and case.path in warning and "No such file" in warning
    log.write("stdout", b"early\n")
    receiver = case.listen()
    assert receiver_warnings(case.log_plan) == []
    receiver.setblocking(False)
    assert case.turn_until(lambda: _received(receiver)).endswith(b": early")
    assert log.lost_bytes == 0 and case.in_file() == b"early\n"


def test_a_receiver_that_is_started_again_is_found(logged: Callable[..., Logged]) -> None:
    case = logged()
    receiver = case.listen()
    log = case.open()
    log.write("stdout", b"one\n")
    assert receiver.recv(65536).endswith(b": one")
    receiver.close()
    log.write("stdout", b"two\n")
    os.unlink(case.path)
    receiver = case.listen()
    receiver.setblocking(False)
    assert case.turn_until(lambda: _received(receiver)).endswith(b": two")


def _received(receiver: socket.socket) -> bytes:
    try:
        return receiver.recv(65536)
    except BlockingIOError:
        return b""


def test_r06_a_receiver_that_does_not_read_makes_nobody_wait_and_is_told_what_it_missed(
    logged: Callable[..., Logged],
) -> None:
    case = logged(buffer_bytes=20000)
    receiver = case.listen()
    log = case.open()
    begin = time.monotonic()
    for number in range(2000):
        log.write("stdout", b"line %d\n" % number)
    assert time.monotonic() - begin < 5 and not log.holds_up()
    assert log.lost_bytes > 0 and case.losses > 0
    receiver.setblocking(False)
    messages: list[bytes] = []

    def everything() -> bool:
        while data := _received(receiver):
            messages.append(data)
        return bool(messages) and not case.log._driver._forwarder._queue  # type: ignore[union-attr]

    case.turn_until(everything)
    log.write("stdout", b"after\n")
    case.turn_until(lambda: everything() and messages[-1].endswith(b": after"))
    lost = log.lost_bytes
    got = [int(message.rpartition(b" ")[2]) for message in messages[:-2]]
    assert got == list(range(len(got))) and len(got) < 2000
    assert sum(len(b"line %d" % number) for number in range(len(got), 2000)) == lost
    assert b"<28>" in messages[-2] and b"[hull: %d bytes of output were dropped" % lost in messages[-2]
    assert case.in_file() == b"".join(b"line %d\n" % number for number in range(2000)) + b"after\n"


def test_r06_a_blocking_log_holds_the_container_up_instead(
    logged: Callable[..., Logged],
) -> None:
    case = logged(blocking=True, buffer_bytes=5000)
    receiver = case.listen()
    log = case.open()
    number = 0
    while not log.holds_up():
        log.write("stdout", b"line %d\n" % number)
        number += 1
    assert log.lost_bytes == 0
    receiver.setblocking(False)
    got: list[bytes] = []

    def everything() -> bool:
        while data := _received(receiver):
            got.append(data)
        return len(got) == number

    case.turn_until(everything)
    assert not log.holds_up()


def test_a_change_of_address_and_tag_while_it_is_open(logged: Callable[..., Logged]) -> None:
    case = logged()
    case.listen().close()
    os.unlink(case.path)
    log = case.open()
    other = f"{case.directory}/other"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(other)
        receiver.settimeout(5)
        log.configure(replace(case.log_plan, address=f"unixgram://{other}", tag="new").fields())
        log.write("stdout", b"moved\n")
        assert f" new[{os.getpid()}]: moved" in receiver.recv(65536).decode()
