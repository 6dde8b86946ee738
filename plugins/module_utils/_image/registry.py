# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One registry: documents by tag or digest, checked, blobs (`blobs.py`), and requests of all other kinds.

Nothing is stored here. Authentication is loaded when a registry asks for it, mirrors (`mirrors.py`) where there are
any, lists (`listings.py`) by who wants them.

Source: OCI distribution specification 1.1, "Pull".
"""

from __future__ import annotations

import time

from .._base.digests import check_digest, is_digest
from .._base.errors import Damaged, Denied, HullError, RegistryError
from .._base.values import Value
from .http import ATTEMPTS, Client, check_redirect, pause_s
from .manifest import ACCEPTED, MAX_DOCUMENT
from .proxies import is_loopback
from .reference import HUB, normal_name
from .urls import Url, join_url, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from .auth import Authenticator
    from .blobs import Blob
    from .connections import Head, RequestBody
    from .http import Response
    from .manifest import Descriptor
    from .reference import Reference
    from .settings import Credentials, RegistryConfig, RegistrySettings

_HUB_HOST = "registry-1.docker.io"
_PIECE = 256 * 1024
_LOGINS = 2  # after a first refusal, and after one that asks for further scopes


class Document(Value):
    """A manifest or index: its exact bytes, what the registry says it is, and the digest that the bytes match."""

    data: bytes
    media_type: str
    digest: str


def open_registry(reference: Reference, settings: RegistrySettings) -> Registry:
    """The registry of a reference, with its settings and mirrors, and the credentials from there or from files.

    Raises Denied where the settings block it.
    """
    config = settings.config_for(reference.name)
    for entry in (config, settings.config_for(normal_name(reference.name))):
        if entry.blocked:
            raise Denied(
                f"image {reference.familiar}: what begins with {entry.prefix} is blocked",
                hint=f"set blocked to false in {settings.source} to allow it",
            )
    name = config.locate(reference.name)
    if config.mirrors:
        from .mirrors import MirroredRegistry, open_mirrors

        mirrors = open_mirrors(reference.name, config, settings)
        return MirroredRegistry(reference.domain, config, mirrors, credentials_of(name, settings))
    return Registry(reference.domain, config, find=credentials_of(name, settings))


def credentials_of(name: str, settings: RegistrySettings) -> Callable[[], Credentials | None]:
    """How to look for the credentials that files and helpers have for `domain/path`."""

    def find() -> Credentials | None:
        from .credentials import find_credentials

        return find_credentials(name, own_file=settings.auth_file)

    return find


class Registry:
    """A registry under one domain. Keeps connections and tokens; no request is made before it is needed.

    A context manager that closes the connections.
    """

    def __init__(
        self,
        domain: str,
        config: RegistryConfig,
        *,
        credentials: Credentials | None = None,
        find: Callable[[], Credentials | None] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`find` gives credentials where none are here, once the registry asks for some."""
        self.domain = domain
        self.warnings: list[str] = []  # what the registry wants people to know, each text once
        self._config = config
        self._credentials = credentials or config.credentials
        self._find = find
        host = config.locate(domain + "/").partition("/")[0] if config.location else domain
        self._home = home_url(host, config)
        self._client = Client(config, self._home, environ, domain=host)
        self._auth: Authenticator | None = None  # until the registry asks

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.forget_connections()

    def forget_connections(self) -> None:
        """Drop idle connections; before a fork, so that no two processes share one."""
        self._client.forget_connections()

    def head(self, repository: str, version: str) -> str:
        """The digest that a tag has now, by one HEAD request where the registry knows how to answer it.

        Raises NotFound, Denied, RegistryError.
        """
        response = self.request("HEAD", repository, f"manifests/{version}", {"Accept": ", ".join(ACCEPTED)})
        digest = response.head.get("docker-content-digest")
        response.close()
        if response.status == 200 and is_digest(digest):
            return digest
        if response.status in (200, 405):
            return self.manifest(repository, version).digest
        raise self.refused(self._name(repository, version), response)

    def manifest(self, repository: str, version: str) -> Document:
        """The document that a tag or digest names, checked against the digest.

        Raises NotFound, Denied, RegistryError; Damaged where it is too large or its bytes have another digest.
        """
        name = self._name(repository, version)
        response, data = self._fetch(repository, f"manifests/{version}", name, {"Accept": ", ".join(ACCEPTED)})
        announced = response.head.get("docker-content-digest")
        expected = version if is_digest(version) else announced if is_digest(announced) else ""
        digest = _digest_of(data, expected.partition(":")[0] or "sha256")
        if expected and digest != expected:
            raise Damaged(
                f"get {name}: the registry sent bytes with digest {digest} for {expected}",
                hint="something between this host and the registry changes data, or the registry is damaged",
            )
        return Document(data, response.head.get("content-type"), digest)

    def small_blob(self, repository: str, descriptor: Descriptor) -> bytes:
        """A whole blob of at most 4 MiB, such as an image configuration. Raises as `blob` and its `read` do."""
        if descriptor.size > MAX_DOCUMENT:
            raise Damaged(f"get {descriptor.digest}: {descriptor.size} bytes, the limit is {MAX_DOCUMENT}")
        pieces = []
        with self.blob(repository, descriptor) as stream:
            while data := stream.read(_PIECE):
                pieces.append(data)
        return b"".join(pieces)

    def blob(self, repository: str, descriptor: Descriptor) -> Blob:
        """A stream of the blob's bytes; nothing is requested before the first read. Close it."""
        from .blobs import Blob

        check_digest(descriptor.digest)
        return Blob(self, repository, descriptor)

    def open_blob(self, repository: str, digest: str, offset: int) -> Response:
        """The answer to a request for a blob from `offset` on: 200 the whole, 206 the rest, 416 no such range."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self.request("GET", repository, f"blobs/{digest}", headers)
        if response.status not in (200, 206, 416) or (response.status != 200 and not offset):
            raise self.refused(f"{self.domain}/{repository}, blob {digest}", response, "push the image again")
        return response

    def note_fault(self) -> None:
        """A blob's transfer broke off. Where there is a choice, the next one comes from elsewhere."""

    @property
    def serving(self) -> str:
        """Who gave the last answer, for messages."""
        return self.domain

    @property
    def auth_scheme(self) -> str:
        """How the registry wanted to know who we are: `bearer`, `basic`, or empty where it did not ask."""
        return self._auth.scheme if self._auth else ""

    @property
    def home(self) -> Url:
        """Where the registry is, the path empty."""
        return self._home

    def ping(self) -> Head:
        """Ask the registry's root, logging in where it wants that; the head of its answer.

        Raises Denied where it does not let us in, RegistryError where it is no registry.
        """
        response = self.request("GET", "", "", {})
        if response.status != 200:
            raise self.refused(f"registry {self.domain}", response, "check the registry's name and port")
        response.close()
        return response.head

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository, as the registry orders them. Raises NotFound, Denied, RegistryError, Damaged."""
        from .listings import list_tags

        return list_tags(self, repository)

    def catalog(self) -> list[str]:
        """All repositories. Raises Denied or Unsupported where the registry does not tell that, as many do."""
        from .listings import list_repositories

        return list_repositories(self)

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """What refers to a manifest, such as signatures; of one type where that is given. Raises as `tags`."""
        from .listings import list_referrers

        return list_referrers(self, repository, digest, artifact_type)

    def delete_manifest(self, repository: str, version: str) -> None:
        """Delete a manifest by its digest, or a tag. Raises NotFound, Denied, Unsupported where that is off."""
        from .listings import delete_manifest

        delete_manifest(self, repository, version)

    def _name(self, repository: str, version: str) -> str:
        return f"image {self.domain}/{repository}{'@' if ':' in version else ':'}{version}"

    def _fetch(self, repository: str, path: str, name: str, headers: dict[str, str]) -> tuple[Response, bytes]:
        """A document's answer and body; a body that breaks off is fetched anew."""
        for attempt in range(ATTEMPTS):
            response = self.request("GET", repository, path, headers)
            if response.status != 200:
                raise self.refused(name, response)
            try:
                return response, response.read_all(MAX_DOCUMENT, name)
            except OSError as error:
                response.close()
                if attempt == ATTEMPTS - 1:
                    from .failures import broken

                    raise broken("GET", response.url, error, attempt + 1) from error
                time.sleep(pause_s(attempt))
        raise AssertionError("unreachable")

    def request(
        self,
        method: str,
        repository: str,
        path: str | Url,
        headers: dict[str, str],
        *,
        body: RequestBody = b"",
        actions: tuple[str, ...] = ("pull",),
        extra_scopes: tuple[str, ...] = (),
        attempts: int = ATTEMPTS,
    ) -> Response:
        """The answer to a request about a repository (empty: the registry itself), after authentication.

        `path` is what follows the repository's name, or where `location` led; another host than the registry's gets no
        Authorization. The token is for `actions` in the repository and `extra_scopes` such as
        `repository:other:pull`. A 401 is answered once, and once more where the registry then asks for further scopes;
        the body is opened anew for each time that it is sent. With `attempts=1` no fault is made up for by sending
        again. The answer's status is the caller's business (`refused` words it); close it or read its body.
        Raises Denied, RegistryError, Timeout.
        """
        repository = self._located(repository)
        url = path if isinstance(path, Url) else self._url(repository, path)
        own = (f"repository:{repository}:{','.join(actions)}",) if repository else ()
        scopes = tuple(sorted({*own, *extra_scopes}))
        for attempt in range(_LOGINS + 1):
            authorization = self._authorization(scopes) if url.origin == self._home.origin else {}
            response = self._client.request(
                method, url, {**headers, **authorization}, body, attempts=attempts, is_secret=False
            )
            is_refusal = response.status == 401 and response.url.origin == self._home.origin
            if not is_refusal or attempt == _LOGINS or not self._take_up(response, scopes, again=attempt > 0):
                self._note_warnings(response)
                return response
            response.drain()
        raise AssertionError("unreachable")

    def location(self, response: Response) -> Url:
        """Where an answer's Location leads, its query kept. Raises RegistryError where there is none to follow."""
        location = response.head.get("location")
        if not location:
            raise RegistryError(f"request {response.url.shown}: {response.status} without a Location")
        url = join_url(response.url, location)
        check_redirect(response.url, url)
        return url

    def _located(self, repository: str) -> str:
        """The repository's name where its registry really is."""
        if not self._config.location or not repository:
            return repository
        return self._config.locate(f"{self.domain}/{repository}").partition("/")[2]

    def _note_warnings(self, response: Response) -> None:
        """Keep what the registry wants people to know."""
        headers = response.head.all("warning")
        if headers:
            from .failures import warnings_in

            self.warnings += [text for text in warnings_in(headers) if text not in self.warnings]

    def _url(self, repository: str, path: str) -> Url:
        place = f"{repository}/{path}" if repository else path
        return Url(self._home.scheme, self._home.host, self._home.port, f"/v2/{place}")

    def _authorization(self, scopes: tuple[str, ...]) -> dict[str, str]:
        return self._auth.header(scopes) if self._auth else {}

    def _take_up(self, response: Response, scopes: tuple[str, ...], *, again: bool) -> bool:
        """Let the challenges of a 401 decide how to authenticate; whether that makes sense."""
        from .auth import Authenticator, parse_challenges

        if self._auth is None:
            if self._credentials is None and self._find is not None:
                self._credentials = self._find()
            hosts = self._config.token_hosts
            self._auth = Authenticator(self._client, self.domain, self._home, self._credentials, hosts)
        challenges = response.head.all("www-authenticate") or self._ping()
        return self._auth.answer(parse_challenges(challenges), scopes, again=again)

    def _ping(self) -> list[str]:
        """The challenges of the registry's root, for registries whose other 401 answers carry none."""
        response = self._client.request("GET", self._url("", ""), {})
        response.drain()
        return response.head.all("www-authenticate")

    def refused(self, name: str, response: Response, hint: str = "") -> HullError:
        """The error for an answer that is not what was asked for; reads and closes it. `name`: what was asked for."""
        from .failures import refused

        return refused(name, response, self.domain, self._credentials, hint)


def home_url(domain: str, config: RegistryConfig) -> Url:
    """Where a registry is: docker.io's own host, HTTP for loopback addresses or where configured, else HTTPS."""
    url = parse_url("https://" + (_HUB_HOST if domain == HUB else domain))
    plain = is_loopback(url.host) if config.plain_http is None else config.plain_http
    return parse_url("http://" + domain) if plain else url


def _digest_of(data: bytes, algorithm: str) -> str:
    from .blobs import new_hasher

    hasher = new_hasher(algorithm)
    hasher.update(data)
    return f"{algorithm}:{hasher.hexdigest()}"
