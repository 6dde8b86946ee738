# SPDX-License-Identifier: GPL-3.0-or-later
"""The device program is run by a small interpreter of its own here; tests/kernel has the kernel run it."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._kernel.bpf import device_program

TYPES = {"b": 1, "c": 2}
LETTERS = {"m": 1, "r": 2, "w": 4}


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """What the program answers to an access, with the semantics of the instruction set's specification."""
    wanted = sum(LETTERS[letter] for letter in access)
    context = struct.pack("=III", wanted << 16 | TYPES[kind], major, minor)
    registers = [0] * 11
    at = 0
    while True:
        code, names, offset, value = struct.unpack_from("=BBhi", program, at * 8)
        at += 1
        dst, src = names & 15, names >> 4
        if code == 0x61:
            assert src == 1
            registers[dst] = struct.unpack_from("=I", context, offset)[0]
        elif code == 0xBF:
            registers[dst] = registers[src]
        elif code == 0xB7:
            registers[dst] = value
        elif code == 0x57:
            registers[dst] &= value
        elif code == 0x77:
            registers[dst] >>= value
        elif code == 0x55:
            at += offset if registers[dst] != value else 0
        else:
            assert code == 0x95, f"unknown instruction {code:#x}"
            return registers[0] == 1


RULES = [("c", 1, 3, "rwm"), ("c", 136, -1, "rw"), ("b", 8, 0, "r"), ("b", -1, 7, "m")]


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        (("c", 1, 3, "rw"), True),
        (("c", 1, 3, "rwm"), True),
        (("b", 1, 3, "r"), False),
        (("c", 1, 4, "r"), False),
        (("c", 2, 3, "r"), False),
        (("c", 136, 0, "rw"), True),
        (("c", 136, 4000, "w"), True),
        (("c", 136, 0, "m"), False),
        (("c", 136, 0, "rwm"), False),
        (("b", 8, 0, "r"), True),
        (("b", 8, 0, "w"), False),
        (("b", 8, 0, "rw"), False),
        (("b", 8, 7, "m"), True),
        (("b", 200, 7, "m"), True),
        (("b", 200, 7, "r"), False),
    ],
)
def test_an_access_is_allowed_by_one_rule_as_a_whole_or_refused(access, allowed):
    assert run(device_program(RULES), *access) is allowed


def test_no_rules_refuse_everything():
    assert run(device_program([]), "c", 1, 3, "r") is False


@pytest.mark.parametrize("rule", [("a", 1, 3, "rwm"), ("c", 1, 3, ""), ("c", 1, 3, "x"), ("", 1, 3, "r")])
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(errors.Invalid, match="devices: .*is not a device rule"):
        device_program([rule])
