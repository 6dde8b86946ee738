# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Digests as OCI writes them: `algorithm:hex`.

A digest is checked before it becomes part of a path or a URL (a missing check was CVE-2024-3727).
Source: OCI image specification, descriptor.md, "Digests".
"""

from __future__ import annotations

from .errors import Invalid

HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


def is_digest(text: str) -> bool:
    """Whether the text is a well-formed sha256 or sha512 digest."""
    algorithm, _, digits = text.partition(":")
    return len(digits) == HEX_LENGTHS.get(algorithm, -1) and _HEX.issuperset(digits)


def check_digest(text: str, *, what: str = "digest") -> str:
    """The digest itself. Raises Invalid where it is not a well-formed sha256 or sha512 digest."""
    if not is_digest(text):
        raise Invalid(f"{what} {text[:100]!r} is not a sha256 or sha512 digest")
    return text


def hex_of(digest: str) -> str:
    """The hex digits of a well-formed digest."""
    return check_digest(digest).partition(":")[2]


def sha256_of(data: bytes) -> str:
    """`sha256:` and the hex digest of the bytes."""
    from hashlib import sha256  # 4 ms; only where bytes are checked

    return "sha256:" + sha256(data).hexdigest()
