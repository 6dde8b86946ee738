# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A Docker daemon with directories of its own, as a witness: it makes archives that we read and reads ours.

It needs no network, no bridge and no rule of the firewall, and ends by its process id. One is enough for a whole run of
the tests: the fixture `docker` (tests/conftest.py) starts it when the first test asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any

_DEADLINE_S = 60


class Docker:
    """The command line of a daemon that answers on `host`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.host = f"unix://{directory}/docker.sock"
        self.env = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": f"{directory}/client"}

    def __call__(self, *words: str, stdin: bytes | IO[bytes] | None = None) -> bytes:
        """The standard output of `docker WORDS`. Fails the test where it fails."""
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(["docker", *words], **source, env=self.env, capture_output=True, timeout=120)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.decode()[-2000:]}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """What `docker image inspect` tells about one image."""
        found: dict[str, Any] = json.loads(self("image", "inspect", name))[0]
        return found

    def forget(self) -> None:
        """Remove all containers and images."""
        if containers := self("ps", "-aq").split():
            self("rm", "-f", *(name.decode() for name in containers))
        if images := set(self("images", "-aq").split()):
            self("rmi", "-f", *(name.decode() for name in images))


@contextlib.contextmanager
def running_docker(place: str = "") -> Iterator[Docker]:
    """Start a daemon, wait until it answers, stop it at the end; nothing of it stays but what it has in `place`."""
    directory = place or tempfile.mkdtemp(prefix="hull-docker-")
    docker = Docker(directory)
    with open(f"{directory}/log", "wb") as log:
        process = subprocess.Popen(_command(docker), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait_until_up(docker, process)
        yield docker
        if not place:
            docker.forget()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not place:
            shutil.rmtree(directory)


def _command(docker: Docker) -> list[str]:
    directory = docker.directory
    with open(f"{directory}/daemon.json", "w", encoding="utf-8") as file:
        json.dump({"deprecated-key-path": f"{directory}/key.json"}, file)  # else it makes one in /etc/docker
    return [
        *("dockerd", "--host", docker.host, "--config-file", f"{directory}/daemon.json"),
        *("--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/pid"),
        *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        *("--storage-driver=overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs"),
    ]


def _wait_until_up(docker: Docker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            docker("version")
            return
        except AssertionError:
            if process.poll() is not None or time.monotonic() > deadline:
                with open(f"{docker.directory}/log", encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"dockerd does not answer: {log.read()[-2000:]}") from None
            time.sleep(0.05)
