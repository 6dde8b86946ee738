# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Debian's `docker-registry` on a free loopback port, with a directory of its own; and ways to push into it."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from tests.support.images import DOCKER, Image, digest_of, make_index, platform_of, write_layout

_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_DEADLINE_S = 20


class RunningRegistry:
    """A registry that answers on `host`."""

    def __init__(self, host: str, log: str) -> None:
        self.host = host
        self.log = log

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        """One request; the answer is read. Raises AssertionError for an error status."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        assert response.status < 400, f"{method} {path}: {response.status} {text[:500]!r}"
        return response

    def push_blob(self, repository: str, data: bytes) -> None:
        location: str = self.request("POST", f"/v2/{repository}/blobs/uploads/").getheader("Location") or ""
        path = "/" + location.partition("://")[2].partition("/")[2] if "://" in location else location
        mark = "&" if "?" in path else "?"
        self.request("PUT", f"{path}{mark}digest={digest_of(data)}", data, Content_Type="application/octet-stream")

    def push_manifest(self, repository: str, version: str, data: bytes, media_type: str) -> str:
        """Put a document under a tag or digest; its digest."""
        self.request("PUT", f"/v2/{repository}/manifests/{version}", data, Content_Type=media_type)
        return digest_of(data)

    def push(self, repository: str, tag: str, image: Image) -> str:
        """Push an image under a tag (an empty one: by digest only); the reference to pull."""
        for data in image.blobs.values():
            self.push_blob(repository, data)
        self.push_manifest(repository, tag or image.digest, image.manifest, image.media_type)
        return f"{self.host}/{repository}:{tag}" if tag else f"{self.host}/{repository}@{image.digest}"

    def push_index(self, repository: str, tag: str, images: dict[str, Image], types: dict[str, str] = DOCKER) -> str:
        """Push images by platform and an index of them; the reference to pull."""
        for image in images.values():
            self.push(repository, "", image)
        entries = [image.descriptor(platform=platform_of(name)) for name, image in images.items()]
        self.push_manifest(repository, tag, *make_index(entries, types=types))
        return f"{self.host}/{repository}:{tag}"

    def skopeo_push(self, repository: str, tag: str, image: Image, *options: str) -> str:
        """Let skopeo push the image (of OCI types), with options of `skopeo copy`; the reference to pull."""
        with tempfile.TemporaryDirectory(prefix="hull-layout-") as directory:
            write_layout(image, f"{directory}/image")
            target = f"docker://{self.host}/{repository}:{tag}"
            command = ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options]
            subprocess.run([*command, f"oci:{directory}/image:latest", target], check=True, timeout=60)
        return f"{self.host}/{repository}:{tag}"


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running_registry() -> Iterator[RunningRegistry]:
    """Start a registry, wait until it answers, stop it at the end; nothing of it stays."""
    directory = tempfile.mkdtemp(prefix="hull-registry-")
    port, log = free_port(), f"{directory}/log"
    with open(f"{directory}/config.yml", "w", encoding="utf-8") as file:
        file.write(_CONFIG.format(root=f"{directory}/data", port=port))
    os.mkdir(f"{directory}/data")
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["docker-registry", "serve", f"{directory}/config.yml"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        registry = RunningRegistry(f"127.0.0.1:{port}", log)
        _wait_until_up(registry, process)
        yield registry
    finally:
        process.terminate()
        process.wait(timeout=_DEADLINE_S)
        shutil.rmtree(directory)


def _wait_until_up(registry: RunningRegistry, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            registry.request("GET", "/v2/")
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                with open(registry.log, encoding="utf-8") as file:
                    raise RuntimeError(f"docker-registry does not answer: {file.read()[-2000:]}") from None
            time.sleep(0.02)
