# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Denied, HullError, Invalid
from ansible_collections.hull.engine.plugins.module_utils._image.policy_file import Policy, SignedBy, parse_policy
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.signatures import load_keys

from tests.support.signing import KeyPair

PATH = "/etc/hull/policy.json"
KEYS = ["/etc/hull/team.pub"]
DIGEST = "sha256:" + "0" * 64
SIGNED = {"signed_by": KEYS}


def _policy(default: Any, archives: str | None = None, **images: Any) -> Policy:
    document = {"default": default, "images": images, **({"archives": archives} if archives else {})}
    return parse_policy(json.dumps(document).encode(), PATH)


def _verdict(policy: Policy, image: str) -> str:
    """`accept`, `signed`, or why not."""
    try:
        return "signed" if policy.admit(parse_reference(image)) else "accept"
    except Denied as error:
        return str(error)


RULES = {
    "docker.io": "digest",
    "docker.io/library": "accept",
    "r.example": "reject",
    "r.example/team": SIGNED,
    "r.example/team/free": "accept",
    "r.example:5000/team": "reject",
    "*.example.org": "reject",
    "a.example.org": SIGNED,
    "*.deep.example.org": "accept",
}


@pytest.mark.parametrize(
    ("image", "verdict"),
    [
        ("debian", "accept"),
        ("index.docker.io/library/debian", "accept"),
        ("someone/app", "image someone/app:latest: .* wants images by digest"),
        (f"someone/app@{DIGEST}", "accept"),
        (f"someone/app:1@{DIGEST}", "accept"),
        ("r.example/other", "image r.example/other:latest: rejected by"),
        (f"r.example/other@{DIGEST}", "rejected by"),
        ("r.example/teams/app", "rejected by"),
        ("r.example/team", "signed"),
        ("r.example/team/app:1", "signed"),
        ("R.Example/team/app:1", "signed"),
        ("r.example:443/team/app:1", "signed"),
        ("r.example:00443/team/app:1", "signed"),
        ("r.example:05000/team/x", "rejected by"),
        ("Registry-1.Docker.IO/someone/app", "wants images by digest"),
        ("registry-1.docker.io:443/someone/app", "wants images by digest"),
        ("index.docker.io:0443/someone/app", "wants images by digest"),
        ("r.example:8443/team/app:1", "accept"),
        ("r.example/team/free", "accept"),
        ("r.example/team/free/x", "accept"),
        ("r.example/team/freedom", "signed"),
        ("r.example:5000/team/x", "rejected by"),
        ("r.example:5000/x", "accept"),
        ("b.example.org/x", "rejected by"),
        ("B.EXAMPLE.ORG:5000/x", "rejected by"),
        ("a.example.org/x", "signed"),
        ("x.deep.example.org/x", "accept"),
        ("example.org/x", "accept"),
        ("badexample.org/x", "accept"),
        ("elsewhere.example/x", "accept"),
    ],
)
def test_the_most_specific_prefix_decides(image: str, verdict: str) -> None:
    found = _verdict(_policy("accept", **RULES), image)
    assert re.search(verdict, found), found


@pytest.mark.parametrize(("default", "verdict"), [("accept", "accept"), ("reject", "rejected"), (SIGNED, "signed")])
def test_the_default_is_for_the_rest(default: Any, verdict: str) -> None:
    assert verdict in _verdict(_policy(default, **{"r.example": "digest"}), "debian")


def test_a_refusal_names_image_place_and_cure() -> None:
    policy = _policy("reject", **{"r.example/team": "digest"})
    assert _verdict(policy, "debian:12") == (
        f"image debian:12: rejected by {PATH} (default); change the policy, or name another image"
    )
    assert _verdict(policy, "r.example/team/app:1") == (
        f"image r.example/team/app:1: {PATH} (images.r.example/team) wants images by digest; "
        "write r.example/team/app:1@sha256:... with the digest of the image that is meant"
    )


