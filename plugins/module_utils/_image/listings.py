# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a registry has: tags, repositories, referrers, results of a search; and taking a manifest away.

What a registry lists is anyone's text: sizes and numbers are limited, types checked; who prints it makes it harmless.

Source: OCI distribution specification 1.1, "Listing Tags", "Listing Referrers", "Deleting Manifests"; Docker Registry
HTTP API V2, "Catalog"; Docker Hub's search, GET /v1/search.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.digests import check_digest
from .._base.errors import Damaged, Denied, NotFound, RegistryError, Unsupported
from .._base.values import Value
from .manifest import MAX_DOCUMENT, OCI_INDEX, Descriptor, Index, parse_manifest
from .reference import HUB
from .urls import Url, join_url, parse_url, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .registry import Registry

_PAGE = 1000
_MAX_PAGES = 2000
_MAX_LIST = 64 * 1024 * 1024  # bytes of all pages together
_HUB_SEARCH = "https://index.docker.io"
_NO_SEARCH = frozenset((400, 401, 403, 404, 405, 501))


class Hit(Value):
    """A repository that a search found. `name` is what to pull, without the registry."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False


def list_tags(registry: Registry, repository: str) -> list[str]:
    """See `Registry.tags`."""
    what = f"tags of {registry.domain}/{repository}"
    pages = _pages(registry, repository, f"tags/list?n={_PAGE}", what)
    return [tag for page in pages for tag in _texts(page, "tags", what)]


def list_repositories(registry: Registry) -> list[str]:
    """See `Registry.catalog`."""
    what = f"repositories of {registry.domain}"
    pages = _pages(registry, "", f"_catalog?n={_PAGE}", what, scopes=("registry:catalog:*",))
    try:
        return [name for page in pages for name in _texts(page, "repositories", what)]
    except NotFound as error:
        raise Unsupported(
            f"{what}: the registry does not list them", hint="ask for the tags of a repository that you know"
        ) from error


def list_referrers(registry: Registry, repository: str, digest: str, artifact_type: str) -> list[Descriptor]:
    """See `Registry.referrers`. A registry that does not know referrers keeps them in an index under a tag."""
    what = f"referrers of {registry.domain}/{repository}@{check_digest(digest)}"
    query = f"?artifactType={quote(artifact_type)}" if artifact_type else ""
    try:
        pages = list(_answers(registry, repository, f"referrers/{digest}{query}", what))
    except NotFound:
        pages = _tagged_referrers(registry, repository, digest)
    found: list[Descriptor] = []
    for data in pages:
        index = parse_manifest(data, OCI_INDEX, f"that lists {what}")
        found += index.manifests if isinstance(index, Index) else ()
    return [entry for entry in found if artifact_type in ("", entry.artifact_type)]


def _tagged_referrers(registry: Registry, repository: str, digest: str) -> list[bytes]:
    try:
        return [registry.manifest(repository, digest.replace(":", "-", 1)).data]
    except NotFound:
        return []


def delete_manifest(registry: Registry, repository: str, version: str) -> None:
    """See `Registry.delete_manifest`."""
    name = f"image {registry.domain}/{repository}{'@' if ':' in version else ':'}{version}"
    response = registry.request("DELETE", repository, f"manifests/{version}", {}, actions=("delete", "pull"))
    if response.status in (200, 202):
        response.close()
        return
    error = registry.refused(name, response)
    if isinstance(error, RegistryError) and error.status in (400, 405):
        hint = "allow deleting in the registry's configuration"
        if ":" not in version:
            hint += "; many registries delete by digest only, and with the manifest all its tags"
        raise Unsupported(f"delete {name}: the registry does not do that", hint=hint) from error
    raise error


def search(registry: Registry, term: str, limit: int) -> list[Hit]:
    """Repositories that a term finds, at most `limit`: by the registry's search, else by the list of all it has.

    Raises Unsupported where it has neither, RegistryError.
    """
    base = parse_url(_HUB_SEARCH) if registry.domain == HUB else registry.home
    url = Url(*base.origin, f"/v1/search?q={quote(term)}&n={limit}")
    response = registry.request("GET", "", url, {})
    if response.status == 200:
        what = f"search at {registry.domain}"
        return _hits(_document(response.read_all(MAX_DOCUMENT, what), what), what)[:limit]
    if response.status not in _NO_SEARCH:
        raise registry.refused(f"search at {registry.domain}", response)
    response.close()
    try:
        names = registry.catalog()
    except (Unsupported, Denied, RegistryError) as error:
        raise Unsupported(
            f"search at {registry.domain}: the registry has no search and does not list its repositories",
            hint="ask for the tags of a repository that you know: hull tags NAME",
        ) from error
    return [Hit(name) for name in names if term.lower() in name.lower()][:limit]


def _hits(document: dict[str, Any], what: str) -> list[Hit]:
    results = document.get("results")
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        raise Damaged(f"read {what}: results is not a list of objects")
    return [
        Hit(
            str(entry.get("name") or ""),
            str(entry.get("description") or ""),
            stars if isinstance(stars := entry.get("star_count"), int) else 0,
            entry.get("is_official") is True,
        )
        for entry in results
    ]


def _pages(
    registry: Registry, repository: str, path: str, what: str, *, scopes: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    for data in _answers(registry, repository, path, what, scopes=scopes):
        yield _document(data, what)


def _answers(
    registry: Registry, repository: str, path: str, what: str, *, scopes: tuple[str, ...] = ()
) -> Iterator[bytes]:
    """The pages of a list: the next one is where the Link header says, which must be at the same registry."""
    place: str | Url = path
    seen: set[str] = set()
    size = 0
    while True:
        response = registry.request("GET", repository, place, {}, extra_scopes=scopes)
        if response.status != 200:
            raise registry.refused(what, response)
        data = response.read_all(MAX_DOCUMENT, what)
        size += len(data)
        if size > _MAX_LIST:
            raise RegistryError(f"list {what}: over {_MAX_LIST} bytes")
        yield data
        link = next_link(response.head.all("link"))
        if not link:
            return
        url = join_url(response.url, link)
        if url.origin != registry.home.origin or url.target in seen or len(seen) > _MAX_PAGES:
            raise RegistryError(f"list {what}: the link to the next page leads to {url.shown}, in a circle or astray")
        seen.add(url.target)
        place = url


def next_link(headers: list[str]) -> str:
    """The target of the Link header with rel="next"; empty where there is none. Source: RFC 8288 section 3."""
    for header in headers:
        for link in header.split("<")[1:]:
            target, _, parameters = link.partition(">")
            names = [part.strip(" ,").lower().replace(" ", "") for part in parameters.split(";")]
            if "rel=next" in names or 'rel="next"' in names:
                return target
    return ""


def _document(data: bytes, what: str) -> dict[str, Any]:
    document = parse(data, source=what)
    if not isinstance(document, dict):
        raise Damaged(f"read {what}: not a JSON object")
    return document


def _texts(document: dict[str, Any], key: str, what: str) -> list[str]:
    """A list of text; null, which some registries send for none, is empty."""
    found = document.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise Damaged(f"read {what}: {key} is not a list of text")
    return found
