# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._image.reference import Reference, parse_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("host:5000/a/b/c", "host:5000/a/b/c:latest", "host:5000/a/b/c:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("127.0.0.1:5000/x:tag", "127.0.0.1:5000/x:tag", "127.0.0.1:5000/x:tag"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[::1]/x:1", "[::1]/x:1", "[::1]/x:1"),
        (
            "example.org/a__b/c.d/e---f:V_1.0-x",
            "example.org/a__b/c.d/e---f:V_1.0-x",
            "example.org/a__b/c.d/e---f:V_1.0-x",
        ),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian@{DIGEST}", f"debian:12@{DIGEST}"),
        (f"host:5000/x@sha512:{'0' * 128}", f"host:5000/x@sha512:{'0' * 128}", f"host:5000/x@sha512:{'0' * 128}"),
    ],
)
def test_names_are_completed_and_shortened(text: str, canonical: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert reference.canonical == canonical
    assert reference.familiar == familiar


def test_the_digest_decides_where_tag_and_digest_are_given() -> None:
    reference = parse_reference(f"debian:12@{DIGEST}")
    assert (reference.tag, reference.digest, reference.version) == ("12", DIGEST, DIGEST)


def test_a_digest_alone_implies_no_tag() -> None:
    assert parse_reference(f"debian@{DIGEST}").tag == ""


def test_another_default_registry_takes_names_without_one() -> None:
    assert parse_reference("app", default_domain="r.example:5000") == Reference("r.example:5000", "app", "latest")
    assert parse_reference("docker.io/app", default_domain="r.example").name == "docker.io/library/app"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "debian:",
        "Debian",
        "debian:.x",
        "debian:" + "x" * 129,
        "a//b",
        "/a",
        "a/",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a_",
        "a b",
        "a\nb",
        "../../etc/passwd",
        "https://host/x",
        "host:99999/x",
        "host:port/x",
        "-host.org/x",
        "user@host/x",
        "debian@sha256:abc",
        "debian@md5:" + "0" * 32,
        "debian@sha256:" + "AB" * 32,
        "debian@",
        "debian@sha256:../../../x",
        "[::1/x",
        "[]/x",
        "a" * 256,
        "ab" * 32,
        "ä/x",
    ],
)
def test_what_is_not_a_name_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_reference(text)
    assert repr(text[:300]) in str(caught.value)
