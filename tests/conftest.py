# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the checkout importable as the collection `hull.engine`, wherever it lies."""

from __future__ import annotations

import os
import shutil
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLLECTIONS = os.path.join(ROOT, ".collections")
_link = os.path.join(COLLECTIONS, "ansible_collections", "hull", "engine")

os.makedirs(os.path.dirname(_link), exist_ok=True)
if not os.path.islink(_link):
    os.symlink(ROOT, _link)
sys.path.insert(0, COLLECTIONS)
sys.path.insert(0, ROOT)

import pytest  # noqa: E402

from tests.support.docker_daemon import Docker, running_docker  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PID = os.getpid()


def _terminated(number: int, _frame: object) -> None:
    """End as with ^C, so that fixtures remove what they made. A test's forked child dies of the signal, as always."""
    if os.getpid() == _PID:
        raise KeyboardInterrupt("terminated")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def pytest_configure() -> None:
    """`timeout` and a cancelled run end the tests by SIGTERM, which would leave containers and bridges behind."""
    signal.signal(signal.SIGTERM, _terminated)


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A Docker daemon for the whole run, started when the first test asks for it; images in it are the tests' own."""
    if shutil.which("dockerd") and not shutil.which("docker"):  # without both the tests fail: a package is missing
        pytest.skip("needs the docker command, which Debian 13 has in the package docker-cli")
    with running_docker() as running:
        yield running
