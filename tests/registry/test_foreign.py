# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Layers that do not come from the registry: foreign ones from outside, and what a document carries along."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    HullError,
    RegistryError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._base.values import replace
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import Resolved, pull, resolve
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistryConfig, RegistrySettings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database

from tests.support.faulty_registry import FaultyRegistry, cut, flip, replace_body, status
from tests.support.images import OCI, Image, as_json, digest_of, make_image, make_index, platform_of

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

PLATFORM = parse_platform("linux/amd64")
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
IMAGE = make_image([{"base": b"1" * 100_000}, {"top": b"2"}])
BASE = digest_of(IMAGE.layers[0].blob)
ASKED = RegistrySettings(foreign_layers=True)


class Store:
    """A state directory of its own, and the pull into it."""

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(f"{directory}/root", f"{directory}/run", f"{directory}/config")
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def pull(self, reference: str, settings: RegistrySettings = ASKED) -> str:
        return pull(self.paths, self.database, parse_reference(reference), PLATFORM, config=settings).id

    def content(self, image: Image, layer: int, name: str) -> bytes:
        """A file of an unpacked layer."""
        return Path(self.paths.layer(image.diff_ids[layer]), "fs", name).read_bytes()

    def assert_empty(self) -> None:
        assert self.database.images() == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.database.close()


def _resolve(reference: str) -> Resolved:
    return resolve(parse_reference(reference), PLATFORM, config=RegistrySettings())


def _changed(image: Image, manifest: dict[str, Any], without: str = "") -> Image:
    """The image with another manifest, and without one of its blobs."""
    blobs = {digest: data for digest, data in image.blobs.items() if digest != without}
    return Image(as_json(manifest), image.media_type, image.config, image.layers, blobs)


def _with_places(*urls: str, everywhere: bool = False) -> Image:
    """The image with its lowest layer foreign, at these places; the registry has it only with `everywhere`."""
    manifest = json.loads(IMAGE.manifest)
    manifest["layers"][0].update(mediaType=FOREIGN, urls=list(urls))
    return _changed(IMAGE, manifest, without="" if everywhere else BASE)


def _place(**options: Any) -> tuple[FaultyRegistry, str]:
    """A web server of another host that has the layer, and where."""
    server = FaultyRegistry("127.0.0.2", **options)
    server.add("any", "1", IMAGE)
    return server, f"{server.url}/v2/any/blobs/{BASE}"


def test_foreign_layers_are_not_fetched_unless_asked_for(store: Store) -> None:
    place, url = _place()
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_places(url))
    with place, server:
        for call in (_resolve, lambda name: store.pull(name, RegistrySettings())):
            with pytest.raises(Unsupported, match=f"layer {BASE} is foreign .*; set foreign_layers to true in regist"):
                call(reference)
        assert place.requests() == []
        assert not server.requests("/blobs/")


@root_only
def test_a_foreign_layer_comes_from_its_place_without_credentials(store: Store) -> None:
    place, url = _place()
    server = FaultyRegistry(need_basic=True, users={"ci": "pw"})
    reference = server.add("a", "1", _with_places(url))
    with place, server:
        assert store.pull(reference, ASKED.with_credentials("ci", "pw")) == IMAGE.id
        assert store.content(IMAGE, 0, "base") == b"1" * 100_000
        assert [request.path for request in place.requests()] == [url[len(place.url) :]]
        assert not [request for request in place.requests() if "authorization" in request.headers]
        assert not server.requests(BASE)


@root_only
def test_a_place_that_wants_credentials_gets_none_and_the_registry_is_the_last_resort(store: Store) -> None:
    place, url = _place(need_basic=True, users={"ci": "pw"})
    server = FaultyRegistry()
    urls = ("ftp://127.0.0.2/layer", "file:///etc/passwd", "http://169.254.169.254/x", "http://127.0.0.2:1/x", url)
    reference = server.add("a", "1", _with_places(*urls, everywhere=True))
    with place, server:
        assert store.pull(reference, ASKED.with_credentials("ci", "pw")) == IMAGE.id
        assert len(place.requests()) == 1
        assert not [request for request in place.requests() if "authorization" in request.headers]
        assert len(server.requests(BASE)) == 1


@root_only
def test_the_first_place_that_has_it_is_taken(store: Store) -> None:
    places = [_place() for _ in range(3)]
    places[0][0].fault("GET", "/blobs/", status(404))
    places[1][0].fault("GET", "/blobs/", replace_body(b"<html>log in first</html>"))
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_places(*(url for _, url in places)))
    with places[0][0], places[1][0], places[2][0], server:
        assert store.pull(reference) == IMAGE.id
        assert [len(place.requests()) for place, _ in places] == [1, 1, 1]


