# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""ECDSA on the curve P-256 with SHA-256: verification only.

Plain integers, some milliseconds per signature. No secret takes part, so nothing depends on the time that it takes;
never use this to sign.

Source: FIPS 186-5 section 6.4.2; SEC 1 sections 2.3.4 and 4.1.4; curve: SP 800-186 section 3.2.1.3; signature as DER:
RFC 3279 section 2.2.3.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Point = tuple[int, int, int]  # x / z**2, y / z**3; z is 0 at infinity

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_INFINITY = (1, 1, 0)


def is_public_key(x: int, y: int) -> bool:
    """Whether the coordinates are those of a point on the curve; each such point but infinity is a public key."""
    return 0 <= x < _P and 0 <= y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0


def verify(x: int, y: int, message: bytes, signature: bytes) -> bool:
    """Whether the signature (DER) over the message was made with the private key of this public key.

    Either of the two values of s that belong to a signature is accepted, as elsewhere.
    """
    from hashlib import sha256

    numbers = _read_signature(signature)
    if numbers is None:
        return False
    r, s = numbers
    if not (1 <= r < _N and 1 <= s < _N):
        return False
    inverse = pow(s, -1, _N)
    hashed = int.from_bytes(sha256(message).digest(), "big")
    sum_x, _, z = _weighted_sum(hashed * inverse % _N, r * inverse % _N, (x, y, 1))
    return z != 0 and sum_x * pow(z, -2, _P) % _P % _N == r


def _read_signature(der: bytes) -> tuple[int, int] | None:
    """r and s of SEQUENCE {r INTEGER, s INTEGER} in the one right encoding; None for anything else."""
    if len(der) < 2 or der[0] != 0x30 or der[1] != len(der) - 2 or der[1] >= 0x80:
        return None
    first = _read_integer(der[2:])
    second = _read_integer(first[1]) if first else None
    if first is None or second is None or second[1]:
        return None
    return first[0], second[0]


def _read_integer(der: bytes) -> tuple[int, bytes] | None:
    """A natural number and what follows it; None where it is negative or not in its shortest form."""
    if len(der) < 3 or der[0] != 0x02 or not 1 <= der[1] <= len(der) - 2 or der[1] > 33:
        return None
    content, rest = der[2 : 2 + der[1]], der[2 + der[1] :]
    if content[0] >= 0x80 or (len(content) > 1 and content[0] == 0 and content[1] < 0x80):
        return None
    return int.from_bytes(content, "big"), rest


def _weighted_sum(u: int, v: int, point: Point) -> Point:
    """u times the base point plus v times `point`, both in one pass over the bits."""
    base = (*_G, 1)
    both = _add(base, point)
    result = _INFINITY
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        result = _double(result)
        chosen = (u >> bit & 1) | (v >> bit & 1) << 1
        if chosen:
            result = _add(result, (base, point, both)[chosen - 1])
    return result


def _double(point: Point) -> Point:
    x, y, z = point
    if z == 0 or y == 0:
        return _INFINITY
    delta = z * z % _P
    gamma = y * y % _P
    beta = x * gamma % _P
    alpha = 3 * (x - delta) * (x + delta) % _P
    new_x = (alpha * alpha - 8 * beta) % _P
    return new_x, (alpha * (4 * beta - new_x) - 8 * gamma * gamma) % _P, 2 * y * z % _P


def _add(one: Point, other: Point) -> Point:
    x1, y1, z1 = one
    x2, y2, z2 = other
    if z1 == 0:
        return other
    if z2 == 0:
        return one
    square1, square2 = z1 * z1 % _P, z2 * z2 % _P
    u1, u2 = x1 * square2 % _P, x2 * square1 % _P
    s1, s2 = y1 * square2 * z2 % _P, y2 * square1 * z1 % _P
    height, run = u2 - u1, s2 - s1
    if height == 0:
        return _double(one) if run == 0 else _INFINITY
    square = height * height % _P
    cube = square * height % _P
    middle = u1 * square % _P
    new_x = (run * run - cube - 2 * middle) % _P
    return new_x, (run * (middle - new_x) - s1 * cube) % _P, height * z1 * z2 % _P
