# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import base64
import hashlib
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
    parse_artifact,
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


def _embedded(content: bytes, algorithm: str = "sha256") -> dict[str, Any]:
    """Size, digest and data of a descriptor that carries its content along."""
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    return {"size": len(content), "digest": digest, "data": base64.b64encode(content).decode()}


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
        (_with_layer(size=1 << 63), "", "no valid size"),
        (_with_layer(size=True), "", "no valid size"),
        (_with_layer(size="5"), "", "no valid size"),
        (_with_layer(digest="sha256:../../x"), "", "is not a sha256 or sha512 digest"),
        (_with_layer(digest="md5:" + "0" * 32), "", "is not a sha256 or sha512 digest"),
        (_with_layer(digest="blake3:" + "0" * 64), "", "is not a sha256 or sha512 digest"),
        (_with_layer(digest="sha256:" + "A" * 64), "", "is not a sha256 or sha512 digest"),
        (_with_layer(mediaType=None), "", "lacks its mediaType"),
        (_with_layer(urls="https://example.org"), "", "urls is not a list of text"),
        (_with_layer(urls=[5]), "", "urls is not a list of text"),
        (_with_layer(urls=["https://example.org"] * 11), "", "11 urls, the limit is 10"),
        (_with_layer(data=5), "", "is not base64"),
        (_with_layer(data="AAAA\n"), "", "is not base64"),
        (_with_layer(data="AAA"), "", "is not base64"),
        (_with_layer(data="AB=="), "", "is not base64"),
        (_with_layer(data="AAAA"), "", "another size or digest"),
        (_with_layer(**{**_embedded(b"x"), "size": 2}), "", "another size or digest"),
        (_with_layer(**{**_embedded(b"x"), "digest": digest_of(b"y")}), "", "another size or digest"),
        (_changed(mediaType=5), "", "mediaType is not text"),
        (_changed(config=None), "", "config: a descriptor is missing"),
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
        (_with_layer(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "", "is encrypted"),
        (_with_layer(mediaType="application/x-something"), "", "not supported"),
        (_changed(mediaType="application/vnd.example+json"), "", "is not an image"),
    ],
)
def test_what_is_no_image_we_can_run_is_told_apart(document: Any, media_type: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        _parse(document, media_type)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256))])
def test_embedded_content_is_checked_and_kept(content: bytes, algorithm: str) -> None:
    found = _parse(_with_layer(**_embedded(content, algorithm)))
    assert isinstance(found, Manifest)
    assert found.layers[0].data == content
    assert found.layers[1].data is None


@pytest.mark.parametrize(
    ("media_type", "is_foreign"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", True),
        (OCI["zstd"], False),
        (DOCKER["plain"], False),
    ],
)
def test_foreign_layers_are_known_with_the_places_where_they_are(media_type: str, is_foreign: bool) -> None:
    urls = ["https://example.org/layer", "ftp://example.org/layer"]
    found = _parse(_with_layer(mediaType=media_type, urls=urls))
    assert isinstance(found, Manifest)
    assert [layer.is_foreign for layer in found.layers] == [is_foreign, False]
    assert found.layers[0].urls == tuple(urls)


def test_annotations_are_kept_where_they_are_text() -> None:
    found = _parse(_with_layer(annotations={"a": "1", "b": 2, "c": "3"}))
    assert isinstance(found, Manifest)
    assert [found.layers[0].annotation(name) for name in "abcd"] == ["1", "", "3", ""]


@pytest.mark.parametrize("field", ["urls", "annotations", "platform", "data", "artifactType"])
def test_null_in_a_descriptor_is_like_absent(field: str) -> None:
    assert _parse(_with_layer(**{field: None})).digest


def test_an_artifact_is_read_where_one_is_wanted() -> None:
    document = _changed(config={"mediaType": "application/vnd.oci.empty.v1+json", "digest": DIGEST, "size": 2})
    document["layers"][0]["mediaType"] = "application/vnd.example.thing"
    data = json.dumps(document).encode()
    assert parse_artifact(data, OCI_MANIFEST, digest_of(data)).layers[0].media_type == "application/vnd.example.thing"
    index, kind = make_index([])
    with pytest.raises(Damaged, match="an index .*, not a manifest"):
        parse_artifact(index, kind, digest_of(index))
    with pytest.raises(Damaged, match="sent as"):
        parse_artifact(data, DOCKER_MANIFEST, digest_of(data))


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


def test_artifacts_of_an_index_are_never_chosen() -> None:
    with pytest.raises(NotFound):
        choose_platform(_index("linux/amd64", artifactType="application/vnd.example"), parse_platform("linux/amd64"))


def test_an_entry_without_a_platform_comes_after_those_that_suit() -> None:
    data = json.loads(_index("linux/arm64", "linux/amd64").text)
    del data["manifests"][0]["platform"]
    index = _parse(data)
    assert isinstance(index, Index)
    assert choose_platform(index, parse_platform("linux/amd64")).digest == digest_of(b"linux/amd64")
    assert choose_platform(index, parse_platform("linux/s390x")).digest == digest_of(b"linux/arm64")


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
    "changes",
    [
        {"history": None},
        {"history": [{"empty_layer": True}] * 9},
        {"config": None, "variant": None},
        {"x.vendor": {"any": ["thing"]}},
        {"rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]}},
    ],
)
def test_what_storing_does_not_need_is_not_judged(changes: dict[str, Any]) -> None:
    assert len(parse_config(_config(**changes), DIGEST, layer_count=2).diff_ids) == 2


def test_diff_ids_by_sha512_are_told_apart_from_damage() -> None:
    data = _config(rootfs={"type": "layers", "diff_ids": [DIGEST, "sha512:" + "0" * 128]})
    with pytest.raises(Unsupported, match=r"diff ID sha512:0+\.\.\. is not a sha256 digest"):
        parse_config(data, DIGEST, layer_count=2)


def test_a_configuration_without_layers_may_say_null() -> None:
    data = _config(rootfs={"type": "layers", "diff_ids": None})
    assert parse_config(data, DIGEST, layer_count=0).diff_ids == ()


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
