# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""JSON without the `json` package.

`import json` costs 7 to 9 ms (it loads `re` and `enum`); the C scanner and encoder beneath it cost nothing. The text
produced is the same as `json.dumps` with compact separators, and `parse` accepts what `json.loads` accepts, except
duplicate keys, NaN and infinities, which are refused because two readers could disagree about them.

Source: CPython Lib/json/decoder.py and encoder.py (the arguments of `_json.make_scanner` and `_json.make_encoder`
are the same from 3.9 to 3.14).
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

from .errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_TEXT = 64 * 1024 * 1024
_INFINITY = float("inf")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key in a JSON object")
    return result


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


class _ScannerContext:
    """The attributes that the C scanner reads from a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = staticmethod(_float)
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}


def _unsupported(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


_context: Any = _ScannerContext()
_scan = make_scanner(_context)
_encode = make_encoder(None, _unsupported, encode_basestring_ascii, None, ":", ",", False, False, False)
_encode_sorted = make_encoder(None, _unsupported, encode_basestring_ascii, None, ":", ",", True, False, False)

_SPACE = " \t\n\r"


def parse(text: str | bytes, *, source: str) -> Any:
    """The value that a JSON text holds. `source` names the text in the error; bytes are UTF-8.

    Raises Damaged for anything that is not exactly one JSON value.
    """
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError("too large")
        string = text if isinstance(text, str) else text.decode("utf-8")
        start = len(string) - len(string.lstrip(_SPACE))
        value, end = _scan(string, start)
        if string[end:].strip(_SPACE):
            raise ValueError(f"extra data after character {end}")
    except StopIteration as error:
        raise Damaged(f"read {source}: not JSON at character {error.value}") from None
    except (ValueError, RecursionError) as error:
        raise Damaged(f"read {source}: {error}") from error
    except SystemError as error:  # 3.10 to 3.12 look for json.decoder to word the error, and it is not loaded
        raise Damaged(f"read {source}: not JSON") from error
    return value


def render(value: Any, *, sort: bool = False) -> str:
    """The value as one line of ASCII JSON, compact; with `sort` keys are in order, so equal values give equal text."""
    return "".join((_encode_sorted if sort else _encode)(value, 0))
