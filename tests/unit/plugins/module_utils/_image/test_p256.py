# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Our verification of ECDSA P-256 beside OpenSSL's (through `cryptography`): equal verdicts on right and wrong."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.p256 import is_public_key, verify
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
MESSAGE = b"what is signed"


def _openssl_accepts(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _ours_accepts(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    numbers = key.public_numbers()
    assert is_public_key(numbers.x, numbers.y)
    return verify(numbers.x, numbers.y, message, signature)


KEY = ec.generate_private_key(ec.SECP256R1())
SIGNATURE = KEY.sign(MESSAGE, ec.ECDSA(SHA256()))
R, S = decode_dss_signature(SIGNATURE)


def _integer(content: bytes) -> bytes:
    return bytes([2, len(content)]) + content


def _sequence(*parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([0x30, len(content)]) + content


def _shortest(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def test_signatures_of_random_keys_are_accepted() -> None:
    for _ in range(30):
        key, message = ec.generate_private_key(ec.SECP256R1()), os.urandom(os.urandom(1)[0])
        assert _ours_accepts(key.public_key(), message, key.sign(message, ec.ECDSA(SHA256())))


@pytest.mark.parametrize("scalar", [1, 2, 3, N - 1, N - 2, 2**128, 2**255])
def test_keys_at_the_edges_of_the_group_work(scalar: int) -> None:
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    assert _ours_accepts(key.public_key(), MESSAGE, key.sign(MESSAGE, ec.ECDSA(SHA256())))


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    for bit in range(len(SIGNATURE) * 8):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert not _ours_accepts(KEY.public_key(), MESSAGE, bytes(changed)), f"bit {bit}"


@pytest.mark.parametrize("message", [b"", MESSAGE + b"\0", MESSAGE[:-1], MESSAGE.upper()])
def test_another_message_is_refused(message: bytes) -> None:
    assert not _ours_accepts(KEY.public_key(), message, SIGNATURE)


def test_another_key_is_refused() -> None:
    assert not _ours_accepts(ec.generate_private_key(ec.SECP256R1()).public_key(), MESSAGE, SIGNATURE)


def test_both_halves_of_s_are_accepted_as_openssl_does() -> None:
    for value in (S, N - S):
        signature = encode_dss_signature(R, value)
        assert _openssl_accepts(KEY.public_key(), MESSAGE, signature)
        assert _ours_accepts(KEY.public_key(), MESSAGE, signature)


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 0), (0, S), (R, 0), (0, 1), (1, 0), (1, 1), (N, S), (R, N), (N, N), (R + N, S), (R, S + N), (P, S), (S, R)],
)
def test_numbers_out_of_range_are_refused(r: int, s: int) -> None:
    signature = encode_dss_signature(r, s)
    assert not _openssl_accepts(KEY.public_key(), MESSAGE, signature)
    assert not _ours_accepts(KEY.public_key(), MESSAGE, signature)


GOOD_R, GOOD_S = _integer(_shortest(R)), _integer(_shortest(S))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        SIGNATURE[:-1],
        SIGNATURE + b"\0",
        b"\x31" + SIGNATURE[1:],
        b"\x30\x81" + SIGNATURE[1:],
        b"\x30\x80" + SIGNATURE[2:] + b"\0\0",
        _sequence(GOOD_R),
        _sequence(GOOD_R, GOOD_S, GOOD_S),
        _sequence(GOOD_R, GOOD_S, b"\x05\x00"),
        _sequence(_integer(b"\0" * 2 + _shortest(R)), GOOD_S),
        _sequence(GOOD_R, _integer(b"\0\0" + _shortest(S))),
        _sequence(_integer((R - 2**256).to_bytes(33, "big", signed=True)), GOOD_S),
        _sequence(b"\x02\x00", GOOD_S),
        _sequence(b"\x03" + GOOD_R[1:], GOOD_S),
        _sequence(b"\x02\x7f" + GOOD_R[2:], GOOD_S),
        R.to_bytes(32, "big") + S.to_bytes(32, "big"),
    ],
)
def test_other_encodings_of_a_signature_are_refused(signature: bytes) -> None:
    assert _sequence(GOOD_R, GOOD_S) == SIGNATURE
    assert not _ours_accepts(KEY.public_key(), MESSAGE, signature)


def test_a_sum_at_infinity_is_refused() -> None:
    """r is chosen so that the weighted sum of base point and key is the point at infinity, whatever s is."""
    scalar = 12345
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    hashed = int.from_bytes(hashlib.sha256(MESSAGE).digest(), "big")
    r = -hashed * pow(scalar, -1, N) % N  # hashed + r * scalar = 0
    assert not _ours_accepts(key, MESSAGE, encode_dss_signature(r, 7))


def test_a_sum_of_equal_points_is_right() -> None:
    """The key is the base point itself, so the precomputed sum of both is a doubling."""
    key = ec.derive_private_key(1, ec.SECP256R1())
    for _ in range(5):
        message = os.urandom(9)
        assert _ours_accepts(key.public_key(), message, key.sign(message, ec.ECDSA(SHA256())))


def test_points_off_the_curve_are_no_keys() -> None:
    numbers = KEY.public_key().public_numbers()
    x, y = numbers.x, numbers.y
    assert is_public_key(x, y) and is_public_key(x, P - y)
    for point in ((x, y + 1), (x + 1, y), (y, x), (0, 0), (x, 0), (x + P, y), (x, y + P), (-x, y), (P, y)):
        assert not is_public_key(*point)


def test_a_published_signature_is_accepted() -> None:
    """RFC 6979, appendix A.2.5: P-256 with SHA-256, message "sample"."""
    x = 0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
    y = 0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert verify(x, y, b"sample", encode_dss_signature(r, s))
    assert not verify(x, y, b"Sample", encode_dss_signature(r, s))
