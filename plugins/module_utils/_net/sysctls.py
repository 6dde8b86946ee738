# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Settings of the kernel below /proc/sys, as the network code reads and writes them."""

from __future__ import annotations

from .._base.errors import Denied, NotFound


def read_sysctl(path: str) -> str:
    """The value, without blanks around it; empty where there is no such setting."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(64).decode("ascii").strip()
    except OSError:
        return ""


def write_sysctl(path: str, value: str) -> None:
    """Write where it differs: most hosts let root read where a container's /proc/sys is read-only.

    Raises NotFound, Denied.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if file.read(64).strip() == value.encode():
                return
        with open(path, "wb", buffering=0) as file:
            file.write(value.encode())
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such setting", hint="is /proc mounted?") from error
    except OSError as error:
        hint = f"set {path[10:].replace('/', '.')} = {value}"
        raise Denied(f"write {value} to {path}: {error.strerror}", hint=hint) from error
