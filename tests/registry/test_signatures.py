# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Pulls under a policy: signatures as cosign makes them, at Debian's docker-registry."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    Denied,
    HullError,
    NotFound,
    RegistryError,
)
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import head_digest, pull, resolve
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings, load_settings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database

from tests.support.faulty_registry import FaultyRegistry, status
from tests.support.images import OCI, Image, digest_of, make_image, make_index, platform_of
from tests.support.registry import RunningRegistry
from tests.support.signing import KeyPair, payload, push_signatures, signature_manifest, signed, tag_for, write_policy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

PLATFORM = parse_platform("linux/amd64")
IMAGE = make_image([{"a": b"1"}])
OTHER = make_image([{"b": b"2"}])


@dataclass
class Host:
    """A host's configuration and store."""

    paths: Paths
    database: Database

    def settings(self) -> RegistrySettings:
        return load_settings(self.paths)

    def policy(self, document: Any) -> None:
        write_policy(self.paths.config, document)

    def pull(self, reference: str) -> str:
        config = self.settings()
        return pull(self.paths, self.database, parse_reference(reference), PLATFORM, config=config).id

    def resolve(self, reference: str) -> str:
        return resolve(parse_reference(reference), PLATFORM, config=self.settings()).config.digest

    def head(self, reference: str) -> str:
        return head_digest(parse_reference(reference), config=self.settings(), platform=PLATFORM)

    def assert_refused(self, reference: str, message: str, kind: type[HullError] = Denied) -> None:
        """Whoever asks is refused, and nothing of the image is in the store."""
        for call in (self.pull, self.resolve, self.head):
            with pytest.raises(kind, match=message):
                call(reference)
        assert not os.path.exists(self.paths.layers) or os.listdir(self.paths.layers) == []
        assert self.database.images() == []


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    paths = Paths(str(tmp_path / "root"), str(tmp_path / "run"), str(tmp_path / "config"))
    os.mkdir(paths.config)
    database = open_database(paths, create=True)
    assert database is not None
    yield Host(paths, database)
    database.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    directory = tmp_path_factory.mktemp("keys")
    kinds = {"p256": "p256", "ed25519": "ed25519", "stranger": "p256"}
    return {name: KeyPair(str(directory / name), kind) for name, kind in kinds.items()}


def _demand(*keys: KeyPair, **more: Any) -> dict[str, Any]:
    return {"default": {"signed_by": [key.public for key in keys], **more}}


def _name(reference: str) -> str:
    return parse_reference(reference).name


def _signed(key: KeyPair, reference: str, digest: str) -> tuple[bytes, str]:
    """What cosign signs for an image, with the signature."""
    return signed(key, payload(_name(reference), digest))


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_signed_image_is_pulled(registry: RunningRegistry, host: Host, keys: dict[str, KeyPair], kind: str) -> None:
    reference = registry.push(f"signed/{kind}", "1", IMAGE)
    host.policy(_demand(keys[kind]))
    host.assert_refused(
        reference,
        f"image {reference}: .*policy.json: default wants a signature: {IMAGE.digest} has none; sign it with `cosign",
    )
    text = payload(_name(reference), IMAGE.digest)
    push_signatures(registry, f"signed/{kind}", IMAGE.digest, signed(keys[kind], text))
    assert host.resolve(reference) == host.pull(reference) == IMAGE.id
    assert host.head(reference) == IMAGE.digest


def test_any_of_the_keys_and_any_of_the_signatures_will_do(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    reference = registry.push("signed/several", "1", IMAGE)
    text = payload(_name(reference), IMAGE.digest)
    old = payload("elsewhere.example/x", IMAGE.digest)
    every = [(text, "!"), signed(keys["stranger"], text), signed(keys["ed25519"], old), signed(keys["ed25519"], text)]
    push_signatures(registry, "signed/several", IMAGE.digest, *every)
    host.policy(_demand(keys["p256"], keys["ed25519"]))
    assert host.pull(reference) == IMAGE.id
    host.policy(_demand(keys["p256"]))
    with pytest.raises(Denied, match="not base64, not signed by any of the keys"):
        host.pull(reference)


Sign = Callable[[dict[str, KeyPair], str], tuple[bytes, str]]


def _forged(keys: dict[str, KeyPair], name: str) -> tuple[bytes, str]:
    """A good signature over another text than the one that is there."""
    _, signature = signed(keys["p256"], payload(name, OTHER.digest))
    return payload(name, IMAGE.digest), signature


@pytest.mark.parametrize(
    ("sign", "message"),
    [
        (lambda keys, name: signed(keys["stranger"], payload(name, IMAGE.digest)), "not signed by any of the keys"),
        (lambda keys, name: signed(keys["ed25519"], payload(name, IMAGE.digest)), "not signed by any of the keys"),
        (_forged, "not signed by any of the keys"),
        (lambda keys, name: signed(keys["p256"], payload(name, OTHER.digest)), f"but for {OTHER.digest}"),
        (lambda keys, name: signed(keys["p256"], payload(name + "2", IMAGE.digest)), "but for 127.*/signed/bad2"),
        (lambda keys, name: signed(keys["p256"], payload("evil.example/x", IMAGE.digest)), "but for evil.example/x"),
        (lambda keys, name: signed(keys["p256"], payload("", IMAGE.digest)), "but image name '': "),
        (lambda keys, name: signed(keys["p256"], payload(name, IMAGE.digest, more=1)), "signed text is not a cosign"),
        (lambda keys, name: signed(keys["p256"], b"{"), "but read the signed text"),
        (lambda keys, name: (payload(name, IMAGE.digest), ""), "missing or not base64"),
        (lambda keys, name: (payload(name, IMAGE.digest), "AAAA"), "not signed by any of the keys"),
        (lambda keys, name: signed(keys["p256"], b" " * 65537), "65537 bytes, the limit is 65536"),
    ],
)
def test_a_signature_that_does_not_hold_is_refused(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair], sign: Sign, message: str
) -> None:
    reference = registry.push("signed/bad", "1", IMAGE)
    host.policy(_demand(keys["p256"]))
    push_signatures(registry, "signed/bad", IMAGE.digest, sign(keys, _name(reference)))
    host.assert_refused(reference, f"{IMAGE.digest}: .*{message}")


