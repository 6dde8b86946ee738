# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, NotFound, Unsupported
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    choose_platform,
    parse_config,
    parse_manifest,
)
from ansible_collections.hull.engine.plugins.module_utils._image.platform import Platform, parse_platform

from tests.support.images import DOCKER, OCI, digest_of, make_image, make_index, platform_of

DIGEST = "sha256:" + "0" * 64
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def _document(types: dict[str, str] = OCI) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(make_image([{"a": b"1"}, {"b": b"2"}], types=types).manifest)
    return document


def _parse(document: Any, media_type: str = "") -> Manifest | Index:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_manifest(data, media_type, digest_of(data))


def _index(*platforms: str, **extra: Any) -> Index:
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(name.encode()),
            "size": 10,
            "platform": platform_of(name),
            **extra,
        }
        for name in platforms
    ]
    found = _parse(make_index(entries)[0])
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(("types", "media_type"), [(OCI, OCI_MANIFEST), (DOCKER, DOCKER_MANIFEST)])
def test_both_families_of_manifests_are_read(types: dict[str, str], media_type: str) -> None:
    image = make_image([{"a": b"1"}, {"b": b"2"}], types=types)
    found = parse_manifest(image.manifest, media_type + "; charset=utf-8", image.digest)
    assert isinstance(found, Manifest)
    assert found.media_type == media_type
    assert found.config.digest == image.id
    assert [layer.digest for layer in found.layers] == [digest_of(layer.blob) for layer in image.layers]
    assert found.text.encode() == image.manifest


@pytest.mark.parametrize(("types", "media_type"), [(OCI, OCI_INDEX), (DOCKER, DOCKER_LIST)])
def test_both_families_of_indexes_are_read(types: dict[str, str], media_type: str) -> None:
    image = make_image([], types=types)
    data, _ = make_index([image.descriptor(platform=platform_of("linux/arm/v6"))], types=types)
    found = parse_manifest(data, media_type, digest_of(data))
    assert isinstance(found, Index)
    assert found.media_type == media_type
    assert found.manifests[0].platform == Platform("linux", "arm", "v6")


@pytest.mark.parametrize("media_type", ["", "text/plain; charset=utf-8", "application/json"])
def test_a_generic_content_type_lets_the_document_decide(media_type: str) -> None:
    assert _parse(_document(), media_type).media_type == OCI_MANIFEST


