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
from .failures import broken, read_error
from .proxies import basic_authorization, is_loopback
from .urls import Url, parse_url, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .http import Client, Response
    from .settings import Credentials

MAX_TOKEN_BODY = 1024 * 1024
_MIN_LIFETIME_S = 60
_MAX_LIFETIME_S = 24 * 3600
_MARGIN_S = 10
_TOKEN_USER = "<token>"  # Docker's name for who has an identity token only
# Answers of token services that may know the other way of asking only: Docker's GET or the form of OAuth 2.
_NO_FORM = frozenset((400, 401, 404, 405))
_NO_QUERY = frozenset((400, 404, 405))
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
        self._widened: dict[str, tuple[str, ...]] = {}

    def header(self, scopes: tuple[str, ...]) -> dict[str, str]:
        """The Authorization header for a request that needs these scopes (sorted).

        Empty as long as the registry has asked for none.
        """
        if self._challenge is None:
            return {}
        if self._challenge.scheme == "basic":
            return {"Authorization": self._basic()}
        if self._credentials and self._credentials.registry_token:
            self._check_encrypted()
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        key = " ".join(scopes)
        token, expires = self._tokens.get(key, ("", 0.0))
        if time.monotonic() >= expires:
            token, lifetime_s = self._fetch(self._challenge, self._widened.get(key, scopes))
            self._tokens[key] = (token, time.monotonic() + lifetime_s - _MARGIN_S)
        return {"Authorization": f"Bearer {token}"}

    def answer(self, challenges: list[Challenge], scopes: tuple[str, ...], *, again: bool = False) -> bool:
        """Take up the challenges of a 401; whether another attempt makes sense. Forgets the token for these scopes.

        What the challenge wants beyond the scopes is asked for from now on. With `again` (the token was new) only that
        is a reason for one more attempt.
        """
        supported = {challenge.scheme: challenge for challenge in reversed(challenges)}
        chosen = supported.get("bearer") or supported.get("basic")
        if chosen is None:
            return False
        key = " ".join(scopes)
        known = self._widened.get(key, scopes)
        missing = [scope for scope in chosen.parameters.get("scope", "").split() if not _is_covered(scope, known)]
        if again and not missing:
            return False
        self._challenge = chosen
        self._widened[key] = tuple(sorted({*known, *missing}))
        self._tokens.pop(key, None)
        return chosen.scheme == "bearer" or self.is_known

    @property
    def scheme(self) -> str:
        """How the registry wants to know who we are: `bearer` or `basic`; empty as long as it did not ask."""
        return self._challenge.scheme if self._challenge else ""

    @property
    def is_known(self) -> bool:
        """Whether there is a user name, or a token that stands for one."""
        return self._credentials is not None

    @property
    def user(self) -> str:
        """Who we are, for messages; empty for nobody or a token."""
        return self._credentials.username if self._credentials else ""

    def _check_encrypted(self) -> None:
        if self._home.scheme != "https" and not is_loopback(self._home.host):
            raise Denied(
                f"log in at {self._domain}: a password is not sent without TLS",
                hint="use https for this registry, or take its credentials away",
            )

    def _basic(self) -> str:
        assert self._credentials is not None
        self._check_encrypted()
        return _pair(self._credentials)

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...]) -> tuple[str, int]:
        """A token from the realm, and for how many seconds it is good."""
        realm = parse_url(challenge.parameters.get("realm", ""))
        self._check_realm(realm)
        service = challenge.parameters.get("service", "")
        try:
            document = self._document(realm, service, scopes)
        except OSError as error:
            raise broken("GET", realm, error, 1) from error
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
            raise RegistryError(f"get a token from {realm.shown}: the answer holds none")
        lifetime = document.get("expires_in")
        return token, min(max(lifetime if isinstance(lifetime, int) else 0, _MIN_LIFETIME_S), _MAX_LIFETIME_S)

    def _check_realm(self, realm: Url) -> None:
        # Who is not on this host does not lead us to services on it.
        is_here = is_loopback(realm.host) and is_loopback(self._home.host)
        is_safe = realm.scheme == "https" or is_here or self._home.scheme == "http"
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

    def _document(self, realm: Url, service: str, scopes: tuple[str, ...]) -> dict[str, Any]:
        """What the token service answers: to a GET, or for an identity token to a form, and where the service does not
        know the one way, to the other.

        A password that a GET was refused for with 401 is not tried again by form: that could lock the account.
        """
        credentials = self._credentials
        asks_by_form = bool(credentials and credentials.identity_token)
        other_way = _NO_FORM if asks_by_form else _NO_QUERY if credentials else frozenset()
        response = self._ask(realm, service, scopes, by_form=asks_by_form)
        if response.status in other_way:
            response.drain()
            response = self._ask(realm, service, scopes, by_form=not asks_by_form)
        if response.status != 200:
            raise self._refused(realm, response.status, read_error(response).message)
        what = f"token from {realm.shown}"
        try:
            document = parse(response.read_all(MAX_TOKEN_BODY, what), source=what)
        except Damaged as error:
            raise RegistryError(f"get a token from {realm.shown}: {error.message}") from error
        if not isinstance(document, dict):
            raise RegistryError(f"get a token from {realm.shown}: the answer is not a JSON object")
        return document

    def _ask(self, realm: Url, service: str, scopes: tuple[str, ...], *, by_form: bool) -> Response:
        fields = [("service", service)] if service else []
        if by_form:
            assert self._credentials is not None
            return self._post(realm, [*fields, ("scope", " ".join(scopes)), *_grant(self._credentials)])
        headers = {}
        fields += [("scope", scope) for scope in scopes]
        if self._credentials:
            fields.append(("account", self._credentials.username or _TOKEN_USER))
            headers["Authorization"] = _pair(self._credentials)
        mark = "&" if "?" in realm.target else "?"
        url = Url(realm.scheme, realm.host, realm.port, realm.target + (mark + _form(fields) if fields else ""))
        return self._client.request("GET", url, headers)

    def _post(self, realm: Url, fields: list[tuple[str, str]]) -> Response:
        body = _form([*fields, ("client_id", "hull.engine")]).encode()
        return self._client.request("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def _refused(self, url: Url, status: int, message: str) -> Denied | RegistryError:
        who = f" as {self.user}" if self.user else ""
        text = f"log in at {self._domain}{who}: {url.shown} answers {status}" + (f" {message}" if message else "")
        if status in (400, 401, 403):
            hint = f"check user name and password, or log in again: hull login {self._domain}"
            if not self._credentials:
                hint = f"give username and password for this registry, or log in: hull login {self._domain}"
            return Denied(text, hint=hint)
        return RegistryError(text, status=status, hint="try again later")


def _form(fields: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value)}" for name, value in fields)


def _grant(credentials: Credentials) -> list[tuple[str, str]]:
    """Source: RFC 6749 sections 4.3.2 and 6."""
    if credentials.identity_token:
        return [("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token)]
    user = [("username", credentials.username), ("password", credentials.password)]
    return [("grant_type", "password"), *user]


def _pair(credentials: Credentials) -> str:
    secret = credentials.password or credentials.identity_token
    return basic_authorization(f"{credentials.username or _TOKEN_USER}:{secret}")


def _is_covered(scope: str, known: tuple[str, ...]) -> bool:
    """Whether a scope (`type:name:actions`; the name may have colons) is part of what is asked for anyway."""
    resource, _, actions = scope.rpartition(":")
    wanted = set(actions.split(","))
    return any(
        resource == other.rpartition(":")[0] and wanted <= set(other.rpartition(":")[2].split(",")) for other in known
    )
