# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Invalid
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, Mirror
from ansible_collections.hull.engine.plugins.module_utils._image.settings_file import parse_settings


def _settings(document: Any) -> Any:
    return parse_settings(json.dumps(document).encode(), "/etc/hull/registries.json")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"registry": {}},
            "unknown key registry; known there: default_registry, foreign_layers, keep_blobs, "
            "registries, short_names, stall_timeout",
        ),
        ({"registries": {"r": {"insecure": True}}}, "unknown key registries.r.insecure"),
        ({"registries": {"r": {"credentials": {"user": "x"}}}}, "unknown key registries.r.credentials.user"),
        ({"registries": {"r": {"plain_http": "yes"}}}, "registries.r.plain_http is not true or false"),
        ({"registries": {"r": {"token_hosts": [1]}}}, "registries.r.token_hosts is not a list of text"),
        ({"registries": {"r": {"ca_file": "ca.pem"}}}, "registries.r.ca_file is not an absolute path"),
        ({"registries": {"https://r": {}}}, "registries.https://r is not a registry"),
        *(
            ({"registries": {bad: {}}}, f"registries.{bad} is not a registry; write host, host:port or host/path")
            for bad in (
                "r s",
                "r.example//team",
                "..",
                "r.example/",
                "r.example:abc",
                "https:/x",
                "u@r.example",
                "",
            )
        ),
        (
            {"registries": {"index.docker.io/a": {}}},
            "registries.index.docker.io/a is no registry's; write docker.io/a if that is meant",
        ),
        (
            {"registries": {"library/debian": {"blocked": True}}},
            "registries.library/debian is no registry's; write docker.io/library/debian if that is meant",
        ),
        *(
            ({"default_registry": bad}, "default_registry is not a registry; write host or host:port, no scheme")
            for bad in ("https://r.example", "r.example/team", "r s", "")
        ),
        ({"foreign_layers": "no"}, "foreign_layers is not true or false"),
        ({"registries": []}, "registries is not an object"),
        ([], "the document is not an object"),
        ({"registries": {"r": {"token_hosts": "x"}}}, "registries.r.token_hosts is not a list"),
        ({"registries": {"r": {"location": "https://m"}}}, "registries.r.location is not a registry"),
        ({"registries": {"*.r/x": {}}}, "registries.*.r/x is not a registry"),
        ({"registries": {"r": {"mirrors": [{}]}}}, "registries.r.mirrors[0].location is missing"),
        ({"registries": {"r": {"mirrors": ["m"]}}}, "registries.r.mirrors[0] is not an object"),
        (
            {"registries": {"r": {"mirrors": [{"location": "m", "blocked": True}]}}},
            "unknown key registries.r.mirrors[0]",
        ),
        ({"registries": {"r": {"mirrors": [{"location": "m", "ca_file": "x"}]}}}, "registries.r.mirrors[0].ca_file is"),
        ({"stall_timeout": True}, "stall_timeout is not a whole number"),
        ({"stall_timeout": 0}, "stall_timeout is not between 1 and 3600 seconds"),
        ({"short_names": {"a/b": "r.example/a"}}, "short_names.a/b is not a short name"),
        ({"short_names": {"a": "r.example/a:1"}}, "short_names.a is not a name with its registry and without a tag"),
        (
            {"short_names": {"a": "team/a"}},
            "short_names.a is not a name with its registry; write docker.io/team/a if that is meant",
        ),
        ({"short_names": {"": "r.example/a"}}, "short_names. is not a short name"),
        ({"short_names": {"a": 1}}, "short_names.a is not a name with its registry"),
        ({"short_names": {"a": "r.example/A"}}, "short_names.a: image name 'r.example/A': repository 'A' is not valid"),
    ],
)
def test_errors_name_file_and_key(document: Any, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        _settings(document)
    assert str(caught.value).startswith("read /etc/hull/registries.json: " + message)


def test_a_file_that_is_not_json_is_damaged() -> None:
    with pytest.raises(Damaged, match="/etc/hull/registries.json"):
        parse_settings(b"{", "/etc/hull/registries.json")


def test_all_keys_are_read() -> None:
    mirrors = [
        {"location": "m.example/hub", "plain_http": True, "credentials": {"username": "a", "password": "b"}},
        {"location": "n.example", "digest_only": True},
    ]
    settings = _settings(
        {
            "keep_blobs": False,
            "stall_timeout": 5,
            "short_names": {"web": "r.example:5000/web"},
            "registries": {"docker.io": {"mirrors": mirrors, "location": "x.example", "blocked": True}},
        }
    )
    assert not settings.keep_blobs
    assert settings.short_names == {"web": "r.example:5000/web"}
    found = settings.config_for("docker.io/library/a")
    assert found.stall_timeout_s == 5
    assert (found.location, found.blocked) == ("x.example", True)
    assert found.mirrors == (
        Mirror("m.example/hub", False, {"plain_http": True, "credentials": Credentials("a", "b")}),
        Mirror("n.example", True, {}),
    )


def test_what_is_asked_for_need_not_be_an_image_s_name() -> None:
    locations = [
        "registry_mirror:5000",
        "nexus.example.:5000/hub",
        "art.example/Docker-Hub",
        "[::1]:5000/x",
        "harbor/p",
    ]
    own = {"harbor/p": {"plain_http": True}, "registry_mirror:5000": {"plain_http": True}, "inner": {"blocked": True}}
    hub = {"mirrors": [{"location": location} for location in locations]}
    settings = _settings({"default_registry": "inner", "registries": {"docker.io": hub, **own}})
    assert [mirror.location for mirror in settings.config_for("docker.io/library/a").mirrors] == locations
    assert settings.config_for("harbor/p/library/a").plain_http
