# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._image.public_keys import PublicKey, parse_public_key

from tests.support.signing import KeyPair, openssl


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(pem.split("\n")[1:-2]))


def _parse(pem: str) -> PublicKey:
    return parse_public_key(pem, where="key.pub")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    directory = tmp_path_factory.mktemp("keys")
    kinds = ("p256", "ed25519", "rsa", "p384", "secp256k1", "ed448", "x25519")
    return {kind: KeyPair(str(directory / kind), kind) for kind in kinds}


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_keys_and_signatures_of_openssl_are_read(pairs: dict[str, KeyPair], kind: str) -> None:
    key = _parse(pairs[kind].pem)
    assert key.kind == kind
    assert _parse(_pem(_der(pairs[kind].pem))) == key
    signature = pairs[kind].sign(b"message")
    assert key.verifies(b"message", signature)
    assert not key.verifies(b"Message", signature)
    assert not key.verifies(b"message", signature[:-1])


def test_a_signature_by_a_key_of_the_other_kind_is_refused(pairs: dict[str, KeyPair]) -> None:
    for one, other in (("p256", "ed25519"), ("ed25519", "p256")):
        assert not _parse(pairs[one].pem).verifies(b"message", pairs[other].sign(b"message"))


def test_line_ends_and_space_around_do_not_matter(pairs: dict[str, KeyPair]) -> None:
    pem = pairs["p256"].pem
    for text in (pem.strip(), "\n" + pem + "\n \n", pem.replace("\n", "\r\n"), _pem(_der(pem)).replace("\n", " \n")):
        assert _parse(text) == _parse(pem)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("rsa", "an RSA key"),
        ("p384", "a key on the curve P-384"),
        ("secp256k1", "a key on the curve secp256k1"),
        ("ed448", "an Ed448 key"),
        ("x25519", "not such a key"),
    ],
)
def test_other_kinds_of_keys_are_refused_by_name(pairs: dict[str, KeyPair], kind: str, name: str) -> None:
    with pytest.raises(Invalid, match=f"^key.pub: {name}.*; only ECDSA P-256, uncompressed, and Ed25519.*cosign"):
        _parse(pairs[kind].pem)


def test_a_private_key_is_refused_without_being_shown(pairs: dict[str, KeyPair]) -> None:
    text = Path(pairs["p256"].private).read_text(encoding="ascii")
    with pytest.raises(Invalid, match="^key.pub: a private key; give the public key") as caught:
        _parse(text)
    assert text.split("\n")[1] not in str(caught.value)


def test_a_compressed_point_is_refused(pairs: dict[str, KeyPair]) -> None:
    pem = openssl("ec", "-in", pairs["p256"].private, "-pubout", "-conv_form", "compressed").decode()
    with pytest.raises(Invalid, match="uncompressed"):
        _parse(pem)


def test_every_other_encoding_of_a_key_is_refused(pairs: dict[str, KeyPair]) -> None:
    for kind, header in (("p256", 27), ("ed25519", 12)):
        der = _der(pairs[kind].pem)
        for bit in range(header * 8):
            changed = bytearray(der)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Invalid):
                _parse(_pem(bytes(changed)))
        for other in (der[:-1], der + b"\0", b"\x30\x81" + der[1:], der[:-32], b"", der * 2):
            with pytest.raises(Invalid):
                _parse(_pem(other))


def test_points_off_the_curve_are_refused(pairs: dict[str, KeyPair]) -> None:
    der = bytearray(_der(pairs["p256"].pem))
    der[-1] ^= 1
    with pytest.raises(Invalid, match="its point is not a public key"):
        _parse(_pem(bytes(der)))
    der = bytearray(_der(pairs["ed25519"].pem))
    der[-32:] = b"\1" + bytes(31)
    with pytest.raises(Invalid, match="its point is not a public key"):
        _parse(_pem(bytes(der)))


def test_anything_but_one_key_in_pem_form_is_refused(pairs: dict[str, KeyPair]) -> None:
    pem = pairs["p256"].pem
    lines = pem.split("\n")
    certificate = pem.replace("PUBLIC KEY", "CERTIFICATE")
    for text in ("", "x", pem + pem, certificate, "\n".join(lines[1:]), "\n".join(lines[:-2]), "x\n" + pem, pem + "x"):
        with pytest.raises(Invalid, match="not one public key in PEM form"):
            _parse(text)
    with pytest.raises(Invalid, match="is not base64"):
        _parse(pem.replace(lines[1], lines[1][:-1] + "!"))
