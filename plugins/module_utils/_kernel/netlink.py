# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Netlink sockets: messages, attributes, acknowledgements, dumps. What the messages mean is rtnetlink.py's and
nftables.py's business.

The kernel handles a netlink request inside the `send` that brings it, so every answer lies in the socket's queue when
`send` returns; nothing here waits for another process. Byte order is the host's, except where a subsystem says else.

Source: netlink(7); Linux include/uapi/linux/netlink.h, net/netlink/af_netlink.c.
"""

from __future__ import annotations

from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_RAW, socket
from _struct import Struct
from errno import EINTR, EIO, errorcode
from os import strerror

from .._base.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Message = tuple[int, int, bytes]  # type, flags beyond REQUEST and ACK, body

# linux/netlink.h
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLA_F_NESTED = 0x8000
_NLA_TYPE = 0x3FFF
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = Struct("=HH")  # length, type
_INT = Struct("=i")
_RECEIVE_SIZE = 1 << 16
_DUMP_TRIES = 10


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def text(kind: int, value: str) -> bytes:
    """A text attribute with its final NUL."""
    return attribute(kind, value.encode("utf-8", "surrogateescape") + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` from `start` on, flags removed from their types. Stops at a malformed one."""
    end = len(data)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            return
        yield kind & _NLA_TYPE, data[start + 4 : start + length]
        start += length + (-length % 4)


def read_text(payload: bytes) -> str:
    """The text of a text attribute."""
    return payload.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A whole message; `body` is padded already, as attributes and the fixed headers are."""
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def _messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence and body of each message in a datagram."""
    start, end = 0, len(datagram)
    while start + 16 <= end:
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, start)
        if length < 16 or start + length > end:
            raise SyscallError("read netlink: malformed message", errno=EIO)
        yield kind, flags, sequence, datagram[start + 16 : start + length]
        start += length + (-length % 4)


def _error_in(flags: int, body: bytes) -> tuple[int, str]:
    """The errno (0: an acknowledgement) and the kernel's explanation, if any, in an NLMSG_ERROR."""
    number = -_INT.unpack_from(body)[0]
    start = 20
    if not flags & _NLM_F_CAPPED and number:
        start += (_HEADER.unpack_from(body, 4)[0] - 16 + 3) & ~3
    explanation = ""
    if flags & _NLM_F_ACK_TLVS:
        for kind, payload in attributes(body, start):
            if kind == _NLMSGERR_ATTR_MSG:
                explanation = read_text(payload)
    return number, explanation


def _failure(what: str, number: int, explanation: str) -> SyscallError:
    detail = explanation.rstrip(".") or strerror(number).lower()
    return SyscallError(f"{what}: {errorcode.get(number, number)}: {detail}", errno=number)


class Netlink:
    """One netlink socket in the network namespace that the thread is in when this is made. Not for several threads.

    `what` in the methods is the beginning of the message of the SyscallError that a refusal becomes; its errno is the
    kernel's, and the kernel's own explanation (extended acknowledgement) is part of the message where there is one.
    """

    def __init__(self, protocol: int) -> None:
        try:
            self._socket = socket(AF_NETLINK, SOCK_RAW, protocol)
        except OSError as error:
            number = error.errno or EIO
            raise SyscallError(f"open netlink socket: {errorcode.get(number, number)}", errno=number) from error
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:  # older than 4.3, 4.12 or 4.20: shorter errors and unfiltered dumps, which callers filter
                pass

    def close(self) -> None:
        """Close the socket; again is harmless."""
        self._socket.close()

    def run(self, what: str, *requests: Message) -> None:
        """Send the requests in one datagram; the kernel executes them in order, each for itself.

        All are executed even where an earlier one fails; the first failure is raised. For all or nothing see `commit`.
        """
        first = self._sequence + 1
        datagram = b"".join(
            message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, first + index, body)
            for index, (kind, flags, body) in enumerate(requests)
        )
        self._sequence = last = self._sequence + len(requests)
        self._send(what, datagram)
        failure: SyscallError | None = None
        for kind, flags, sequence, body in self._received(what):
            if kind == NLMSG_ERROR and first <= sequence <= last:
                number, explanation = _error_in(flags, body)
                if number and failure is None:
                    failure = _failure(what, number, explanation)
                if sequence == last:
                    break
        if failure is not None:
            raise failure

    def ask(self, what: str, kind: int, body: bytes) -> bytes:
        """The body of the one answer to a request for one object. Absence is a SyscallError (ENODEV, ENOENT)."""
        self._sequence += 1
        self._send(what, message(kind, NLM_F_REQUEST, self._sequence, body))
        for answer, flags, sequence, content in self._received(what):
            if sequence != self._sequence:
                continue
            if answer == NLMSG_ERROR:
                number, explanation = _error_in(flags, content)
                raise _failure(what, number or EIO, explanation)
            return content
        raise _failure(what, EIO, "no answer")

    def dump(self, what: str, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all objects of a kind; repeated where they changed in the middle of it."""
        for _ in range(_DUMP_TRIES):
            bodies = self._dump_once(what, kind, body)
            if bodies is not None:
                return bodies
        raise _failure(what, EINTR, "the objects keep changing while they are listed")

    def _dump_once(self, what: str, kind: int, body: bytes) -> list[bytes] | None:
        self._sequence += 1
        self._send(what, message(kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, body))
        bodies: list[bytes] = []
        interrupted = False
        for answer, flags, sequence, content in self._received(what):
            if sequence != self._sequence:
                continue
            interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
            if answer in (NLMSG_ERROR, NLMSG_DONE):
                number, explanation = _error_in(flags, content) if len(content) >= 4 else (0, "")
                if number == EINTR:
                    interrupted = True
                elif number:
                    raise _failure(what, number, explanation)
                break
            bodies.append(content)
        return None if interrupted else bodies

    def commit(self, what: str, begin: Message, requests: list[Message], end: Message) -> None:
        """Send the requests as one nfnetlink batch between `begin` and `end`: all of them happen or none.

        Only the last request is acknowledged; an error may come for any. Source: Linux net/netfilter/nfnetlink.c.
        """
        first = self._sequence + 1
        last = first + len(requests)  # the sequence of the last request: `begin` took the first
        parts = [message(begin[0], NLM_F_REQUEST | begin[1], first, begin[2])]
        for sequence, (kind, flags, body) in enumerate(requests, first + 1):
            acknowledge = NLM_F_ACK if sequence == last else 0
            parts.append(message(kind, NLM_F_REQUEST | acknowledge | flags, sequence, body))
        parts.append(message(end[0], NLM_F_REQUEST | end[1], last + 1, end[2]))
        self._sequence = last + 1
        self._send(what, b"".join(parts))
        acknowledged = False
        failure: SyscallError | None = None
        for kind, flags, sequence, body in self._received(what):
            if kind != NLMSG_ERROR or not first <= sequence <= last + 1:
                continue
            number, explanation = _error_in(flags, body)
            if number and failure is None:
                failure = _failure(what, number, explanation)
            acknowledged = acknowledged or sequence == last
        if failure is not None:
            raise failure
        if not acknowledged:
            raise _failure(what, EIO, "no acknowledgement")

    def _send(self, what: str, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise _failure(what, error.errno or EIO, "") from error

    def _received(self, what: str) -> Iterator[tuple[int, int, int, bytes]]:
        """The messages in the socket's queue until it is empty."""
        while True:
            try:
                datagram = self._socket.recv(_RECEIVE_SIZE, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise _failure(what, error.errno or EIO, "") from error
            yield from _messages(datagram)
