# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Public keys as `cosign` and `openssl` write them: ECDSA P-256 and Ed25519 in PEM form.

A subject public key info has exactly one DER form for each kind of key that is accepted here, so reading is comparing
with its fixed beginning; every other form, certificates and private keys are refused by name.

Source: RFC 7468 section 13, RFC 5480 section 2, RFC 8410 section 4.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.values import Value
from . import ed25519, p256
from .manifest import read_base64

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # then 04, x, y
_ED25519 = bytes.fromhex("302a300506032b6570032100")  # then the key
_POINT = 65
_OTHERS = (  # object identifiers by which a key of another kind is called by its name
    ("06092a864886f70d010101", "an RSA key"),
    ("06052b81040022", "a key on the curve P-384"),
    ("06052b81040023", "a key on the curve P-521"),
    ("06052b8104000a", "a key on the curve secp256k1"),
    ("06032b6571", "an Ed448 key"),
)
_CURE = "make a key pair of ECDSA P-256 or Ed25519; the one of `cosign generate-key-pair` is right"


class PublicKey(Value):
    """A key that signatures are checked with. `kind` is `p256` or `ed25519`, `point` the encoded point."""

    kind: str
    point: bytes

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature over the message was made with the private half of this key."""
        if self.kind == "ed25519":
            return ed25519.verify(self.point, message, signature)
        return p256.verify(*_coordinates(self.point), message, signature)


def parse_public_key(text: str, *, where: str) -> PublicKey:
    """The key in a PEM text that holds nothing else; `where` names it in errors. Raises Invalid."""
    der = _read_pem(text, where)
    if der.startswith(_ED25519) and len(der) == len(_ED25519) + 32:
        key = PublicKey("ed25519", der[len(_ED25519) :])
        is_valid = ed25519.is_public_key(key.point)
    elif der.startswith(_P256) and len(der) == len(_P256) + _POINT:
        key = PublicKey("p256", der[len(_P256) :])
        is_valid = key.point[0] == 4 and p256.is_public_key(*_coordinates(key.point))
    else:
        found = next((name for oid, name in _OTHERS if bytes.fromhex(oid) in der[:40]), "not such a key in DER form")
        raise Invalid(f"{where}: {found}; only ECDSA P-256, uncompressed, and Ed25519 are supported", hint=_CURE)
    if not is_valid:
        raise Invalid(f"{where}: its point is not a public key", hint=_CURE)
    return key


def _read_pem(text: str, where: str) -> bytes:
    lines = [line.strip(" \t\r") for line in text.strip().split("\n")]
    if "PRIVATE KEY-----" in text:
        raise Invalid(f"{where}: a private key", hint="give the public key, and keep the private one off this host")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END or any("-" in line for line in lines[1:-1]):
        raise Invalid(f"{where}: not one public key in PEM form", hint=f"it begins with {_BEGIN}; one key per entry")
    der = read_base64("".join(lines[1:-1]))
    if der is None:
        raise Invalid(f"{where}: what stands between {_BEGIN} and its end is not base64")
    return der


def _coordinates(point: bytes) -> tuple[int, int]:
    return int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
