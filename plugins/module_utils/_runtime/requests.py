# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The first request of a connection to the spawner, read by the child that is to serve it, and its refusal."""

from __future__ import annotations

from .._base import codec
from .._base.errors import Damaged, Invalid
from . import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any


def read_request(connection: socket, decoder: protocol.Decoder) -> dict[str, Any]:
    """The request, after which the client is told that it is being worked on. Raises Damaged, Invalid, OSError."""
    while True:
        data = connection.recv(65536)
        if not data:
            raise Damaged("the client went away before its request was read")
        frame = decoder.next(data)
        if frame is not None:
            request = codec.parse(frame[1], source="the request")
            if frame[0] not in (protocol.REQUEST, protocol.MONITOR) or not isinstance(request, dict):
                raise Invalid("the first frame is not a request")
            connection.send(protocol.encode(protocol.ACCEPTED))
            return request


def unknown(request: dict[str, Any]) -> Invalid:
    """The error for a request of a newer engine."""
    return Invalid(f"the spawner does not know the request {str(request.get('op'))[:40]!r}")


def refuse(connection: socket, error: BaseException) -> None:
    """Tell why a request failed; nothing happens where the client has gone."""
    try:
        connection.send(protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error)))
    except OSError:
        pass
