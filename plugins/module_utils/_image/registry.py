# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One registry as the pull sees it: documents by tag or digest, checked, and blobs (`blobs.py`).

Nothing is stored here. Authentication is loaded when a registry asks for it.

Source: OCI distribution specification 1.1, "Pull".
"""

from __future__ import annotations

import time

from .._base.digests import check_digest, is_digest
from .._base.errors import Damaged, Denied, HullError, NotFound, RegistryError
from .._base.values import Value
from .credentials import find_credentials
from .http import ATTEMPTS, Client, broken, check_redirect, pause_s, read_error
from .manifest import ACCEPTED, MAX_DOCUMENT
from .proxies import is_loopback
from .reference import HUB
from .urls import Url, join_url, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .auth import Authenticator
    from .blobs import Blob
    from .connections import RequestBody
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
    """The registry of a reference, with its settings and the credentials from there or from other tools' files."""
    config = settings.config_for(reference.name)
    credentials = config.credentials or find_credentials(reference.name)
    return Registry(reference.domain, config, credentials=credentials)


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
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.domain = domain
        self._config = config
        self._credentials = credentials or config.credentials
        self._home = home_url(domain, config)
        self._client = Client(config, self._home, environ)
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
            error = self.refused(f"{self.domain}/{repository}, blob {digest}", response, "push the image again")
            raise error
        return response

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
                return response
            read_error(response)
        raise AssertionError("unreachable")

    def location(self, response: Response) -> Url:
        """Where an answer's Location leads, its query kept. Raises RegistryError where there is none to follow."""
        location = response.head.get("location")
        if not location:
            raise RegistryError(f"request {response.url.shown}: {response.status} without a Location")
        url = join_url(response.url, location)
        check_redirect(response.url, url)
        return url

    def _url(self, repository: str, path: str) -> Url:
        place = f"{repository}/{path}" if repository else path
        return Url(self._home.scheme, self._home.host, self._home.port, f"/v2/{place}")

    def _authorization(self, scopes: tuple[str, ...]) -> dict[str, str]:
        return self._auth.header(scopes) if self._auth else {}

    def _take_up(self, response: Response, scopes: tuple[str, ...], *, again: bool) -> bool:
        """Let the challenges of a 401 decide how to authenticate; whether that makes sense."""
        from .auth import Authenticator, parse_challenges

        if self._auth is None:
            hosts = self._config.token_hosts
            self._auth = Authenticator(self._client, self.domain, self._home, self._credentials, hosts)
        challenges = response.head.all("www-authenticate") or self._ping()
        return self._auth.answer(parse_challenges(challenges), scopes, again=again)

    def _ping(self) -> list[str]:
        """The challenges of the registry's root, for registries whose other 401 answers carry none."""
        response = self._client.request("GET", self._url("", ""), {})
        read_error(response)
        return response.head.all("www-authenticate")

    def refused(self, name: str, response: Response, hint: str = "") -> HullError:
        """The error for an answer that is not what was asked for; reads and closes it. `name`: what was asked for."""
        status, said = response.status, read_error(response)
        detail = " ".join(part for part in (said.code, said.message) if part)
        detail = f" ({detail})" if detail else ""
        if status == 404:
            return NotFound(
                f"{name}: not found in the registry{detail}",
                hint=hint or "check the name, the tag and that it was pushed there",
            )
        if status in (401, 403):
            cure = "check the user name and password, and that this user may pull it"
            if not self._credentials:
                cure = "check the name; if the image is private, give username and password"
            return Denied(f"{name}: the registry denies access{detail}", hint=cure)
        if "HTTP request to an HTTPS server" in said.message:
            hint = "set plain_http to false for it in registries.json"
        elif status == 429 or status >= 500:
            hint = "try again later"
        return RegistryError(f"{name}: the registry answers {status}{detail}", status=status, hint=hint)


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
