# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""journald and syslog: a container's output line by line to the host's log, beside the container's own file.

What the receiver is too slow for is dropped and counted, and a line says so when it takes lines again. With `blocking`
the container waits instead.
"""

from __future__ import annotations

import os
from _struct import Struct
from time import localtime, monotonic_ns, strftime, time_ns

from .._base.clock import format_time
from .event_loop import EventLoop
from .launch_plan import LaunchPlan, LogPlan
from .log_forwarder import Forwarder

DRIVERS = ("journald", "syslog")
_ERROR, _WARNING, _INFO = 3, 4, 6  # priorities. Source: syslog(3)
_FINISH_NS = 2 * 10**9
_LONGEST_APP_NAME = 48
_size = Struct("<Q")


class LogDriver:
    """A receiver and the form of its messages, for one container."""

    def __init__(self, loop: EventLoop, plan: LaunchPlan, log: LogPlan) -> None:
        self._loop = loop
        self._untold = 0
        self.lost_bytes = 0
        self._log = log
        self._form = _form(plan, log)
        self._forwarder = self._connect()

    def _connect(self) -> Forwarder:
        log = self._log
        return Forwarder(self._loop, log.address, log.buffer_bytes, by_file=log.driver == "journald")

    def configure(self, plan: LaunchPlan, log: LogPlan) -> None:
        """Take over another tag, name or address."""
        moved = log.address != self._log.address
        self._log, self._form = log, _form(plan, log)
        self._forwarder.limit = log.buffer_bytes
        if moved:
            self._lose(self._forwarder.close())
            self._forwarder = self._connect()

    def write(self, stream: str, piece: bytes) -> None:
        """Send a piece of output: whole lines, or a part of a line that goes on."""
        lines = piece.split(b"\n")
        rest = lines.pop()
        for line in lines:
            self._send(_INFO if stream == "stdout" else _ERROR, line, partial=False)
        if rest:
            self._send(_INFO if stream == "stdout" else _ERROR, rest, partial=True)

    def _send(self, priority: int, line: bytes, *, partial: bool) -> None:
        if self._forwarder.full:
            self._lose(len(line))
            return
        if self._untold:
            note = f"[hull: {self._untold} bytes of output were dropped, {self._log.driver} did not take them]"
            if self._forwarder.send(self._form.message(_WARNING, note.encode(), partial=False)):
                self._untold = 0
        if not self._forwarder.send(self._form.message(priority, line, partial=partial)):
            self._lose(len(line))

    def _lose(self, count: int) -> None:
        self.lost_bytes += count
        self._untold += count

    def holds_up(self) -> bool:
        """Whether the container should wait for the receiver."""
        return self._log.blocking and self._forwarder.full

    def close(self) -> None:
        """Give a receiver that is there a moment for what it has not taken yet."""
        self._forwarder.drain(monotonic_ns() + _FINISH_NS)
        self._lose(self._forwarder.close())


def receiver_warnings(log: LogPlan | None) -> list[str]:
    """What to tell who starts a container whose driver's receiver is not there."""
    if log is None or log.driver not in DRIVERS:
        return []
    probe = Forwarder(EventLoop(), log.address, 0)
    probe.close()
    if not probe.trouble:
        return []
    what = f"log_driver: {log.driver}: {log.address}: {probe.trouble}"
    return [f"{what}; it is looked for again and again, and hull logs has all lines"]


def _form(plan: LaunchPlan, log: LogPlan) -> Journal | Syslog:
    return Journal(plan, log) if log.driver == "journald" else Syslog(log)


class Journal:
    """Entries of journald's native protocol. Source: Native Journal Protocol, systemd's documentation."""

    def __init__(self, plan: LaunchPlan, log: LogPlan) -> None:
        fields = {
            "CONTAINER_ID": plan.container_id[:12],
            "CONTAINER_ID_FULL": plan.container_id,
            "CONTAINER_NAME": plan.name,
            "CONTAINER_TAG": log.tag,
            "IMAGE_NAME": log.image,
            "SYSLOG_IDENTIFIER": log.tag,
        }
        self._fields = b"".join(_field(name, os.fsencode(value)) for name, value in fields.items())

    def message(self, priority: int, line: bytes, *, partial: bool) -> bytes:
        """One entry."""
        more = b"CONTAINER_PARTIAL_MESSAGE=true\n" if partial else b""
        return b"%sPRIORITY=%d\n%s%s" % (self._fields, priority, more, _field("MESSAGE", line))


def _field(name: str, value: bytes) -> bytes:
    """In the form that holds any bytes, line feeds too."""
    return b"%s\n%s%s\n" % (name.encode(), _size.pack(len(value)), value)


class Syslog:
    """Messages as the BSD syslog has them (RFC 3164; without the host's name for a local daemon), or of RFC 5424."""

    def __init__(self, log: LogPlan) -> None:
        self._facility = log.facility
        self._modern = log.format == "rfc5424"
        name = "".join(char if "!" <= char <= "~" else "_" for char in log.tag)  # a header has no spaces
        host = os.uname().nodename or "-"
        if self._modern:
            self._origin = f"{host} {name[:_LONGEST_APP_NAME] or '-'} {os.getpid()} - - "
        else:
            is_local = log.address.startswith("unix")
            self._origin = f"{'' if is_local else host + ' '}{name}[{os.getpid()}]: "

    def message(self, priority: int, line: bytes, *, partial: bool) -> bytes:
        """One message; that its line goes on is not told."""
        when = "1 " + format_time(time_ns())[:-4] + "Z" if self._modern else strftime("%b %e %H:%M:%S", localtime())
        head = f"<{self._facility * 8 + priority}>{when} {self._origin}"
        return head.encode("utf-8", "surrogateescape") + line
