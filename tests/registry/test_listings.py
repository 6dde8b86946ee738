# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What registries list: tags, repositories, referrers, results of a search; and what they delete."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    HullError,
    NotFound,
    RegistryError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._image import listings
from ansible_collections.hull.engine.plugins.module_utils._image.listings import Hit, search
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistryConfig

from tests.support.faulty_registry import FaultyRegistry, status
from tests.support.images import DOCKER, OCI, make_image
from tests.support.registry import RunningRegistry

IMAGE = make_image([{"a": b"1"}], types=DOCKER)
SIGNATURE = "application/vnd.example.signature"


def _client(server: FaultyRegistry | RunningRegistry) -> Registry:
    return Registry(server.host, RegistryConfig())


def test_tags_and_repositories_of_a_real_registry(registry: RunningRegistry) -> None:
    for tag in ("2", "1", "latest"):
        registry.push("listings/app", tag, IMAGE)
    with _client(registry) as client:
        assert sorted(client.tags("listings/app")) == ["1", "2", "latest"]
        assert "listings/app" in client.catalog()
        with pytest.raises(NotFound, match=f"tags of {registry.host}/listings/none: not found in the registry"):
            client.tags("listings/none")


def test_deleting_goes_by_digest_at_a_real_registry(registry: RunningRegistry) -> None:
    registry.push("listings/gone", "1", IMAGE)
    with _client(registry) as client:
        with pytest.raises(Unsupported, match="delete image .*:1: the registry does not do that; .* by digest only"):
            client.delete_manifest("listings/gone", "1")
        client.delete_manifest("listings/gone", IMAGE.digest)
        for version in ("1", IMAGE.digest):
            with pytest.raises(NotFound):
                client.manifest("listings/gone", version)
        with pytest.raises(NotFound):
            client.delete_manifest("listings/gone", IMAGE.digest)


@pytest.mark.parametrize("absolute", [True, False])
def test_lists_are_read_page_by_page(absolute: bool) -> None:
    server = FaultyRegistry()
    base = server.url if absolute else ""
    server.add_page("/v2/a/tags/list?n=1000", {"tags": ["1", "2"]}, Link=f'<{base}/v2/a/tags/list?last=2>; rel="next"')
    server.add_page("/v2/a/tags/list?last=2", {"tags": ["3"]}, Link='<x>; rel="prev", <list?last=3>; rel=next')
    server.add_page("/v2/a/tags/list?last=3", {"tags": None})
    with server:
        assert _client(server).tags("a") == ["1", "2", "3"]


@pytest.mark.parametrize("link", ["/v2/a/tags/list?n=1000", "/v2/a/tags/list?last=1", "http://127.0.0.2:1/x"])
def test_links_in_a_circle_or_to_another_host_end(link: str) -> None:
    server = FaultyRegistry()
    for page in ("n=1000", "last=1"):
        server.add_page(f"/v2/a/tags/list?{page}", {"tags": ["1"]}, Link=f'<{link}>; rel="next"')
    with server, pytest.raises(RegistryError, match="the link to the next page leads to .* in a circle or astray"):
        _client(server).tags("a")


def test_a_list_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_MAX_LIST", 100_000)
    server = FaultyRegistry()
    server.add_page("/v2/a/tags/list?n=1000", {"tags": ["1" * 60_000]}, Link='<list?last=0>; rel="next"')
    for page in range(3):
        link = f'<list?last={page + 1}>; rel="next"' if page < 2 else ""
        server.add_page(f"/v2/a/tags/list?last={page}", {"tags": ["1" * 60_000]}, Link=link)
    with server, pytest.raises(RegistryError, match="over 100000 bytes"):
        _client(server).tags("a")


@pytest.mark.parametrize("document", [{"tags": "x"}, {"tags": [1]}, ["1"]])
def test_a_malformed_list_is_damaged(document: Any) -> None:
    server = FaultyRegistry()
    server.add_page("/v2/a/tags/list?n=1000", document)
    with server, pytest.raises(Damaged, match=f"read tags of {server.host}/a: "):
        _client(server).tags("a")


def _referrer(kind: str) -> dict[str, Any]:
    return {
        "mediaType": OCI["manifest"],
        "digest": IMAGE.digest,
        "size": 5,
        "artifactType": kind,
        "annotations": {"made": "today"},
    }


def _referrers(*kinds: str) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": [_referrer(kind) for kind in kinds]}


def test_referrers_are_listed_and_filtered() -> None:
    server = FaultyRegistry()
    server.add_page(f"/v2/a/referrers/{IMAGE.digest}", _referrers(SIGNATURE, "other/x"), Content_Type=OCI["index"])
    query = "?artifactType=application%2Fvnd.example.signature"
    server.add_page(f"/v2/a/referrers/{IMAGE.digest}{query}", _referrers(SIGNATURE, "other/x"))
    with server:
        found = _client(server).referrers("a", IMAGE.digest)
        assert [(entry.artifact_type, entry.annotation("made")) for entry in found] == [
            (SIGNATURE, "today"),
            ("other/x", "today"),
        ]
        assert [entry.artifact_type for entry in _client(server).referrers("a", IMAGE.digest, SIGNATURE)] == [SIGNATURE]


def test_referrers_of_a_registry_that_does_not_know_them_are_under_a_tag() -> None:
    server = FaultyRegistry()
    data = json.dumps(_referrers(SIGNATURE)).encode()
    server.add_manifest("a", IMAGE.digest.replace(":", "-"), data, OCI["index"])
    with server:
        assert [entry.artifact_type for entry in _client(server).referrers("a", IMAGE.digest)] == [SIGNATURE]
        assert _client(server).referrers("b", IMAGE.digest) == []


def test_a_registry_with_a_search_is_searched() -> None:
    server = FaultyRegistry()
    results = [
        {"name": "library/web", "description": "a web\n server", "star_count": 5, "is_official": True},
        {"name": "me/web", "star_count": None},
    ]
    server.add_page("/v1/search?q=we%20b&n=25", {"num_results": 2, "results": results})
    with server:
        assert search(_client(server), "we b", 25) == [
            Hit("library/web", "a web\n server", 5, True),
            Hit("me/web", "", 0, False),
        ]


def test_a_registry_without_a_search_has_its_catalog_filtered(registry: RunningRegistry) -> None:
    for name in ("search/web", "search/other"):
        registry.push(name, "1", IMAGE)
    with _client(registry) as client:
        assert search(client, "H/WE", 25) == [Hit("search/web")]


def test_a_registry_that_tells_nothing_says_so() -> None:
    server = FaultyRegistry()
    with (
        server,
        pytest.raises(Unsupported, match="has no search and does not list its repositories; .* hull tags NAME"),
    ):
        search(_client(server), "x", 25)


@pytest.mark.parametrize(
    ("code", "kind"), [(401, HullError), (403, HullError), (405, Unsupported), (400, Unsupported), (500, RegistryError)]
)
def test_a_refused_deletion_is_told(code: int, kind: type[HullError]) -> None:
    server = FaultyRegistry(uploads=True)
    server.add("a", "1", IMAGE)
    server.fault("DELETE", "/manifests/", status(code))
    with server, pytest.raises(kind, match=f"image {server.host}/a@{IMAGE.digest}: "):
        _client(server).delete_manifest("a", IMAGE.digest)