@pytest.mark.parametrize(
    ("default", "archives", "accepts"),
    [
        ("accept", None, True),
        ("accept", "reject", False),
        ("digest", None, False),
        ("reject", None, False),
        (SIGNED, None, False),
        (SIGNED, "accept", True),
    ],
)
def test_archives_are_accepted_where_everything_is_or_it_is_said(default: Any, archives: str, accepts: bool) -> None:
    assert _policy(default, archives).accepts_archives is accepts


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the document is not an object"),
        ({}, 'default is missing; it is "accept"'),
        ({"images": {}}, "default is missing"),
        ({"default": "accept", "image": {}}, "unknown key 'image' in the document; known there: default, archives, im"),
        ({"default": "allow"}, "default is 'allow'; it is \"accept\""),
        ({"default": None}, "default is None"),
        ({"default": "accept", "archives": "digest"}, "archives is 'digest'"),
        ({"default": "accept", "archives": SIGNED}, "archives is {"),
        ({"default": "accept", "images": []}, "images is not an object"),
        ({"default": "accept", "images": {"r.example": True}}, "images.r.example is True"),
        ({"default": {}}, "default.signed_by is not a list of public keys"),
        ({"default": {"signed_by": []}}, "default.signed_by is not a list of public keys"),
        ({"default": {"signed_by": "/key"}}, "default.signed_by is not a list of public keys"),
        ({"default": {"signed_by": [1]}}, "default.signed_by is not a list of public keys"),
        ({"default": {"signed_by": ["key.pub"]}}, "'key.pub' is neither an absolute path nor a key in PEM form"),
        ({"default": {**SIGNED, "signedBy": []}}, "unknown key 'signedBy' in default"),
        ({"default": {**SIGNED, "identity": "any"}}, "default.identity is not an object"),
        ({"default": {**SIGNED, "identity": {}}}, "default.identity is not understood"),
        ({"default": {**SIGNED, "identity": {"prefix": "r.example"}}}, "default.identity is not understood"),
        ({"default": {**SIGNED, "identity": {"repository": "r.example"}}}, "default.identity.repository is not the n"),
        ({"default": {**SIGNED, "identity": {"repository": 1}}}, "default.identity.repository is not the name"),
        ({"default": {**SIGNED, "identity": {"repo": "x"}}}, "unknown key 'repo' in default.identity"),
        *(
            ({"default": "accept", "images": {scope: "reject"}}, f"images.{scope} is not a prefix of images' names")
            for scope in (
                "",
                "debian",
                "library/debian",
                "https://r.example",
                "r.example/",
                "r.example/Team",
                "R.example",
                "r.example:443",
                "r.example/app:1",
                "r.example/app@" + DIGEST,
                "index.docker.io/library",
                "*",
                "*.",
                "r.*.example",
            )
        ),
        ({"default": "accept", "images": {"*.r.example/x": "reject"}}, "images.*.r.example/x: a wildcard stands for"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_policy(json.dumps(document).encode(), PATH)
    assert str(caught.value).startswith(f"read {PATH}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b'{"default":"accept","default":"reject"}', b"\xff", b"{}x"])
def test_what_is_not_json_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match=f"read {PATH}: "):
        parse_policy(data, PATH)


def _demand(identity: Any = "repository", keys: list[str] = KEYS) -> SignedBy:
    demand = _policy({"signed_by": keys, "identity": identity}).admit(parse_reference("debian"))
    assert demand is not None
    return demand


MOVED = {"prefix": "mirror.lan/team", "signed_prefix": "r.example/team"}
OTHER = {"repository": "r.example/team/app"}


@pytest.mark.parametrize(
    ("identity", "signed", "pulled", "accepts"),
    [
        ("repository", "r.example/team/app", "r.example/team/app:1", True),
        ("repository", "r.example/team/app:2", "r.example/team/app:1", True),
        ("repository", "r.example/team/app", f"r.example/team/app@{DIGEST}", True),
        ("repository", "index.docker.io/library/debian", "debian:12", True),
        ("repository", "r.example/team/app", "R.example:443/team/app", True),
        ("repository", "r.example/team/app2", "r.example/team/app", False),
        ("repository", "r.example/team", "r.example/team/app", False),
        ("repository", "other.example/team/app", "r.example/team/app", False),
        ("exact", "r.example/team/app:1", "r.example/team/app:1", True),
        ("exact", "r.example/team/app:2", "r.example/team/app:1", False),
        ("exact", "r.example/team/app", "r.example/team/app:1", False),
        ("exact", "r.example/team/app:2", f"r.example/team/app@{DIGEST}", True),
        ("exact", "r.example/team/other:1", f"r.example/team/app@{DIGEST}", False),
        (OTHER, "r.example/team/app", "mirror.lan/x:1", True),
        (OTHER, "r.example/team/app2", "r.example/team/app2", False),
        (MOVED, "r.example/team/app", "mirror.lan/team/app:1", True),
        (MOVED, "r.example/team/app", "mirror.lan/team/app2", False),
        (MOVED, "r.example/team/app", "mirror.lan/teams/app", False),
        (MOVED, "r.example/team/app", "r.example/team/app", False),
        (MOVED, "mirror.lan/team/app", "mirror.lan/team/app", False),
    ],
)
def test_a_signature_is_for_a_name(identity: Any, signed: str, pulled: str, accepts: bool) -> None:
    assert _demand(identity).accepts(parse_reference(signed), parse_reference(pulled)) is accepts


def test_keys_are_read_from_files_and_from_the_policy_itself(tmp_path: Path) -> None:
    one, other = KeyPair(str(tmp_path / "one")), KeyPair(str(tmp_path / "other"), "ed25519")
    assert [key.kind for key in load_keys(_demand(keys=[one.public, other.pem]))] == ["p256", "ed25519"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"signed_by\[1\]: no such file as /"),
        ("x", r"signed_by\[1\] \(/.*/bad.pub\): not one public key"),
        ("\udcff", r"signed_by\[1\] \(/.*/bad.pub\): not one public key"),
    ],
)
def test_a_key_that_cannot_be_read_refuses_all(tmp_path: Path, content: str | None, message: str) -> None:
    good, bad = KeyPair(str(tmp_path / "good")), tmp_path / "bad.pub"
    if content is not None:
        bad.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(HullError, match=f"{PATH}: default.{message}"):
        load_keys(_demand(keys=[good.public, str(bad)]))
