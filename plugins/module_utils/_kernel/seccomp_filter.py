# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Assembler of seccomp filters: classic BPF that finds a call's verdict by binary search over the numbers.

A filter is one verdict per range of call numbers. A verdict is what the kernel is to do (`ALLOW`, `refuse(errno)`), or
code that looks at the arguments and ends in such answers. Which calls get which verdict is not decided here.
Source: seccomp(2), include/uapi/linux/seccomp.h (struct seccomp_data), linux/bpf_common.h.
"""

from __future__ import annotations

from struct import pack

from .._base.errors import Invalid
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value
    Code = tuple[Instruction, ...]

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_LOAD = 0x20  # A = word of seccomp_data at an offset
_AND = 0x54
_EQUAL = 0x15
_GREATER = 0x25
_AT_LEAST = 0x35
_JUMP = 0x05
_RETURN = 0x06

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_MAX_INSTRUCTIONS = 4096
_FAR = 255  # the longest conditional jump
_FAIL = -1  # to the end of the condition's rule; replaced when the rule is put together
_WORD = 0xFFFFFFFF
_X32 = 0x40000000  # the bit that x32 programs set in their call numbers; no machine has a number as large

OPERATORS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")


def refuse(errno: int) -> int:
    """The verdict that makes the call fail with this errno."""
    return _ERRNO | errno & 0xFFFF


def answer(verdict: int) -> Code:
    """Code that ends the filter with a verdict."""
    return ((_RETURN, 0, 0, verdict),)


def low_word_in(argument: int, values: Sequence[int], then: Code, otherwise: Code) -> Code:
    """Code for arguments that the kernel takes as 32 bits: `then` if the low word is one of the values.

    The high word is not looked at, for the kernel ignores it too and a program can put anything there.
    """
    code: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument)]
    code += ((_EQUAL, len(values) - index - 1 + 1, 0, value) for index, value in enumerate(values))
    return (*code, (_JUMP, 0, 0, len(then)), *then, *otherwise)


def low_word_has_any(argument: int, mask: int, then: Code, otherwise: Code) -> Code:
    """Code that takes `then` if any bit of the mask is set in the low word of an argument."""
    load: Code = ((_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, mask))
    return (*load, (_EQUAL, 0, 1, 0), (_JUMP, 0, 0, len(then)), *then, *otherwise)


def condition(argument: int, operator: str, value: int, second: int = 0) -> Code:
    """Code that goes on if a 64-bit argument compares so, and else to the end of its rule (see `rule`).

    `MASKED_EQ` compares the argument & value with `second`. Raises Invalid for a wrong index or operator.
    """
    if not 0 <= argument <= 5 or operator not in OPERATORS or not 0 <= value < 2**64 or not 0 <= second < 2**64:
        raise Invalid(f"seccomp: argument {argument} {operator} {value} is not a comparison")
    high, low = value >> 32, value & _WORD
    load_low: Instruction = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)
    load_high: Instruction = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4)
    if operator == "MASKED_EQ":
        first: Code = (load_high, (_AND, 0, 0, high), (_EQUAL, 0, _FAIL, second >> 32))
        return (*first, load_low, (_AND, 0, 0, low), (_EQUAL, 0, _FAIL, second & _WORD))
    if operator == "EQ":
        return (load_high, (_EQUAL, 0, _FAIL, high), load_low, (_EQUAL, 0, _FAIL, low))
    if operator == "NE":
        return (load_high, (_EQUAL, 0, 2, high), load_low, (_EQUAL, _FAIL, 0, low))
    if operator in ("GT", "GE"):
        last = (_GREATER if operator == "GT" else _AT_LEAST, 0, _FAIL, low)
        return (load_high, (_GREATER, 3, 0, high), (_EQUAL, 0, _FAIL, high), load_low, last)
    last = (_AT_LEAST if operator == "LT" else _GREATER, _FAIL, 0, low)
    return (load_high, (_GREATER, _FAIL, 0, high), (_EQUAL, 0, 2, high), load_low, last)


def rule(conditions: Sequence[Code], verdict: int) -> Code:
    """Code that ends with the verdict if all conditions hold, and else falls through to what comes after it."""
    flat = [*(instruction for code in conditions for instruction in code), *answer(verdict)]
    size = len(flat)
    return tuple(
        (code, size - index - 1 if yes == _FAIL else yes, size - index - 1 if no == _FAIL else no, value)
        for index, (code, yes, no, value) in enumerate(flat)
    )


def _ranges(verdicts: Mapping[int, Code], beyond: Code) -> list[tuple[int, Code]]:
    """(first number, code) in order, neighbours with the same code merged; `beyond` where nothing is said."""
    ranges: list[tuple[int, Code]] = []
    following = 0
    for number in sorted(verdicts):
        if number > following and (not ranges or ranges[-1][1] != beyond):
            ranges.append((following, beyond))
        if not ranges or ranges[-1][1] != verdicts[number]:
            ranges.append((number, verdicts[number]))
        following = number + 1
    if not ranges or ranges[-1][1] != beyond:
        ranges.append((following, beyond))
    return ranges


def _search(ranges: Sequence[tuple[int, Code]]) -> Code:
    """The balanced tree of comparisons that ends in the code of the range that the number lies in."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    first = ranges[middle][0]
    if len(below) <= _FAR:
        return ((_AT_LEAST, len(below), 0, first), *below, *above)
    return ((_AT_LEAST, 0, 1, first), (_JUMP, 0, 0, len(below)), *below, *above)


class Entry(Value):
    """A way into the kernel: how the filter sees it, the code of each call by its number, and of all other numbers."""

    architecture: int  # as linux/audit.h numbers it
    verdicts: dict[int, Code]
    beyond: Code


def assemble(entries: Sequence[Entry], foreign: Code) -> bytes:
    """The program: each entry's calls, and `foreign` for calls that enter otherwise, x32's among them where an entry
    has none.

    Raises Invalid past the kernel's limit of 4096 instructions.
    """
    code: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for entry in entries:
        ranges = _ranges(entry.verdicts, entry.beyond)
        if ranges[-1][0] < _X32:
            ranges.append((_X32, foreign))
        body = ((_LOAD, 0, 0, _NUMBER), *_search(ranges))
        code += ((_EQUAL, 1, 0, entry.architecture), (_JUMP, 0, 0, len(body)), *body)
    code += foreign
    if len(code) > _MAX_INSTRUCTIONS:
        raise Invalid(f"seccomp: the filter needs {len(code)} instructions, the kernel takes {_MAX_INSTRUCTIONS}")
    return b"".join(pack("=HBBI", *instruction) for instruction in code)
