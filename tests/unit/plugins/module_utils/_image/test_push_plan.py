# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a push is planned to be: which blobs, which manifest, from records alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.manifest import OCI_LAYER, Descriptor
from ansible_collections.hull.engine.plugins.module_utils._image.push_plan import (
    Plan,
    docker_form,
    index_document,
    make_plan,
    platforms_of,
)
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.register import render_manifest
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import BlobRecord, ImageRecord

from tests.support.images import DOCKER, OCI, Image, Layer, as_json, digest_of, make_image, tar_of

TARGET = parse_reference("registry.example.org/team/app:1")
ENTRIES: list[dict[str, Any]] = [{"a": b"1"}, {"b": b"2"}]


class Records:
    """A database with nothing in it, and ways to put something there."""

    def __init__(self, place: Path) -> None:
        self.paths = Paths(f"{place}/root", f"{place}/run", f"{place}/etc")
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def image(self, image: Image, manifest: str = "") -> ImageRecord:
        text = manifest or image.manifest.decode()
        record = ImageRecord(image.id, image.config.decode(), text, digest_of(text.encode()), image.diff_ids, 1, 1)
        with self.database.transaction():
            self.database.put_image(record)
        return record

    def ours(self, image: Image) -> ImageRecord:
        """The image as import or commit record it."""
        layers = [Descriptor(OCI_LAYER, layer.diff_id, len(layer.tar)) for layer in image.layers]
        return self.image(image, render_manifest(image.id, len(image.config), layers))

    def blob(self, layer: Layer, digest: str, *places: str, media_type: str = OCI["gzip"]) -> None:
        with self.database.transaction():
            self.database.put_blob(BlobRecord(digest, layer.diff_id, media_type, 7))
            for place in places:
                self.database.put_blob_place(digest, place)

    def plan(self, record: ImageRecord) -> Plan:
        return make_plan(self.paths, self.database, record, TARGET)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path)
    yield made
    made.database.close()


def _digest(number: int) -> str:
    return f"sha256:{number:064x}"


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_an_image_that_came_with_a_manifest_keeps_its_text(records: Records, types: dict[str, str]) -> None:
    image = make_image(list(ENTRIES), types=types, annotations={"b": "2", "a": "1"}, subject={"digest": _digest(1)})
    plan = records.plan(records.image(image))
    document = plan.document(plan.known)
    assert document is not None
    assert (document.data, document.media_type, document.digest) == (image.manifest, types["manifest"], image.digest)


def test_uncompressed_layers_of_an_image_made_here_are_to_be_compressed(records: Records) -> None:
    plan = records.plan(records.ours(make_image(list(ENTRIES))))
    assert plan.is_ours and plan.known == {} and plan.document({}) is None
    assert [layer.blob for layer in plan.distinct] == [None, None]


def test_uncompressed_layers_that_came_from_a_registry_stay_so(records: Records) -> None:
    image = make_image([Layer(tar_of(entries), "plain") for entries in ENTRIES])
    record = records.ours(image)
    for layer in image.layers:
        records.blob(layer, layer.diff_id, "elsewhere.example.org/app", media_type=OCI["plain"])
    plan = records.plan(record)
    assert not plan.is_ours and len(plan.known) == 2


def test_of_the_known_forms_of_a_layer_the_nearest_is_taken(records: Records) -> None:
    image = make_image(list(ENTRIES))
    record, lower = records.ours(image), image.layers[0]
    records.blob(lower, _digest(1), "elsewhere.example.org/app")
    assert records.plan(record).known == {}, "out of reach"
    records.blob(lower, _digest(2), "elsewhere.example.org/app")
    os.makedirs(os.path.dirname(records.paths.blob(_digest(2))))
    Path(records.paths.blob(_digest(2))).write_bytes(b"kept")
    assert list(records.plan(record).known) == [_digest(2)]
    records.blob(lower, _digest(3), "registry.example.org/other/app")
    found = records.plan(record).distinct[0]
    assert found.subject == _digest(3) and found.sources == ("other/app",) and not found.is_exact
    records.blob(lower, _digest(4), "registry.example.org/team/app", media_type=DOCKER["zstd"])
    found = records.plan(record).distinct[0]
    assert found.blob is not None
    assert (found.blob.digest, found.blob.media_type, found.sources) == (_digest(4), OCI["zstd"], ())
    assert set(found.forms) == {_digest(number) for number in range(1, 5)}


