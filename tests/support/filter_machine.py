# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An interpreter of seccomp filters, to judge programs without loading them."""

from __future__ import annotations

from struct import pack, unpack_from

ALLOW = "allow"


def judge(program: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """What the filter says to a call: `allow`, the errno it fails with, or the raw verdict in hexadecimal."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *(value & (2**64 - 1) for value in padded))
    accumulator = position = 0
    while True:
        code, yes, no, value = unpack_from("<HBBI", program, position * 8)
        position += 1
        if code == 0x20:
            accumulator = unpack_from("<I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            position += value
        elif code == 0x06:
            return ALLOW if value == 0x7FFF0000 else value & 0xFFFF if value >> 16 == 5 else hex(value)
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}[code]
            position += yes if holds else no