def test_the_signature_of_another_image_does_not_help(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    reference = registry.push("signed/copy", "1", IMAGE)
    push_signatures(registry, "signed/copy", IMAGE.digest, _signed(keys["p256"], reference, IMAGE.digest))
    host.policy(_demand(keys["p256"]))
    assert host.resolve(reference) == IMAGE.id
    registry.push("signed/copy", "1", OTHER)
    host.assert_refused(reference, f"{OTHER.digest} has none")


def test_the_index_or_the_manifest_chosen_from_it_has_to_be_signed(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    arm = make_image([{"b": b"2"}], platform="linux/arm64")
    reference = registry.push_index("signed/many", "1", {"linux/arm64": arm, "linux/amd64": IMAGE}, OCI)
    index_digest = resolve(parse_reference(reference), PLATFORM, config=RegistrySettings()).digest
    host.policy(_demand(keys["p256"]))
    push_signatures(registry, "signed/many", arm.digest, _signed(keys["p256"], reference, arm.digest))
    host.assert_refused(reference, f"{index_digest} has none; {IMAGE.digest} has none")
    for digest in (IMAGE.digest, index_digest):
        text = payload(_name(reference), digest)
        push_signatures(registry, "signed/many", digest, signed(keys["p256"], text))
        assert host.resolve(reference) == IMAGE.id
        push_signatures(registry, "signed/many", digest, signed(keys["stranger"], text))
        with pytest.raises(Denied, match="not signed by any of the keys"):
            host.resolve(reference)


@pytest.mark.parametrize(("identity", "passes"), [("repository", "wanted"), ("exact", "tag"), (None, "elsewhere")])
def test_the_identity_of_the_policy_decides_which_name_counts(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair], identity: str | None, passes: str
) -> None:
    reference = registry.push("signed/name", "1", IMAGE)
    names = {"wanted": _name(reference), "tag": reference, "elsewhere": "r.example/team/app"}
    host.policy(_demand(keys["p256"], identity=identity or {"repository": names["elsewhere"]}))
    passing = {"wanted", "tag"} if passes == "wanted" else {passes}
    for case, name in names.items():
        text = payload(name, IMAGE.digest)
        push_signatures(registry, "signed/name", IMAGE.digest, signed(keys["p256"], text))
        if case in passing:
            assert host.resolve(reference) == IMAGE.id
        else:
            with pytest.raises(Denied, match=f"but for {name};"):
                host.resolve(reference)


def test_a_signature_for_no_tag_is_not_one_for_latest(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    reference = registry.push("signed/exact", "latest", IMAGE)
    host.policy(_demand(keys["p256"], identity="exact"))
    for name, passes in ((_name(reference), False), (reference, True)):
        text = payload(name, IMAGE.digest)
        push_signatures(registry, "signed/exact", IMAGE.digest, signed(keys["p256"], text))
        if passes:
            assert host.resolve(reference) == IMAGE.id
        else:
            with pytest.raises(Denied, match=f"but for {name};"):
                host.resolve(reference)
    assert host.resolve(f"{reference}@{IMAGE.digest}") == IMAGE.id


def test_a_pull_that_finds_the_image_here_is_judged_anew(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    reference = registry.push("signed/later", "1", IMAGE)
    by_digest = f"{reference}@{IMAGE.digest}"
    for name in (reference, by_digest):
        assert host.pull(name) == IMAGE.id
    host.policy(_demand(keys["p256"]))
    for name in (reference, by_digest):
        with pytest.raises(Denied, match=f"{IMAGE.digest} has none"):
            host.pull(name)
    push_signatures(registry, "signed/later", IMAGE.digest, _signed(keys["p256"], reference, IMAGE.digest))
    for name in (reference, by_digest):
        assert host.pull(name) == IMAGE.id
    host.policy({"default": "digest"})
    assert host.pull(by_digest) == IMAGE.id
    with pytest.raises(Denied, match="wants images by digest"):
        host.pull(reference)
    host.policy({"default": "reject"})
    with pytest.raises(Denied, match="rejected by"):
        host.pull(by_digest)
    assert [image.id for image in host.database.images()] == [IMAGE.id]


def test_what_is_refused_by_its_name_is_not_even_asked_for(host: Host) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    with server:
        for rule in ("reject", "digest"):
            host.policy({"default": rule})
            host.assert_refused(reference, f"image {reference}: ")
        host.policy(b"{")
        host.assert_refused(reference, "policy.json: ", Damaged)
        assert server.requests() == []
        host.policy({"default": "digest"})
        assert host.pull(f"{server.host}/a@{IMAGE.digest}") == IMAGE.id


def _signing(server: FaultyRegistry, reference: str, key: KeyPair, digest: str) -> None:
    """Put a good signature into a server that does not run yet."""
    manifest, blobs = signature_manifest(_signed(key, reference, digest))
    holder = Image(manifest, OCI["manifest"], b"", [], {digest_of(blob): blob for blob in blobs})
    server.add("a", tag_for(digest), holder)


@pytest.mark.parametrize(
    ("part", "code", "kind"),
    [
        (".sig", 503, RegistryError),
        (".sig", 500, RegistryError),
        (".sig", 403, Denied),
        (".sig", 404, Denied),
        ("/blobs/", 404, NotFound),
        ("/blobs/", 503, RegistryError),
    ],
)
def test_a_registry_that_does_not_give_its_signatures_is_no_way_round(
    host: Host, keys: dict[str, KeyPair], part: str, code: int, kind: type[HullError]
) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    _signing(server, reference, keys["p256"], IMAGE.digest)
    server.fault("GET", part, status(code, Retry_After="0"))
    host.policy(_demand(keys["p256"]))
    with server:
        host.assert_refused(reference, "", kind)
        assert not [request for request in server.requests() if IMAGE.id in request.path]


def test_a_signature_is_verified_before_configuration_and_layers_are_fetched(
    host: Host, keys: dict[str, KeyPair]
) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    _signing(server, reference, keys["p256"], IMAGE.digest)
    host.policy(_demand(keys["p256"]))
    with server:
        assert host.pull(reference) == IMAGE.id
        paths = [request.path.rpartition("/")[2] for request in server.requests()]
    text = payload(_name(reference), IMAGE.digest)
    order = ["1", tag_for(IMAGE.digest), digest_of(text), IMAGE.id]
    assert paths[: len(order)] == order


@pytest.mark.parametrize(
    "document", [b"{}", b"[]", make_index([IMAGE.descriptor(platform=platform_of("linux/amd64"))])[0]]
)
def test_what_is_no_list_of_signatures_is_refused(host: Host, keys: dict[str, KeyPair], document: bytes) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.add_manifest("a", tag_for(IMAGE.digest), document, "application/json")
    host.policy(_demand(keys["p256"]))
    with server:
        host.assert_refused(reference, "read manifest", Damaged)


def test_an_image_in_the_place_of_signatures_has_none(
    registry: RunningRegistry, host: Host, keys: dict[str, KeyPair]
) -> None:
    reference = registry.push("signed/odd", "1", IMAGE)
    registry.push("signed/odd", tag_for(IMAGE.digest), OTHER)
    host.policy(_demand(keys["p256"]))
    host.assert_refused(reference, f"no signature in {tag_for(IMAGE.digest)}")


def test_more_signatures_than_anybody_has_are_not_all_looked_at(host: Host, keys: dict[str, KeyPair]) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    bad = base64.b64encode(b"x").decode()
    good = _signed(keys["p256"], reference, IMAGE.digest)
    manifest, blobs = signature_manifest(*[(payload(_name(reference), IMAGE.digest), bad)] * 50, good)
    holder = Image(manifest, OCI["manifest"], b"", [], {digest_of(blob): blob for blob in blobs})
    server.add("a", tag_for(IMAGE.digest), holder)
    host.policy(_demand(keys["p256"]))
    with server, pytest.raises(Denied, match="more than 50 signatures, the others are not looked at"):
        host.resolve(reference)


def test_an_sha512_digest_has_no_place_for_signatures(host: Host, keys: dict[str, KeyPair]) -> None:
    digest = "sha512:" + hashlib.sha512(IMAGE.manifest).hexdigest()
    server = FaultyRegistry()
    server.add("a", "1", IMAGE)
    server.add_manifest("a", digest, IMAGE.manifest, IMAGE.media_type)
    host.policy(_demand(keys["p256"]))
    with server, pytest.raises(Denied, match="only sha256 digests can"):
        host.resolve(f"{server.host}/a@{digest}")
