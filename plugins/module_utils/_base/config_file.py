# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Configuration files: small JSON documents whose every key is known. Nothing is written here."""

from __future__ import annotations

import os

from .errors import Denied, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Kind = Union[type, tuple[type, ...]]

_MAX_FILE = 1024 * 1024
_TYPE_NAMES = {
    str: "text",
    dict: "an object",
    bool: "true or false",
    list: "a list",
    int: "a whole number",
    float: "a number",
}


def read_small_file(path: str) -> bytes | None:
    """The content of a configuration file of at most 1 MiB; None where it does not exist. Raises Denied, Invalid."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Denied(f"read {path}: {error.strerror}") from error
    try:
        data = b""
        while len(data) <= _MAX_FILE and (piece := os.read(fd, 65536)):
            data += piece
    except OSError as error:
        raise Invalid(f"read {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > _MAX_FILE:
        raise Invalid(f"read {path}: larger than {_MAX_FILE} bytes")
    return data


def checked(value: Any, keys: dict[str, Kind], path: str, where: str) -> dict[str, Any]:
    """The value as an object that has only these keys, each of its type or one of its types. Raises Invalid.

    `where` is the object's own place in the file, empty for the whole document.
    """
    if not isinstance(value, dict):
        raise Invalid(f"read {path}: {where or 'the document'} is not an object")
    for key, item in value.items():
        name = f"{where}.{key}" if where else key
        if key not in keys:
            raise Invalid(f"read {path}: unknown key {name}", hint="known there: " + ", ".join(keys))
        kind = keys[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(item) not in kinds:
            raise Invalid(f"read {path}: {name} is not {' or '.join(_TYPE_NAMES[each] for each in kinds)}")
    return value
