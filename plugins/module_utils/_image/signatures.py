# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Signatures of images as `cosign sign --key` keeps them in the registry, beside the image.

The signatures of an image with the digest `sha256:<hex>` are the layers of a manifest under the tag `sha256-<hex>.sig`
in the same repository. Each layer is a small JSON text that says which digest is vouched for under which name; its
signature stands in an annotation. Certificates, transparency logs and bundles are not looked at: who trusts a key
knows it beforehand.

Nothing is believed of a text whose signature is not verified, and nothing else of the manifest is believed at all.

Source: sigstore/cosign, specs/SIGNATURE_SPEC.md; containers/image, docs/containers-signature.5.md (the JSON text).
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.config_file import read_small_file
from .._base.errors import Damaged, Denied, HullError, NotFound
from .._base.values import replace
from .manifest import parse_artifact, read_base64
from .policy_file import PEM
from .public_keys import parse_public_key
from .reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .manifest import Descriptor
    from .policy_file import SignedBy
    from .public_keys import PublicKey
    from .reference import Reference
    from .registry import Registry

_LAYER_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_PAYLOAD_TYPE = "cosign container image signature"
_MAX_PAYLOAD = 64 * 1024
_MAX_SIGNATURES = 50  # of one digest; each takes a request
_MAX_TAG = 128


def check_signature(demand: SignedBy, registry: Registry, reference: Reference, digests: tuple[str, ...]) -> None:
    """Refuse an image unless one of its digests has a signature that the demand accepts.

    An image from an index has two: the index's, which `cosign sign` signs, and its own manifest's. Either will do, for
    either decides every byte of the image. Raises Denied, and RegistryError where the registry does not answer.
    """
    keys = load_keys(demand)
    problems = []
    for digest in dict.fromkeys(filter(None, digests)):
        problem = _problem(demand, keys, registry, reference, digest)
        if not problem:
            return
        problems.append(problem)
    raise Denied(
        f"image {reference.familiar}: {demand.where} wants a signature: {'; '.join(problems)}",
        hint="sign it with `cosign sign --key`, or check that the policy names the right keys",
    )


def load_keys(demand: SignedBy) -> list[PublicKey]:
    """The keys that a demand names. Raises Invalid, Denied where one can't be used; the others do not count then."""
    found = []
    for index, key in enumerate(demand.keys):
        where = f"{demand.where}.signed_by[{index}]"
        data = key.encode() if key.startswith(PEM) else read_small_file(key)
        if data is None:
            raise Denied(f"{where}: no such file as {key}", hint="put the public key there")
        name = where if key.startswith(PEM) else f"{where} ({key})"
        found.append(parse_public_key(data.decode("ascii", "replace"), where=name))
    return found


def _problem(demand: SignedBy, keys: list[PublicKey], registry: Registry, reference: Reference, digest: str) -> str:
    """Why no signature of this digest is good; empty if one is."""
    tag = digest.replace(":", "-") + ".sig"
    if len(tag) > _MAX_TAG:
        return f"{digest[:80]}... can't have one, only sha256 digests can"
    try:
        document = registry.manifest(reference.path, tag)
    except NotFound:
        return f"{digest} has none"
    manifest = parse_artifact(document.data, document.media_type, document.digest)
    layers = [layer for layer in manifest.layers if layer.media_type == _LAYER_TYPE]
    problems = []
    for layer in layers[:_MAX_SIGNATURES]:
        problem = _problem_of_one(demand, keys, registry, reference, digest, layer)
        if not problem:
            return ""
        problems.append(problem)
    if len(layers) > _MAX_SIGNATURES:
        problems.append(f"more than {_MAX_SIGNATURES} signatures, the others are not looked at")
    return f"{digest}: {', '.join(dict.fromkeys(problems)) or f'no signature in {tag}'}"


def _problem_of_one(
    demand: SignedBy,
    keys: list[PublicKey],
    registry: Registry,
    reference: Reference,
    digest: str,
    layer: Descriptor,
) -> str:
    """Why this signature is not good; empty if it is."""
    signature = read_base64(layer.annotation(_SIGNATURE).replace("\r", "").replace("\n", ""))
    if not signature:
        return "a signature is missing or not base64"
    if layer.size > _MAX_PAYLOAD:
        return f"a signed text has {layer.size} bytes, the limit is {_MAX_PAYLOAD}"
    payload = layer.data if layer.data is not None else registry.small_blob(reference.path, layer)
    if not any(key.verifies(payload, signature) for key in keys):
        return "not signed by any of the keys"
    try:
        signed_digest, signed_name = read_payload(payload)
        signed = parse_reference(signed_name)
        if ":" not in signed_name.rpartition("/")[2]:
            signed = replace(signed, tag="")  # it is for the repository, not for `latest`
    except HullError as error:
        return f"signed by one of the keys, but {error.message}"
    if signed_digest != digest:
        return f"signed by one of the keys, but for {signed_digest[:80]}"
    if not demand.accepts(signed, reference):
        return f"signed by one of the keys, but for {signed_name[:300]}"
    return ""


def read_payload(data: bytes) -> tuple[str, str]:
    """The digest and the name that a signed text vouches for. Raises Damaged for what is not exactly such a text."""
    document = parse(data, source="the signed text")
    critical = _member(document, "critical", ("critical", "optional"))
    kind = _member(critical, "type", ("type", "image", "identity"))
    digest = _member(_member(critical, "image"), "docker-manifest-digest", ("docker-manifest-digest",))
    name = _member(_member(critical, "identity"), "docker-reference", ("docker-reference",))
    optional = document.get("optional")
    if kind != _PAYLOAD_TYPE or not isinstance(optional, (dict, type(None))):
        raise Damaged(f"the signed text is not a {_PAYLOAD_TYPE}")
    if not isinstance(digest, str) or not isinstance(name, str):
        raise Damaged("the signed text has no digest or name")
    return digest, name


def _member(value: Any, name: str, known: tuple[str, ...] = ()) -> Any:
    """The member of an object that has it, and with `known` no others than these."""
    if not isinstance(value, dict) or name not in value or (known and not set(value).issubset(known)):
        raise Damaged(f"the signed text is not a {_PAYLOAD_TYPE}")
    return value[name]