def test_without_a_media_type_the_header_decides() -> None:
    document = _document(DOCKER)
    del document["mediaType"]
    assert _parse(document, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST


def test_null_is_like_absent() -> None:
    assert isinstance(_parse({**_document(), "manifests": None, "artifactType": None}), Manifest)


def _changed(**changes: Any) -> dict[str, Any]:
    return {**_document(), **changes}


def _with_layer(**changes: Any) -> dict[str, Any]:
    document = _document()
    document["layers"][0].update(changes)
    return document


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        (_document(), DOCKER_MANIFEST, "sent as .* but it says that it is"),
        (_document(), OCI_INDEX, "sent as .* but it says that it is"),
        (_changed(mediaType=OCI_INDEX), "", "does not fit its type"),
        (_changed(manifests=[]), "", "both manifests and layers"),
        ({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "config": {}}, "", "both manifests and layers"),
        ({"schemaVersion": 2}, "", "neither manifests and layers"),
        (_changed(schemaVersion=3), "", "schemaVersion is 3"),
        (_changed(layers={}), "", "layers is not a list"),
        (_changed(layers=[1]), "", "a descriptor is missing"),
        (_changed(layers=[_document()["layers"][0]] * 501), "", "501 layers, the limit is 500"),
        (_with_layer(size=-1), "", "no valid size"),
        (_with_layer(size=True), "", "no valid size"),
        (_with_layer(size="5"), "", "no valid size"),
        (_with_layer(digest="sha256:../../x"), "", "is not a sha256 or sha512 digest"),
        (_with_layer(digest="md5:" + "0" * 32), "", "is not a sha256 or sha512 digest"),
        (_with_layer(mediaType=None), "", "lacks its mediaType"),
        (b"[]", "", "not a JSON object"),
        (b"{", "", "read manifest"),
        (b"<html>", "", "not JSON"),
        (b'{"schemaVersion":2,"schemaVersion":2}', "", "duplicate key"),
        (b"\xff\xfe", "", "decode"),
        (b" " * (MAX_DOCUMENT + 1), "", "the limit is"),
    ],
)
def test_malformed_or_contradictory_documents_are_damaged(document: Any, media_type: str, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        _parse(document, media_type)


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        ({"schemaVersion": 1, "name": "x", "fsLayers": []}, "", "schema 1 is not supported"),
        (_document(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1 is not supported"),
        (_changed(artifactType="application/vnd.cncf.helm.chart"), "", "an artifact of type application/vnd.cncf.helm"),
        (
            _changed(config={"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": DIGEST, "size": 2}),
            "",
            "an artifact of type application/vnd.cncf.helm.config",
        ),
        (_with_layer(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "", "is foreign"),
        (_with_layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar"), "", "is foreign"),
        (_with_layer(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "", "is encrypted"),
        (_with_layer(mediaType="application/x-something"), "", "not supported"),
        (_changed(mediaType="application/vnd.example+json"), "", "is not an image"),
    ],
)
def test_what_is_no_image_we_can_run_is_told_apart(document: Any, media_type: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        _parse(document, media_type)


def test_the_best_variant_wins_wherever_it_stands() -> None:
    index = _index("linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64")
    assert choose_platform(index, parse_platform("linux/arm/v7")).digest == digest_of(b"linux/arm/v7")
    assert choose_platform(index, parse_platform("linux/arm/v6")).digest == digest_of(b"linux/arm/v6")


def test_the_first_of_equals_wins() -> None:
    index = _index("linux/arm64/v8", "linux/arm64")
    assert choose_platform(index, parse_platform("linux/arm64")).digest == digest_of(b"linux/arm64/v8")


def test_attestations_and_unknown_platforms_are_never_chosen() -> None:
    index = _index("unknown/unknown", "linux/amd64", annotations=ATTESTATION)
    with pytest.raises(NotFound):
        choose_platform(index, parse_platform("linux/amd64"))


def test_a_platform_that_is_not_there_is_named_with_those_on_offer() -> None:
    with pytest.raises(NotFound, match=r"choose platform linux/s390x .* it has linux/amd64, linux/arm/v7"):
        choose_platform(_index("linux/amd64", "linux/arm/v7", "unknown/unknown"), parse_platform("s390x"))


def _config(**changes: Any) -> bytes:
    document = json.loads(make_image([{"a": b"1"}, {"b": b"2"}], platform="linux/arm/v6").config)
    return json.dumps({**document, **changes}).encode()


def test_a_configuration_tells_platform_and_diff_ids() -> None:
    image = make_image([{"a": b"1"}, {"b": b"2"}], platform="linux/arm/v6")
    config = parse_config(image.config, image.id, layer_count=2)
    assert config.platform == Platform("linux", "arm", "v6")
    assert config.diff_ids == image.diff_ids
    assert config.text.encode() == image.config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_config(rootfs={"type": "layers", "diff_ids": [DIGEST]}), "1 diff IDs for 2 layers"),
        (_config(rootfs={"type": "zfs", "diff_ids": [DIGEST, DIGEST]}), "not of type layers"),
        (_config(rootfs={"type": "layers", "diff_ids": [DIGEST, "sha256:../x"]}), "not a sha256 or sha512 digest"),
        (_config(rootfs={"type": "layers", "diff_ids": [DIGEST, 5]}), "not a list of digests"),
        (_config(rootfs=None), "rootfs is missing"),
        (_config(os=5), "fields are not text"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_configuration_that_does_not_fit_is_damaged(data: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message):
        parse_config(data, DIGEST, layer_count=2)
