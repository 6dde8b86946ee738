# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Our verification of Ed25519: the vectors of RFC 8032, and OpenSSL (through `cryptography`) as a witness."""

from __future__ import annotations

import os

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.ed25519 import is_public_key, verify
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
MESSAGE = b"what is signed"


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _openssl_accepts(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


PRIVATE = Ed25519PrivateKey.generate()
KEY = _raw(PRIVATE)
SIGNATURE = PRIVATE.sign(MESSAGE)

RFC_8032 = [  # section 7.1: TEST 1, 2, 3 and SHA(abc)
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
        "454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_published_signatures_are_accepted(key: str, message: str, signature: str) -> None:
    assert is_public_key(bytes.fromhex(key))
    assert verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))
    assert not verify(bytes.fromhex(key), bytes.fromhex(message) + b"x", bytes.fromhex(signature))


def test_signatures_of_random_keys_are_accepted() -> None:
    for _ in range(30):
        private, message = Ed25519PrivateKey.generate(), os.urandom(os.urandom(1)[0])
        assert is_public_key(_raw(private))
        assert verify(_raw(private), message, private.sign(message))


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    for bit in range(512):
        changed = bytearray(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify(KEY, MESSAGE, bytes(changed)), f"bit {bit}"


def test_every_flipped_bit_of_a_key_is_refused() -> None:
    for bit in range(256):
        changed = bytearray(KEY)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify(bytes(changed), MESSAGE, SIGNATURE), f"bit {bit}"


@pytest.mark.parametrize("message", [b"", MESSAGE + b"\0", MESSAGE[:-1]])
def test_another_message_is_refused(message: bytes) -> None:
    assert not verify(KEY, message, SIGNATURE)


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:63], SIGNATURE + b"\0", SIGNATURE * 2, b"\0" * 64])
def test_a_signature_of_another_length_is_refused(signature: bytes) -> None:
    assert not verify(KEY, MESSAGE, signature)


def _with_scalar(scalar: int) -> bytes:
    return SIGNATURE[:32] + scalar.to_bytes(32, "little")


def test_a_scalar_has_one_form_only() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little")
    for other in (0, L, scalar + L, L - scalar, 2**256 - 1):
        if other < 2**256:
            assert not _openssl_accepts(KEY, MESSAGE, _with_scalar(other))
            assert not verify(KEY, MESSAGE, _with_scalar(other))


def _encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


SMALL = [  # the encodings of the eight points of small order, and other forms of them
    _encoded(0),
    _encoded(0, 1),
    _encoded(1),
    _encoded(1, 1),
    _encoded(P - 1),
    _encoded(P - 1, 1),
    _encoded(P),
    _encoded(P, 1),
    _encoded(P + 1),
    _encoded(P + 1, 1),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]


@pytest.mark.parametrize("key", SMALL)
def test_keys_for_which_anybody_can_sign_are_none(key: bytes) -> None:
    assert not is_public_key(key)
    for r in SMALL:
        assert not verify(key, MESSAGE, r + b"\0" * 32)


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"\0", _encoded(2), b"\xff" * 32])
def test_bytes_that_are_no_point_are_no_key(key: bytes) -> None:
    assert not is_public_key(key)
    assert not verify(key, MESSAGE, SIGNATURE)


@pytest.mark.parametrize("r", SMALL)
def test_points_of_small_order_in_a_signature_do_not_help(r: bytes) -> None:
    forged = r + SIGNATURE[32:]
    assert not _openssl_accepts(KEY, MESSAGE, forged)
    assert not verify(KEY, MESSAGE, forged)
