# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Authentication at a registry: what its challenge asks for, and who may be told our credentials.

A challenge is written by the registry, so its realm may be anyone's (CVE-2020-15157): credentials go to a realm on the
registry's own host or on a listed one, over TLS; a token is kept for the scopes that it was given for.

Source: RFC 9110 section 11 (challenges), Docker's "Token Authentication Specification", RFC 6749 (refresh_token).
"""

from __future__ import annotations

import time

from .._base.codec import parse
from .._base.errors import Damaged, Denied, RegistryError
from .._base.values import Value
from .http import broken, read_error
from .proxies import basic_authorization, is_loopback
from .urls import Url, parse_url, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .http import Client
    from .settings import Credentials

MAX_TOKEN_BODY = 1024 * 1024
_MIN_LIFETIME_S = 60
_MARGIN_S = 10
_TOKEN_HOSTS = {"docker.io": ("auth.docker.io",), "registry.gitlab.com": ("gitlab.com",)}
_TOKEN_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Challenge(Value):
    """One way to authenticate that a server offers; scheme and parameter names are lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """All challenges in the values of WWW-Authenticate headers. What is malformed ends the reading of its header."""
    result: list[Challenge] = []
    for header in headers:
        result += _Parser(header).challenges()
    return result


class _Parser:
    """Reads `Scheme name=value, name="quoted", Scheme2 ...`: a word followed by `=` is a parameter, else a scheme."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def challenges(self) -> list[Challenge]:
        result: list[Challenge] = []
        while True:
            self._skip(" \t,")
            word = self._word()
            if not word:
                return result
            self._skip(" \t")
            if self._peek() != "=":
                result.append(Challenge(word.lower(), {}))
                continue
            self._position += 1
            self._skip(" \t")
            value = self._quoted() if self._peek() == '"' else self._word()
            if not result:
                return result
            result[-1].parameters.setdefault(word.lower(), value)

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _skip(self, characters: str) -> None:
        while self._peek() and self._peek() in characters:
            self._position += 1

    def _word(self) -> str:
        start = self._position
        while self._peek() in _TOKEN_CHARS:
            self._position += 1
        return self._text[start : self._position]

    def _quoted(self) -> str:
        self._position += 1
        result = ""
        while (char := self._peek()) and char != '"':
            self._position += 1
            if char == "\\":
                char = self._peek()
                self._position += 1
            result += char
        self._position += 1
        return result


class Authenticator:
    """Knows how to be let in at one registry; made once per operation, copied by fork into workers."""

    def __init__(
        self, client: Client, domain: str, home: Url, credentials: Credentials | None, token_hosts: tuple[str, ...]
    ) -> None:
        self._client = client
        self._domain = domain
        self._home = home
        self._credentials = credentials
        self._token_hosts = (home.host, *token_hosts, *_TOKEN_HOSTS.get(domain, ()))
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> dict[str, str]:
        """The Authorization header for a request in this scope; empty as long as the registry has asked for none."""
        if self._challenge is None:
            return {}
        if self._challenge.scheme == "basic":
            return {"Authorization": self._basic()}
        token, expires = self._tokens.get(scope, ("", 0.0))
        if time.monotonic() >= expires:
            token = self._fetch(self._challenge, scope)
        return {"Authorization": f"Bearer {token}"}

    def answer(self, challenges: list[Challenge], scope: str) -> bool:
        """Take up the challenges of a 401; whether another attempt makes sense. Forgets the scope's token."""
        supported = {challenge.scheme: challenge for challenge in reversed(challenges)}
        chosen = supported.get("bearer") or supported.get("basic")
        if chosen is None:
            return False
        self._challenge = chosen
        self._tokens.pop(scope, None)
        return chosen.scheme == "bearer" or self._credentials is not None

    def _basic(self) -> str:
        assert self._credentials is not None
        if self._home.scheme != "https" and not is_loopback(self._home.host):
            raise Denied(
                f"log in at {self._domain}: a password is not sent without TLS",
                hint="use https for this registry, or take its credentials away",
            )
        return basic_authorization(f"{self._credentials.username}:{self._credentials.password}")

    def _fetch(self, challenge: Challenge, scope: str) -> str:
        """A token from the realm, kept until shortly before it expires."""
        realm = parse_url(challenge.parameters.get("realm", ""))
        self._check_realm(realm)
        service = challenge.parameters.get("service", "")
        try:
            if self._credentials and self._credentials.identity_token:
                document = self._refresh(realm, service, scope, self._credentials.identity_token)
            else:
                document = self._get(realm, service, scope)
        except OSError as error:
            raise broken("GET", realm, error, 1) from error
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
            raise RegistryError(f"get a token from {realm.shown}: the answer holds none")
        lifetime = document.get("expires_in")
        lifetime_s = max(lifetime if isinstance(lifetime, int) else 0, _MIN_LIFETIME_S)
        self._tokens[scope] = (token, time.monotonic() + lifetime_s - _MARGIN_S)
        return token

    def _check_realm(self, realm: Url) -> None:
        is_safe = realm.scheme == "https" or is_loopback(realm.host) or self._home.scheme == "http"
        if not is_safe:
            raise Denied(f"log in at {self._domain}: its token service {realm.shown} has no TLS")
        if not self._credentials:
            return
        if realm.host not in self._token_hosts:
            raise Denied(
                f"log in at {self._domain}: it wants the credentials sent to {realm.authority}",
                hint="if that is right, list this host under token_hosts of the registry in registries.json",
            )
        if realm.scheme != "https" and not is_loopback(realm.host):
            raise Denied(f"log in at {self._domain}: a password is not sent to {realm.shown} without TLS")

    def _get(self, realm: Url, service: str, scope: str) -> dict[str, Any]:
        query = [f"{name}={quote(value)}" for name, value in (("service", service), ("scope", scope)) if value]
        headers = {}
        if self._credentials:
            query.append(f"account={quote(self._credentials.username)}")
            pair = f"{self._credentials.username}:{self._credentials.password}"
            headers["Authorization"] = basic_authorization(pair)
        mark = "&" if "?" in realm.target else "?"
        url = Url(realm.scheme, realm.host, realm.port, realm.target + mark + "&".join(query))
        return self._document("GET", url, headers, b"")

    def _refresh(self, realm: Url, service: str, scope: str, identity_token: str) -> dict[str, Any]:
        fields = {"grant_type": "refresh_token", "service": service, "client_id": "hull.engine", "scope": scope}
        fields["refresh_token"] = identity_token
        body = "&".join(f"{name}={quote(value)}" for name, value in fields.items()).encode()
        return self._document("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def _document(self, method: str, url: Url, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        response = self._client.request(method, url, headers, body)
        if response.status != 200:
            raise self._refused(url, response.status, read_error(response).message)
        what = f"token from {url.shown}"
        try:
            document = parse(response.read_all(MAX_TOKEN_BODY, what), source=what)
        except Damaged as error:
            raise RegistryError(f"get a token from {url.shown}: {error.message}") from error
        if not isinstance(document, dict):
            raise RegistryError(f"get a token from {url.shown}: the answer is not a JSON object")
        return document

    def _refused(self, url: Url, status: int, message: str) -> Denied | RegistryError:
        text = f"get a token from {url.shown}: {status}" + (f" {message}" if message else "")
        if status in (400, 401, 403):
            hint = (
                "check user name and password" if self._credentials else "give username and password for this registry"
            )
            return Denied(text, hint=hint)
        return RegistryError(text, status=status, hint="try again later")