@root_only
def test_a_broken_transfer_goes_on_where_it_stopped(store: Store) -> None:
    noise = os.urandom(200_000)
    image = make_image([{"base": noise}, {"top": b"2"}])
    blob = digest_of(image.layers[0].blob)
    place = FaultyRegistry("127.0.0.2")
    place.add("any", "1", image)
    place.fault("GET", "/blobs/", cut(100_000), times=1)
    manifest = json.loads(image.manifest)
    manifest["layers"][0].update(mediaType=FOREIGN, urls=[f"{place.url}/v2/any/blobs/{blob}"])
    server = FaultyRegistry()
    reference = server.add("a", "1", _changed(image, manifest, without=blob))
    with place, server:
        assert store.pull(reference) == image.id
        assert store.content(image, 0, "base") == noise
        assert [request.headers.get("range") for request in place.requests()] == [None, "bytes=100000-"]


@root_only
def test_wrong_bytes_from_a_place_are_refused(store: Store) -> None:
    place, url = _place()
    place.fault("GET", "/blobs/", flip(50))
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_places(url))
    with place, server:
        with pytest.raises(Damaged, match=f"get foreign layer {BASE} from {url}: it has the digest"):
            store.pull(reference)
        store.assert_empty()


@root_only
@pytest.mark.parametrize("has_url", [True, False])
def test_a_layer_that_nobody_has_is_told_with_all_places(store: Store, has_url: bool) -> None:
    place, url = _place()
    place.fault("GET", "/blobs/", status(410))
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_places(url, "ftp://x/y") if has_url else _with_places())
    message = f"get {url}: it answers 410; .*ftp://x/y.* not an http or https URL; .*not found in the registry"
    with place, server:
        with pytest.raises(RegistryError if has_url else HullError, match=message if has_url else "not found"):
            store.pull(reference)
        store.assert_empty()


@root_only
def test_a_blocked_host_is_not_asked(store: Store) -> None:
    place, url = _place()
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_places(url, everywhere=True))
    blocked = replace(ASKED, registries=(RegistryConfig(prefix=place.host, blocked=True),))
    with place, server:
        assert store.pull(reference, blocked) == IMAGE.id
        assert place.requests() == []


def _embedded(descriptor: dict[str, Any], data: bytes) -> dict[str, Any]:
    return {**descriptor, "data": base64.b64encode(data).decode()}


@root_only
def test_what_a_document_carries_along_is_not_asked_for(store: Store) -> None:
    manifest = json.loads(IMAGE.manifest)
    manifest["config"] = _embedded(manifest["config"], IMAGE.config)
    manifest["layers"][1] = _embedded(manifest["layers"][1], IMAGE.layers[1].blob)
    image = _changed(IMAGE, manifest)
    entry = _embedded(image.descriptor(platform=platform_of("linux/amd64")), image.manifest)
    server = FaultyRegistry()
    server.add("a", "x", image)
    reference = server.add_manifest("a", "1", *make_index([entry]))
    with server:
        assert _resolve(reference).manifest.digest == image.digest
        assert len(server.requests()) == 1
        assert store.pull(reference) == IMAGE.id
        assert store.content(IMAGE, 1, "top") == b"2"
        assert [request.path.rpartition("/")[2] for request in server.requests()[1:]] == ["1", BASE]


def test_a_manifest_carried_along_must_be_what_the_index_says() -> None:
    entry = _embedded(IMAGE.descriptor(platform=platform_of("linux/amd64")), IMAGE.manifest)
    server = FaultyRegistry()
    wrong = {**entry, "mediaType": OCI["index"]}
    reference = server.add_manifest("a", "1", *make_index([wrong]))
    with server, pytest.raises(Damaged, match="sent as .*index.* but it says that it is .*manifest"):
        _resolve(reference)


@pytest.mark.parametrize("entry_says", ["linux/amd64", "linux/amd64/v1"])
def test_an_index_is_believed_where_the_image_says_another_platform(entry_says: str) -> None:
    image = make_image([{"a": b"1"}], platform="linux/arm64")
    server = FaultyRegistry()
    server.add("a", "x", image)
    reference = server.add_manifest("a", "1", *make_index([image.descriptor(platform=platform_of(entry_says))]))
    with server:
        found = _resolve(reference)
        assert found.config.digest == image.id
        assert found.warnings == (
            f"{reference} says that it is made for linux/arm64, its index offers it for another platform",
        )
