# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied
from ansible_collections.hull.engine.plugins.module_utils._image.auth import Authenticator, Challenge, parse_challenges
from ansible_collections.hull.engine.plugins.module_utils._image.http import Client
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, RegistryConfig
from ansible_collections.hull.engine.plugins.module_utils._image.urls import parse_url


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="x"'], [Challenge("basic", {"realm": "x"})]),
        (["Basic"], [Challenge("basic", {})]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a:pull,push"'],
            [Challenge("bearer", {"realm": "https://a/t?x=1,2", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (
            ['Basic realm="a \\"b\\"", BEARER Realm=c , service = d'],
            [Challenge("basic", {"realm": 'a "b"'}), Challenge("bearer", {"realm": "c", "service": "d"})],
        ),
        (['Negotiate, Basic realm="x"'], [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="a"', 'Basic realm="b"'],
            [Challenge("bearer", {"realm": "a"}), Challenge("basic", {"realm": "b"})],
        ),
        (['Bearer realm="a",realm="b"'], [Challenge("bearer", {"realm": "a"})]),
        ([""], []),
        (["realm=x"], []),
        (['Bearer realm="never ends'], [Challenge("bearer", {"realm": "never ends"})]),
    ],
)
def test_all_challenges_are_read(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected


def _authenticator(home: str, credentials: Credentials | None = None) -> Authenticator:
    url = parse_url(home)
    return Authenticator(Client(RegistryConfig(), url, {}), url.authority, url, credentials, ())


def test_nothing_is_sent_before_the_registry_asks() -> None:
    assert _authenticator("https://r.example", Credentials("u", "hunter2")).header(("s",)) == {}


def test_bearer_is_preferred_and_unknown_schemes_are_no_answer() -> None:
    authenticator = _authenticator("https://r.example")
    assert not authenticator.answer([Challenge("negotiate", {})], ("s",))
    assert not authenticator.answer([Challenge("basic", {})], ("s",))
    assert authenticator.answer([Challenge("basic", {}), Challenge("bearer", {"realm": "https://x"})], ("s",))


@pytest.mark.parametrize(
    ("home", "challenge"),
    [
        ("http://r.example", Challenge("basic", {})),
        ("https://r.example", Challenge("bearer", {"realm": "http://r.example/token"})),
        ("http://r.example", Challenge("bearer", {"realm": "http://r.example/token"})),
        ("https://r.example", Challenge("bearer", {"realm": "https://thief.example/token"})),
        ("https://r.example", Challenge("bearer", {"realm": "https://r.example.thief.example/token"})),
    ],
)
def test_a_password_goes_nowhere_without_tls_or_to_strangers(home: str, challenge: Challenge) -> None:
    authenticator = _authenticator(home, Credentials("u", "hunter2"))
    assert authenticator.answer([challenge], ("s",))
    with pytest.raises(Denied) as caught:
        authenticator.header(("s",))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("realm", ["http://127.0.0.1:9/admin", "http://localhost:9/", "http://[::1]:9/"])
def test_a_registry_elsewhere_does_not_lead_to_services_of_this_host(realm: str) -> None:
    authenticator = _authenticator("https://r.example")
    assert authenticator.answer([Challenge("bearer", {"realm": realm})], ("s",))
    with pytest.raises(Denied, match="has no TLS"):
        authenticator.header(("s",))
