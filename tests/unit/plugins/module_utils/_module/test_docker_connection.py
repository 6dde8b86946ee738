# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Unsupported
from ansible_collections.hull.engine.plugins.module_utils._module.docker_connection import refuse_other_hosts


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "unix:///var/run/docker.sock",
        "unix://var/run/docker.sock",
        "tcp://127.0.0.1:2376",
        "https://localhost:2376/",
        "tcp://[::1]:2375",
        "tcp://[::1]",
        "tcp://localhost",
    ],
)
def test_a_daemon_of_this_host_is_accepted(address: str | None) -> None:
    refuse_other_hosts({"docker_host": address})


@pytest.mark.parametrize(
    "address",
    [
        "tcp://192.0.2.23:2376",
        "ssh://localhost",
        "ssh://root@example.org",
        "https://docker.example.org",
        "tcp://127.0.0.1.example.org:1",
        "tcp://127.0.0.1@example.org:1",
        "npipe:////./pipe/docker_engine",
        "example.org",
        "tcp://",
    ],
)
def test_another_host_is_refused_by_option_and_by_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="^docker_host: .* leads to another host.*; put that host into the inventory"):
        refuse_other_hosts({"docker_host": address})
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(Unsupported, match="^DOCKER_HOST: "):
        refuse_other_hosts({"docker_host": None})
    refuse_other_hosts({"docker_host": "unix:///run/docker.sock"})


def test_a_password_in_the_address_is_not_told() -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_other_hosts({"docker_host": "ssh://user:secret@example.org"})
    assert "secret" not in str(caught.value) and "example.org" in str(caught.value)
