# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Fixtures of the tests against registries: a real one for all of them, settings that ignore this machine's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.registry import RunningRegistry, running_registry


@pytest.fixture(scope="session")
def registry() -> Iterator[RunningRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
