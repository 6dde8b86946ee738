# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import RegistryError
from ansible_collections.hull.engine.plugins.module_utils._image.urls import is_link_local, join_url, parse_url, quote

BASE = parse_url("https://host:5000/v2/a/blobs/x?y=1")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://Host", "http://host/"),
        ("https://host:443/x", "https://host/x"),
        ("https://host:8443/x?a=b#c", "https://host:8443/x?a=b"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("http://host?x=1", "http://host/?x=1"),
        ("http://host/a b\r\nEvil: 1", "http://host/a%20b%0D%0AEvil:%201"),
        ("http://host/ü", "http://host/%C3%BC"),
    ],
)
def test_urls_are_normalised(text: str, normal: str) -> None:
    assert parse_url(text).text == normal


@pytest.mark.parametrize(
    "text",
    [
        *("", "host/x", "ftp://host/x", "file:///etc/passwd", "http://", "http://u:p@h/", "http://h:x/"),
        *(
            "http://a\nb/",
            "http://a b/",
            "http://\x1b[2J/",
            "http://[a:1 HTTP/1.1\n]/",
            "http://[::1%eth0]/",
            "http://ü/",
        ),
    ],
)
def test_what_we_do_not_follow_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        parse_url(text)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other/x", "https://other/x"),
        ("//other:1/x", "https://other:1/x"),
        ("/x?a=http://b", "https://host:5000/x?a=http://b"),
        ("z", "https://host:5000/v2/a/blobs/z"),
        ("?y=2", "https://host:5000/v2/a/blobs/x?y=2"),
    ],
)
def test_locations_may_be_relative(location: str, target: str) -> None:
    assert join_url(BASE, location).text == target


def test_what_is_shown_has_no_query() -> None:
    assert BASE.shown == "https://host:5000/v2/a/blobs/x"


def test_quote_leaves_only_unreserved_characters() -> None:
    assert quote("a b&c=d/ü~") == "a%20b%26c%3Dd%2F%C3%BC~"


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("169.254.169.254", True),
        ("2852039166", True),
        ("0xa9fea9fe", True),
        ("169.16689662", True),
        ("::ffff:169.254.169.254", True),
        ("::ffff:a9fe:a9fe", True),
        ("fe80::1", True),
        ("feb0::1", True),
        ("fec0::1", False),
        ("::1", False),
        ("127.0.0.1", False),
        ("169.254.example.org", False),
        ("169.253.0.1", False),
    ],
)
def test_a_link_local_address_is_known_in_every_spelling(host: str, answer: bool) -> None:
    assert is_link_local(host) is answer


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_url("https://ci:hunter2@host/x?token=hunter2")
    assert "hunter2" not in str(caught.value) and "host/x" in str(caught.value)
