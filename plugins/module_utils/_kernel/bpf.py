# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An assembler for the few eBPF instructions that a device filter needs, and that filter.

Not for loading or attaching (`_sys/bpf_calls.py`), and not for seccomp, which is classic BPF (`seccomp.py`).

Source: the kernel's bpf/standardization/instruction-set.rst; include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx.
"""

from __future__ import annotations

from struct import pack

from .._base.errors import Invalid

# Operation codes: class, source and operation together, as in the instruction set's tables.
LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
MOVE_REGISTER = 0xBF  # dst = src
MOVE_VALUE = 0xB7  # dst = value
AND_VALUE = 0x57  # dst &= value
SHIFT_RIGHT_VALUE = 0x77  # dst >>= value
JUMP_UNLESS_EQUAL = 0x55  # skip `offset` instructions if dst != value
EXIT = 0x95  # return r0

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE
_ALL_ACCESS = 7
_ANY = -1

_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _SPARE = 0, 1, 2, 3, 4, 5, 6


def instruction(code: int, *, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction of eight bytes, in the host's byte order as the kernel reads it.

    The two registers share a byte, the destination in the low half on little-endian hosts only.
    """
    registers = dst | src << 4 if pack("=H", 1) == b"\1\0" else dst << 4 | src
    return pack("=BBhi", code, registers, offset, value)


def device_program(rules: list[tuple[str, int, int, str]]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program that allows what one of the rules allows and refuses the rest.

    A rule is (`c` or `b`, major, minor, letters of `rwm`), -1 as major or minor is any. An open for reading and
    writing must be allowed by one rule, so two rules for one device are to be merged beforehand.
    """
    code = [
        instruction(LOAD_WORD, dst=_TYPE, src=_CONTEXT, offset=0),  # access in the high half, type in the low one
        instruction(LOAD_WORD, dst=_MAJOR, src=_CONTEXT, offset=4),
        instruction(LOAD_WORD, dst=_MINOR, src=_CONTEXT, offset=8),
        instruction(MOVE_REGISTER, dst=_WANTED, src=_TYPE),
        instruction(SHIFT_RIGHT_VALUE, dst=_WANTED, value=16),
        instruction(AND_VALUE, dst=_TYPE, value=0xFFFF),
    ]
    for rule in rules:
        code += _rule(*rule)
    return b"".join([*code, *_answer(0)])


def _answer(allowed: int) -> list[bytes]:
    return [instruction(MOVE_VALUE, dst=_RESULT, value=allowed), instruction(EXIT)]


def _rule(kind: str, major: int, minor: int, access: str) -> list[bytes]:
    """Tests that jump behind the rule's answer where they don't hold."""
    if kind not in _TYPES or not access or not set(access) <= set(_ACCESS):
        raise Invalid(f"{kind} {major}:{minor} {access} is not a device rule", option="devices")
    granted = sum(_ACCESS[letter] for letter in set(access))
    compared = [(_TYPE, _TYPES[kind])]
    if major != _ANY:
        compared.append((_MAJOR, major))
    if minor != _ANY:
        compared.append((_MINOR, minor))
    setup: list[bytes] = []
    if granted != _ALL_ACCESS:
        setup = [
            instruction(MOVE_REGISTER, dst=_SPARE, src=_WANTED),
            instruction(AND_VALUE, dst=_SPARE, value=_ALL_ACCESS & ~granted),
        ]
        compared.append((_SPARE, 0))
    behind = len(compared) + 1  # from the first test: the other tests, the answer's two instructions
    jumps = [
        instruction(JUMP_UNLESS_EQUAL, dst=register, offset=behind - index, value=value)
        for index, (register, value) in enumerate(compared)
    ]
    return setup + jumps + _answer(1)
