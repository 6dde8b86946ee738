# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The texts of hosts and resolv.conf."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._net.resolver import (
    choose_host_text,
    has_nameserver,
    hostname_file,
    hosts_file,
    resolv_conf,
)


def entries(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_hosts_names_localhost_and_the_container() -> None:
    lines = entries(hosts_file("web", address="10.88.0.5"))
    assert ["127.0.0.1", "localhost"] in lines and lines[-1] == ["10.88.0.5", "web"]


def test_hosts_has_the_full_name_before_the_short_one() -> None:
    assert entries(hosts_file("web", "example.org", "10.88.0.5"))[-1] == ["10.88.0.5", "web.example.org", "web"]


def test_without_an_address_the_name_is_a_loopback_one() -> None:
    assert entries(hosts_file("web"))[-1] == ["127.0.1.1", "web"]


def test_extra_names_come_in_order_and_host_gateway_is_the_gateway() -> None:
    text = hosts_file("web", extra={"db": "192.0.2.7", "six": "2001:db8::1", "up": "host-gateway"}, gateway="10.88.0.1")
    assert entries(text)[4:7] == [["192.0.2.7", "db"], ["2001:db8::1", "six"], ["10.88.0.1", "up"]]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"db": "192.0.2"}, "etc_hosts: db: '192.0.2' is not an IP address"),
        ({"db": "1.2.3.4\n6.6.6.6 bank"}, "is not an IP address"),
        ({"d b": "192.0.2.1"}, "'d b' is not a host name"),
        ({"": "192.0.2.1"}, "'' is not a host name"),
        ({"db\n": "192.0.2.1"}, "is not a host name"),
        ({"#db": "192.0.2.1"}, "is not a host name"),
        ({"up": "host-gateway"}, "etc_hosts: up: host-gateway needs a bridge network"),
    ],
)
def test_what_can_not_be_a_line_is_invalid(extra: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        hosts_file("web", extra=extra)
    assert words in str(caught.value) and caught.value.option == "etc_hosts"


HOST = """# made by hand
search example.org  lan
nameserver 127.0.0.53
nameserver 192.0.2.53 # comment
nameserver ::1
nameserver fe80::1%eth0
nameserver 2001:db8::53
  nameserver 198.51.100.53
options edns0 trust-ad
nameserver
"""


def test_with_the_hosts_network_the_text_is_the_hosts() -> None:
    assert resolv_conf(HOST, own_network=False) == HOST


def test_in_an_own_network_servers_out_of_reach_are_left_out_and_the_rest_is_kept() -> None:
    assert resolv_conf(HOST) == (
        "nameserver 192.0.2.53\nnameserver 198.51.100.53\nsearch example.org  lan\noptions edns0 trust-ad\n"
    )


@pytest.mark.parametrize("own", [True, False])
def test_servers_that_are_given_replace_the_hosts_whatever_they_are(own: bool) -> None:
    text = resolv_conf(HOST, dns_servers=["127.0.0.1", "2001:db8::1"], own_network=own)
    assert text.splitlines()[:3] == ["nameserver 127.0.0.1", "nameserver 2001:db8::1", "search example.org  lan"]


def test_a_server_that_is_no_address_is_invalid() -> None:
    with pytest.raises(Invalid, match="dns_servers: 'one.one' is not an IP address"):
        resolv_conf("", dns_servers=["one.one"])


@pytest.mark.parametrize("text", ["", "nameserver 127.0.0.1\n", "nameserver ::1\nnameserver 127.0.0.53\n"])
def test_where_no_server_is_left_nobody_elses_is_put_in(text: str) -> None:
    assert resolv_conf(text) == "" and not has_nameserver(resolv_conf(text))


STUB = "nameserver 127.0.0.53\nsearch lan\n"


@pytest.mark.parametrize(
    ("etc", "resolved", "chosen"),
    [
        (STUB, "nameserver 192.0.2.53\n", "nameserver 192.0.2.53\n"),
        (STUB, "", STUB),
        (STUB, "nameserver 127.0.0.1\n", STUB),
        ("nameserver 198.51.100.1\n", "nameserver 192.0.2.53\n", "nameserver 198.51.100.1\n"),
    ],
)
def test_behind_a_local_stub_the_real_servers_are_taken(etc: str, resolved: str, chosen: str) -> None:
    assert choose_host_text(etc, resolved) == chosen


def test_hostname_is_one_line() -> None:
    assert hostname_file("web") == "web\n"
