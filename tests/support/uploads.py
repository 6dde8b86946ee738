# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The half of the misbehaving registry that takes images: sessions, pieces, mounts, manifests.

It keeps to the specification where no fault is set: a piece has to begin where the last one ended, a blob has to have
its digest, a manifest's blobs have to be in its repository. It lives in the server's process.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.images import digest_of


@dataclass
class Reply:
    """An answer to a part of a push."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def problem(status: int, code: str, message: str = "so it is", **headers: str) -> Reply:
    """A refusal in the form of the specification; header names with `_` for `-`."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": "application/json", **fields}, body)


class Uploads:
    """Repositories that can be pushed to. `blobs` and `manifests` are shared with the half that serves pulls."""

    def __init__(self, blobs: dict[str, bytes], manifests: dict[str, tuple[bytes, str]]) -> None:
        self.blobs = blobs
        self.manifests = manifests
        self.held: set[tuple[str, str]] = set()  # (repository, digest)
        self.sessions: dict[str, bytearray] = {}
        self.least_piece = 0
        self.largest_body = 1 << 40
        self.refused_types: tuple[str, ...] = ()
        self._count = 0
        self._lock = threading.Lock()

    def has(self, repository: str, digest: str) -> bool:
        return (repository, digest) in self.held

    def reply(self, method: str, target: str, headers: dict[str, str], body: bytes, scopes: str | None) -> Reply | None:
        """The answer to a request of a push; None for one that is none. `scopes`: what its token is for, None: any."""
        parts = urlsplit(target)
        repository, mark, rest = parts.path[len("/v2/") :].partition("/blobs/uploads/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if mark:
            return self._upload(method, repository, rest, query, headers, body, scopes)
        repository, mark, version = parts.path[len("/v2/") :].partition("/manifests/")
        if mark and method == "PUT":
            return self._put_manifest(repository, version, headers.get("content-type", ""), body)
        return None

    def _upload(
        self,
        method: str,
        repository: str,
        session: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
        scopes: str | None,
    ) -> Reply:
        if method == "POST":
            return self._begin(repository, query, scopes)
        if session not in self.sessions or query.get("state") != "a/b+c=":
            return problem(404, "BLOB_UPLOAD_UNKNOWN")
        data = self.sessions[session]
        if method == "GET":
            return Reply(204, self._headers(repository, session))
        span = headers.get("content-range", "")
        if span and span != f"{len(data)}-{len(data) + len(body) - 1}":
            return Reply(416, self._headers(repository, session))
        data += body
        if method == "PATCH":
            return Reply(202, self._headers(repository, session))
        del self.sessions[session]
        if digest_of(bytes(data)) != query["digest"]:
            return problem(400, "DIGEST_INVALID", f"got {len(data)} bytes")
        self.blobs[query["digest"]] = bytes(data)
        self.held.add((repository, query["digest"]))
        return Reply(201, {"Docker-Content-Digest": query["digest"], "Location": f"/v2/{repository}/blobs/x"})

    def _begin(self, repository: str, query: dict[str, str], scopes: str | None) -> Reply:
        source, digest = query.get("from", ""), query.get("mount", "")
        may_read = scopes is None or f"repository:{source}:pull" in scopes
        if digest and self.has(source, digest) and may_read:
            self.held.add((repository, digest))
            return Reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/blobs/{digest}"})
        with self._lock:
            self._count += 1
            session = f"session-{self._count}"
        self.sessions[session] = bytearray()
        reply = Reply(202, self._headers(repository, session))
        if self.least_piece:
            reply.headers["OCI-Chunk-Min-Length"] = str(self.least_piece)
        return reply

    def _headers(self, repository: str, session: str) -> dict[str, str]:
        last = max(len(self.sessions[session]) - 1, 0)
        location = f"/v2/{repository}/blobs/uploads/{session}?state=a%2Fb%2Bc%3D"
        return {"Location": location, "Range": f"0-{last}"}

    def _put_manifest(self, repository: str, version: str, media_type: str, body: bytes) -> Reply:
        if media_type in self.refused_types:
            return problem(400, "MANIFEST_INVALID", "manifest invalid")
        document = json.loads(body)
        if document.get("mediaType") not in (None, media_type):
            return problem(400, "MANIFEST_INVALID", "Content-Type and mediaType differ")
        named = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        named = [entry for entry in named if not entry.get("urls")]
        if not all(self.has(repository, entry["digest"]) for entry in named):
            return problem(404, "MANIFEST_BLOB_UNKNOWN")
        for entry in document.get("manifests", []):
            if f"{repository}/manifests/{entry['digest']}" not in self.manifests:
                return problem(404, "MANIFEST_UNKNOWN")
        digest = digest_of(body)
        self.manifests[f"{repository}/manifests/{digest}"] = (body, media_type)
        self.manifests[f"{repository}/manifests/{version}"] = (body, media_type)
        return Reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/manifests/{digest}"})
