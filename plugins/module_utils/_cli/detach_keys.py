# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The keys that leave a container without ending it: found in what is typed, whole or in pieces. Pure."""

from __future__ import annotations

from .._base.errors import Invalid

DEFAULT = "ctrl-p,ctrl-q"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse_keys(text: str) -> bytes:
    """The bytes that `ctrl-p,ctrl-q` or `a,b,ctrl-@` stands for; empty text: no keys detach. Raises Invalid."""
    keys = bytearray()
    for key in text.split(",") if text else ():
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key.lower().startswith("ctrl-") and len(key) == 6 and key[5].lower() in _CONTROLS:
            keys.append(_CONTROLS.index(key[5].lower()))
        else:
            raise Invalid(
                f"{key!r} is not a key", option="--detach-keys", hint="write letters or ctrl-<letter>: ctrl-p,ctrl-q"
            )
    return bytes(keys)


class DetachKeys:
    """Watches what is typed. Keys that may be the beginning of the sequence are held back until it is known."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What to pass on of the bytes typed so far, and whether the sequence is complete.

        What was typed after a complete sequence is dropped.
        """
        if not self._sequence:
            return typed, False
        data = self._held + typed
        self._held = b""
        found = data.find(self._sequence)
        if found >= 0:
            return data[:found], True
        for length in range(min(len(self._sequence) - 1, len(data)), 0, -1):
            if data.endswith(self._sequence[:length]):
                self._held = data[-length:]
                return data[:-length], False
        return data, False
