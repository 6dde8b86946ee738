# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Messages and attributes, byte for byte; and refusals of the kernel, for which no privilege is needed."""

from __future__ import annotations

import errno
import struct

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import SyscallError
from ansible_collections.hull.engine.plugins.module_utils._kernel import netlink


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert netlink.attribute(3, b"abcde") == struct.pack("=HH", 9, 3) + b"abcde\0\0\0"


def test_a_nested_attribute_bears_the_flag_and_holds_the_others() -> None:
    inner = netlink.text(1, "veth")
    assert netlink.nested(18, inner) == struct.pack("=HH", 4 + len(inner), 18 | 0x8000) + inner


def test_attributes_are_read_back_with_flags_removed() -> None:
    data = b"head" + netlink.nested(18, netlink.text(1, "veth")) + netlink.attribute(4, b"\1\2")
    found = dict(netlink.attributes(data, 4))
    assert found[4] == b"\1\2"
    assert {kind: netlink.read_text(payload) for kind, payload in netlink.attributes(found[18])} == {1: "veth"}


@pytest.mark.parametrize("data", [b"", b"\1", struct.pack("=HH", 3, 1), struct.pack("=HH", 400, 1) + b"x"])
def test_malformed_attributes_end_the_reading(data: bytes) -> None:
    assert list(netlink.attributes(data)) == []


@pytest.mark.parametrize("name", ["eth0", "brücke", "\udcff"])
def test_text_of_any_bytes_survives(name: str) -> None:
    ((_kind, payload),) = netlink.attributes(netlink.text(1, name))
    assert netlink.read_text(payload) == name


def test_a_message_has_the_kernels_header() -> None:
    assert netlink.message(16, 5, 7, b"body") == struct.pack("=IHHII", 20, 16, 5, 7, 0) + b"body"


def test_a_refusal_is_a_system_call_error_with_the_operation_in_front() -> None:
    route = netlink.Netlink(netlink.NETLINK_ROUTE)
    with pytest.raises(SyscallError) as caught:
        route.ask("look at nothing", 18, struct.pack("=BxHiII", 0, 0, 2**31 - 1, 0, 0))
    route.close()
    assert caught.value.errno == errno.ENODEV
    assert str(caught.value).startswith("look at nothing: ENODEV: ")


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(SyscallError, match="open netlink socket: EPROTONOSUPPORT"):
        netlink.Netlink(31)
