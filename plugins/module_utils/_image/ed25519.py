# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Ed25519: verification only.

Plain integers, some milliseconds per signature. No secret takes part, so nothing depends on the time that it takes;
never use this to sign. Strict where implementations differ: encodings that are not the shortest and public keys of
small order are refused; the equation is the one without the cofactor, as in OpenSSL and Go.

Source: RFC 8032 sections 5.1.2, 5.1.3, 5.1.4 and 5.1.7.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Point = tuple[int, int, int, int]  # x / z, y / z, and x * y / z

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
_BASE = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
_NEUTRAL = (0, 1, 1, 0)


def is_public_key(key: bytes) -> bool:
    """Whether 32 bytes are a public key: the encoding of a point for which signatures can't be made by anybody."""
    point = _decode(key)
    return point is not None and not _is_small(point)


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature (64 bytes) over the message was made with the private key of this public key."""
    from hashlib import sha512

    point = _decode(key)
    scalar = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or scalar >= _L or point is None or _is_small(point):
        return False
    hashed = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % _L
    x, y, z, t = point
    return _encode(_weighted_sum(scalar, hashed, (-x % _P, y, z, -t % _P))) == signature[:32]


def _decode(data: bytes) -> Point | None:
    """The point of an encoding; None where it is not one, or not the shortest."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if len(data) != 32 or y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * v**3 % _P * pow(u * v**7 % _P, (_P - 5) // 8, _P) % _P
    if (v * x * x + u) % _P == 0:
        x = x * _ROOT % _P
    if (v * x * x - u) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _is_small(point: Point) -> bool:
    """Whether eight times the point is the neutral one."""
    for _ in range(3):
        point = _add(point, point)
    return point[0] == 0 and (point[1] - point[2]) % _P == 0


def _weighted_sum(u: int, v: int, point: Point) -> Point:
    """u times the base point plus v times `point`, both in one pass over the bits."""
    both = _add(_BASE, point)
    result = _NEUTRAL
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        result = _add(result, result)
        chosen = (u >> bit & 1) | (v >> bit & 1) << 1
        if chosen:
            result = _add(result, (_BASE, point, both)[chosen - 1])
    return result


def _add(one: Point, other: Point) -> Point:
    """The sum, by one formula for every pair of points."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P
