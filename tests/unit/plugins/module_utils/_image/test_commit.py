# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an image that is made of another one says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.commit import (
    NewLayer,
    Statement,
    derived_image,
    history_below,
)
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import (
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_LAYER,
    parse_config,
    parse_manifest,
)
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

from tests.support.images import DOCKER, OCI, File, make_image

LAYER = NewLayer("sha256:" + "a" * 64, 4096)
NEW = Statement({"Cmd": ["x"]}, "2026-01-01T00:00:00.000000000Z", "make", "Ann", "remark")


def record(types: dict[str, str] = OCI, **document: Any) -> ImageRecord:
    image = make_image([{"a": b"1"}, {"b": File(b"2")}], types=types, config={"Env": ["A=1"]})
    config = {**json.loads(image.config), **document}
    text = json.dumps(config)
    return ImageRecord(image.id, text, image.manifest.decode(), image.digest, image.diff_ids, 0, 0)


def entry(**fields: Any) -> dict[str, Any]:
    return {"created": "2023-11-14T22:13:20Z", **fields}


@pytest.mark.parametrize(("types", "media_type"), [(OCI, OCI_LAYER), (DOCKER, DOCKER_LAYER)], ids=["OCI", "Docker"])
def test_a_new_layer_is_added_in_the_form_of_the_base(types: dict[str, str], media_type: str) -> None:
    base = record(types, container="abc", container_config={"Cmd": ["old"]}, docker_version="20")
    image = derived_image(base, 2, LAYER, NEW, ("docker.io/library/x:1",))
    manifest: Any = parse_manifest(image.manifest.encode(), "", image.manifest_digest)
    below = json.loads(base.manifest)["layers"]
    assert [layer.digest for layer in manifest.layers] == [*(layer["digest"] for layer in below), LAYER.diff_id]
    assert manifest.layers[-1].media_type == media_type and (manifest.media_type == DOCKER_MANIFEST) == (
        types is DOCKER
    )
    config = parse_config(image.config.encode(), image.id, layer_count=3)
    assert config.diff_ids == image.layers == (*base.layers, LAYER.diff_id)
    document = json.loads(image.config)
    assert set(document) == {"created", "author", "architecture", "os", "config", "rootfs", "history"}
    last = {"created": NEW.created, "created_by": "make", "author": "Ann", "comment": "remark"}
    assert document["history"][-1] == last and document["config"] == {"Cmd": ["x"]}


def test_without_a_layer_the_history_says_that_it_is_empty() -> None:
    base = record()
    image = derived_image(base, 2, None, NEW)
    assert image.layers == base.layers and json.loads(image.config)["history"][-1]["empty_layer"] is True


@pytest.mark.parametrize(
    ("history", "keep", "expected"),
    [
        ([entry(n=1), entry(n=2)], 2, [1, 2]),
        ([entry(n=1), entry(n=2)], 1, [1]),
        ([entry(n=1), entry(n=2)], 0, []),
        ([entry(n=0, empty_layer=True), entry(n=1), entry(n=2), entry(n=3, empty_layer=True)], 2, [0, 1, 2, 3]),
        ([entry(n=0, empty_layer=True), entry(n=1), entry(n=3, empty_layer=True), entry(n=2)], 1, [0, 1, 3]),
        ([], 2, [None, None]),
        ([entry(n=2)], 2, [None, 2]),
    ],
)
def test_the_history_of_the_layers_that_stay(history: list[Any], keep: int, expected: list[Any]) -> None:
    document = {"created": "2023-11-14T22:13:20Z", "history": history, "rootfs": {"diff_ids": ["a", "b"]}}
    assert [found.get("n") for found in history_below(document, keep)] == expected
