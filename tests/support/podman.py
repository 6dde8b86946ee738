# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Podman with storage of its own, as a witness: it makes archives that we read and reads those that we make."""

from __future__ import annotations

import json
import os
import subprocess
from typing import IO, Any

_CONFIGURATION = """[containers]
default_ulimits = ["nofile=1024:20000", "nproc=10000:10000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


class Podman:
    """The command line of a Podman whose files lie in a directory; no process stays."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/containers.conf", "w", encoding="utf-8") as file:
            file.write(_CONFIGURATION)
        self.env = {**os.environ, "CONTAINERS_CONF": f"{directory}/containers.conf"}
        self._command = [
            *("podman", "--root", f"{directory}/storage", "--runroot", f"{directory}/run"),
            *("--tmpdir", f"{directory}/tmp", "--storage-driver", "vfs"),
        ]

    def __call__(self, *words: str, stdin: bytes | IO[bytes] | None = None) -> bytes:
        """The standard output of `podman WORDS`. Fails the test where it fails."""
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run([*self._command, *words], **source, env=self.env, capture_output=True, timeout=120)
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr.decode()[-2000:]}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """What `podman image inspect` tells about one image."""
        found: dict[str, Any] = json.loads(self("image", "inspect", name))[0]
        return found
