# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What people write as addresses, as the kernel's bytes."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._kernel.rtnetlink import pack_interface, pack_mac


@pytest.mark.parametrize(
    ("text", "family", "packed", "prefix"),
    [
        ("10.88.0.5/16", AF_INET, b"\x0a\x58\0\5", 16),
        ("10.88.0.5", AF_INET, b"\x0a\x58\0\5", 32),
        ("0.0.0.0/0", AF_INET, b"\0\0\0\0", 0),
        ("fd00::1/64", AF_INET6, b"\xfd" + 14 * b"\0" + b"\1", 64),
    ],
)
def test_an_interface_address_has_family_bytes_and_prefix(text: str, family: int, packed: bytes, prefix: int) -> None:
    assert pack_interface(text) == (family, packed, prefix)


@pytest.mark.parametrize("text", ["", "10.88.0", "10.88.0.5/33", "10.88.0.5/", "10.88.0.5/-1", "10.88.0.5/1٦", "::/9y"])
def test_what_is_no_interface_address_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="is not an"):
        pack_interface(text)


def test_a_mac_address_is_six_bytes() -> None:
    assert pack_mac("02:42:0a:58:00:05") == b"\x02\x42\x0a\x58\0\5"


@pytest.mark.parametrize("text", ["", "02:42", "02:42:0a:58:00:zz", "02:42:0a:58:00:05:06"])
def test_what_is_no_mac_address_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="is not a MAC address"):
        pack_mac(text)
