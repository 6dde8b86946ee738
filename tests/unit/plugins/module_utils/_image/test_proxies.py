# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid, Unsupported
from ansible_collections.hull.engine.plugins.module_utils._image.proxies import find_proxy, is_loopback
from ansible_collections.hull.engine.plugins.module_utils._image.urls import parse_url

URL = parse_url("https://registry.example.org:5000/v2/")
PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("a.localhost", True),
        ("127.0.0.1.example.org", False),
        ("128.0.0.1", False),
        ("127.0.0.999", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_recognised_by_name_and_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_is_that_of_the_scheme(name: str) -> None:
    proxy = find_proxy(URL, {name: "http://us%3Aer:p%40ss@proxy:3128/", "HTTP_PROXY": "http://other:1"})
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.authorization) == ("proxy", 3128, "Basic dXM6ZXI6cEBzcw==")
    assert "Basic" not in repr(proxy)


@pytest.mark.parametrize(
    ("exceptions", "is_used"),
    [
        ("", True),
        ("*", False),
        ("example.org", False),
        (".example.org", False),
        ("*.example.org", False),
        ("other.org, registry.example.org", False),
        ("registry.example.org:5000", False),
        ("registry.example.org:443", True),
        ("ample.org", True),
        ("10.0.0.0/8", True),
    ],
)
def test_no_proxy_excepts_hosts(exceptions: str, is_used: bool) -> None:
    assert (find_proxy(URL, {**PROXY, "NO_PROXY": exceptions}) is not None) is is_used


def test_no_proxy_excepts_networks() -> None:
    url = parse_url("https://10.1.2.3/")
    assert find_proxy(url, {**PROXY, "no_proxy": "10.0.0.0/8"}) is None
    assert find_proxy(url, {**PROXY, "no_proxy": "11.0.0.0/8"}) is not None
    assert find_proxy(parse_url("https://[fd00::1]/"), {**PROXY, "no_proxy": "fd00::/8"}) is None


def test_loopback_never_has_a_proxy() -> None:
    assert find_proxy(parse_url("http://127.0.0.1:5000/"), {"HTTP_PROXY": "http://proxy:1"}) is None


def test_what_is_not_an_http_proxy_is_refused() -> None:
    with pytest.raises(Unsupported, match="HTTPS_PROXY"):
        find_proxy(URL, {"HTTPS_PROXY": "socks5://secret:word@proxy:1"})
    with pytest.raises(Invalid, match="HTTPS_PROXY"):
        find_proxy(URL, {"HTTPS_PROXY": "http://proxy:x"})
