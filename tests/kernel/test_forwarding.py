# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The host forwards packets as long as it has bridges of ours, and afterwards does as it did before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._net import bridges, forwarding
from ansible_collections.hull.engine.plugins.module_utils._store.database import open_database

from tests.support.network_namespaces import NetworkNamespace, command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SETTING = "/proc/sys/net/ipv4/ip_forward"


class Host:
    """A network namespace in which engines have networks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace = NetworkNamespace()

    def paths(self, name: str) -> Paths:
        return Paths(root=f"{self.directory}/{name}", run=f"{self.directory}/{name}-run")

    def ensure(self, name: str) -> str:
        """Give the engine of this name its network; the link's name."""
        paths = self.paths(name)
        os.makedirs(paths.root, exist_ok=True)

        def act() -> str:
            database = open_database(paths, create=True)
            assert database is not None
            return bridges.ensure_bridge(database, paths).bridge

        return self.namespace.run(act)

    def remove(self, name: str) -> None:
        def act() -> None:
            database = open_database(self.paths(name), create=True)
            assert database is not None
            assert bridges.remove_bridge(database, self.paths(name))

        self.namespace.run(act)

    def forwards(self) -> str:
        return self.namespace.run(lambda: Path(SETTING).read_text().strip())

    def set(self, value: str) -> None:
        self.namespace.run(lambda: Path(SETTING).write_text(value))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    made.set("0")
    yield made
    made.namespace.close()


def test_forwarding_ends_with_the_last_network_of_any_engine(host: Host) -> None:
    host.ensure("one")
    assert host.forwards() == "1"
    host.ensure("two")
    host.ensure("three")
    for name in ("one", "three"):
        host.remove(name)
        host.ensure("two")
        assert host.forwards() == "1"
    host.remove("two")
    assert host.forwards() == "0"


def test_forwarding_that_was_on_before_stays_on(host: Host) -> None:
    host.set("1")
    host.ensure("one")
    host.ensure("one")
    host.remove("one")
    assert host.forwards() == "1"


def test_forwarding_ends_where_an_engine_is_removed_without_its_records(host: Host) -> None:
    host.ensure("one")
    host.namespace.run(lambda: bridges.remove_unrecorded(host.paths("one")))
    assert host.forwards() == "0"


def test_forwarding_stays_on_for_a_bridge_that_came_later(host: Host) -> None:
    host.namespace.run(command, "ip", "link", "add", "older", "type", "bridge")
    host.ensure("one")
    host.namespace.run(command, "ip", "link", "add", "later", "type", "bridge")
    host.remove("one")
    assert host.forwards() == "1"
    host.set("0")
    host.namespace.run(command, "ip", "link", "delete", "later")
    host.ensure("two")
    host.remove("two")
    assert host.forwards() == "0"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("net.ipv4.ip_forward = 1\n", "1"),
        ("# c\n-net/ipv4/ip_forward=1\n", "1"),
        ("net.ipv4.conf.all.forwarding=1", "1"),
        ("#net.ipv4.ip_forward=1\nnet.ipv4.ip_forward=0\nnet.ipv6.conf.all.forwarding=1\n", "0"),
    ],
)
def test_forwarding_that_the_host_is_configured_for_stays_on(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: str
) -> None:
    (tmp_path / "99-router.conf").write_text(text)
    monkeypatch.setattr(forwarding, "FILE", f"{tmp_path}/none")
    monkeypatch.setattr(forwarding, "DIRECTORIES", (f"{tmp_path}/none", str(tmp_path)))
    host.ensure("one")
    host.remove("one")
    assert host.forwards() == value