def test_a_registry_whose_name_begins_alike_is_another_one(records: Records) -> None:
    image = make_image(list(ENTRIES))
    record = records.ours(image)
    records.blob(image.layers[0], _digest(1), "registry.example.org.evil/team/app")
    assert records.plan(record).known == {}


def test_another_blob_replaces_what_was_said_of_the_old_one(records: Records) -> None:
    image = make_image(list(ENTRIES), annotations={"kept": "yes"})
    value = json.loads(image.manifest)
    for entry in value["layers"]:
        entry["annotations"] = {"io.example.checksum": "of these bytes"}
    plan = records.plan(records.image(image, as_json(value).decode()))
    first, second = plan.distinct
    document = plan.document({**plan.known, second.subject: Descriptor(OCI["gzip"], _digest(9), 9)})
    assert document is not None and document.digest == digest_of(document.data)
    changed = json.loads(document.data)
    assert changed["layers"] == [value["layers"][0], {"mediaType": OCI["gzip"], "digest": _digest(9), "size": 9}]
    assert {**changed, "layers": None} == {**value, "layers": None}


def test_a_foreign_layer_has_no_part_in_it_and_keeps_its_urls(records: Records) -> None:
    image = make_image(list(ENTRIES), types=DOCKER)
    value = json.loads(image.manifest)
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    value["layers"][0].update(mediaType=kind, urls=["https://example.org/layer"])
    plan = records.plan(records.image(image, as_json(value).decode()))
    document = plan.document(plan.known)
    assert document is not None and document.data == as_json(value)
    assert [layer.subject for layer in plan.distinct] == [value["layers"][1]["digest"]]


def test_one_content_in_two_blobs_is_two_layers(records: Records) -> None:
    layer = Layer(tar_of(ENTRIES[0]))
    image = make_image([layer, Layer(layer.tar, "zstd"), layer])
    plan = records.plan(records.image(image))
    assert len(plan.layers) == 3 and len(plan.distinct) == 2


def test_dockers_form_of_a_manifest_changes_types_only(records: Records) -> None:
    layers = [Layer(tar_of(ENTRIES[0])), Layer(tar_of(ENTRIES[1]), "zstd"), Layer(tar_of({}), "plain")]
    image = make_image(list(layers), annotations={"a": "b"})
    plan = records.plan(records.image(image))
    document = plan.document(plan.known)
    assert document is not None
    form = docker_form(document)
    value, old = json.loads(form.data), json.loads(image.manifest)
    assert form.media_type == value["mediaType"] == DOCKER["manifest"]
    assert value["config"] == {**old["config"], "mediaType": DOCKER["config"]}
    kinds = [DOCKER["gzip"], DOCKER["zstd"], DOCKER["plain"]]
    assert value["layers"] == [{**entry, "mediaType": kind} for entry, kind in zip(old["layers"], kinds)]


def test_an_index_lists_platforms_in_the_order_given(records: Records) -> None:
    names = ["linux/arm64/v8", "linux/amd64"]
    plans = [records.plan(records.image(make_image(list(ENTRIES), platform=name))) for name in names]
    documents = [document for plan in plans if (document := plan.document(plan.known))]
    value = json.loads(index_document(platforms_of(plans), documents).data)
    assert value["mediaType"] == OCI["index"]
    assert [entry["platform"] for entry in value["manifests"]] == [
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
        {"architecture": "amd64", "os": "linux"},
    ]
    assert [entry["digest"] for entry in value["manifests"]] == [plan.manifest.digest for plan in plans]


def test_an_index_needs_the_platform_of_each_image_once(records: Records) -> None:
    plan = records.plan(records.image(make_image(list(ENTRIES))))
    with pytest.raises(Invalid, match="two images are for linux/amd64"):
        platforms_of([plan, plan])
    nameless = records.plan(records.image(make_image([{"c": b"3"}], platform="linux/")))
    with pytest.raises(Invalid, match="does not say its platform"):
        platforms_of([nameless])
