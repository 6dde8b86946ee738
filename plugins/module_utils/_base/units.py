# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The one place where what people write (`64M`, `1.5`, `1m30s`) becomes what the engine computes with.

Inside the engine sizes are bytes, durations nanoseconds, CPU time microseconds per period; all ints.
"""

from __future__ import annotations

from .errors import Invalid

_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DIGITS = frozenset("0123456789")

CPU_PERIOD_US = 100_000


def _split_number(text: str) -> tuple[str, str]:
    """The leading decimal number and what follows it."""
    end = 0
    while end < len(text) and (text[end] in _DIGITS or text[end] == "."):
        end += 1
    return text[:end], text[end:]


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and bool(_DIGITS.intersection(text))


def parse_size(value: str | int, *, option: str) -> int:
    """Bytes from `67108864`, `64M`, `64MB`, `64MiB`, `0.5g` (powers of 1024, as Docker reads them).

    `unlimited` and -1 give -1. Raises Invalid, naming the option.
    """
    text = str(value).strip()
    if text in ("-1", "unlimited"):
        return -1
    number, unit = _split_number(text)
    unit = unit.strip().lower()
    stem = unit[:-2] if unit.endswith("ib") else unit[:-1] if unit.endswith("b") else unit
    if not _is_number(number) or stem not in _SIZE_POWERS or (unit == "ib"):
        raise Invalid(
            f"{text!r} is not a size", option=option, hint="write bytes, or a number with K, M, G, T or P: 64M"
        )
    factor = 1 << 10 * _SIZE_POWERS[stem]
    whole, _, fraction = number.partition(".")
    size = int(whole or "0") * factor
    return size + int(fraction) * factor // 10 ** len(fraction) if fraction else size


def format_size(size_bytes: int) -> str:
    """A size for people, in powers of 1000 with three significant digits, as Docker's tables show it: `4.86MB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"


def parse_duration(value: str | int | float, *, option: str) -> int:
    """Nanoseconds from `1m30s`, `500ms`, `10s`; a bare number is seconds. Raises Invalid, naming the option."""
    text = str(value).strip()
    number, rest = _split_number(text)
    if _is_number(number) and not rest:
        return int(float(number) * 10**9)
    total, rest = 0, text
    while rest:
        number, rest = _split_number(rest)
        unit = next((unit for unit in ("ns", "us", "µs", "ms", "s", "m", "h") if rest.startswith(unit)), "")
        if not _is_number(number) or not unit:
            total = -1
            break
        total += int(float(number) * _DURATION_NS[unit])
        rest = rest[len(unit) :]
    if total < 0 or not text:
        raise Invalid(f"{text!r} is not a duration", option=option, hint="write it like 30s, 1m30s or 500ms")
    return total


def parse_cpus(value: str | int | float, *, option: str) -> int:
    """CPU quota in microseconds per period of 100 ms, from a number of CPUs such as `0.5`. Raises Invalid."""
    text = str(value).strip()
    number, rest = _split_number(text)
    if rest or not _is_number(number):
        raise Invalid(f"{text!r} is not a number of CPUs", option=option, hint="write a number such as 0.5 or 2")
    quota_us = round(float(number) * CPU_PERIOD_US)
    if 0 < quota_us < 1000:
        raise Invalid(f"{text} is too little", option=option, hint="the kernel's minimum is 0.01")
    return quota_us


def parse_moment(text: str, now_ns: int, *, option: str) -> int:
    """Nanoseconds since the epoch from seconds since the epoch (`1792764273.5`), a duration before now (`10m`), or an
    RFC 3339 date or time (`2026-11-23`, `2026-11-23T20:24:33Z`, `...+01:00`; UTC where it names no zone).

    Raises Invalid.
    """
    from .clock import parse_time

    whole, _, fraction = text.partition(".")
    if (whole + fraction).isdigit() and text.isascii():
        return int(whole or "0") * 10**9 + int((fraction + "0" * 9)[:9])
    try:
        if "-" in text:
            return parse_time(text, option=option)
        return now_ns - parse_duration(text, option=option)
    except Invalid as error:
        raise Invalid(
            f"{text!r} is not a time", option=option, hint="write it like 10m, 2026-11-23T20:24:33Z or 1792764273"
        ) from error
