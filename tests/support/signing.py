# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Key pairs made by openssl, and signatures of images made with them in the form and place that cosign gives them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from typing import Any

from tests.support.images import OCI, as_json, digest_of
from tests.support.registry import RunningRegistry

ALGORITHMS = {
    "p256": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ed25519": ("ED25519",),
    "rsa": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "p384": ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "secp256k1": ("EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    "ed448": ("ED448",),
    "x25519": ("X25519",),
}
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"


def openssl(*arguments: str) -> bytes:
    """What openssl prints."""
    return subprocess.run(["openssl", *arguments], stdout=subprocess.PIPE, check=True).stdout


class KeyPair:
    """A private key in `<path>.key` and its public half in `<path>.pub`."""

    def __init__(self, path: str, kind: str = "p256") -> None:
        self.private, self.public, self._kind = f"{path}.key", f"{path}.pub", kind
        openssl("genpkey", "-algorithm", *ALGORITHMS[kind], "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    @property
    def pem(self) -> str:
        """The public key."""
        with open(self.public, encoding="ascii") as file:
            return file.read()

    def sign(self, message: bytes) -> bytes:
        """A signature over the message, by openssl."""
        with tempfile.TemporaryDirectory(prefix="hull-sign-") as directory:
            path = os.path.join(directory, "message")
            with open(path, "wb") as file:
                file.write(message)
            if self._kind == "ed25519":
                return openssl("pkeyutl", "-sign", "-inkey", self.private, "-rawin", "-in", path)
            return openssl("dgst", "-sha256", "-sign", self.private, path)


def payload(name: str, digest: str, **changes: Any) -> bytes:
    """The text that is signed for an image; `changes` go over its outermost object."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return as_json({"critical": critical, "optional": None, **changes})


def signature_manifest(*signed: tuple[bytes, str]) -> tuple[bytes, list[bytes]]:
    """The manifest of these (text, base64 of its signature), and its blobs."""
    config = as_json({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}})
    layers = [
        {
            "mediaType": PAYLOAD_TYPE,
            "digest": digest_of(text),
            "size": len(text),
            "annotations": {ANNOTATION: made},
        }
        for text, made in signed
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI["manifest"],
        "config": {"mediaType": OCI["config"], "digest": digest_of(config), "size": len(config)},
        "layers": layers,
    }
    return as_json(document), [config, *(text for text, _ in signed)]


def tag_for(digest: str) -> str:
    """The tag under which an image's signatures are."""
    return digest.replace(":", "-") + ".sig"


def push_signatures(registry: RunningRegistry, repository: str, digest: str, *signed: tuple[bytes, str]) -> None:
    """Put signatures of a digest into the registry, in the place of those that are there."""
    manifest, blobs = signature_manifest(*signed)
    for blob in blobs:
        registry.push_blob(repository, blob)
    registry.push_manifest(repository, tag_for(digest), manifest, OCI["manifest"])


def signed(key: KeyPair, text: bytes) -> tuple[bytes, str]:
    """A text with its signature."""
    return text, base64.b64encode(key.sign(text)).decode()


def write_policy(directory: str, document: Any) -> None:
    """The policy file of a configuration directory: a document, or bytes as they are."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with open(f"{directory}/policy.json", "wb") as file:
        file.write(data)
