# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Blobs on their way into a registry: is it there, can it be mounted from another repository, else sent.

A blob is sent in one request (PUT with its length), which every registry takes. Where that breaks off, the registry is
asked how much it has and the rest follows in pieces (PATCH with Content-Range); the same pieces from the start where a
registry, or the proxy before it, takes no large body. A session that is lost is begun anew. Faults have as many
attempts as elsewhere, all of them again after progress.

Nothing is stored here. The body is read anew for each time that it is sent.

Source: OCI distribution specification 1.1, "Push" and "Mounting a blob from another repository"; where an upload stands
is told as `Range: 0-<last byte>`, which for 0 and for 1 byte is the same.
"""

from __future__ import annotations

import os
import time

from .._base.digests import is_digest
from .._base.errors import Damaged, Denied, HullError, NotFound, RegistryError, Unsupported
from .._base.values import Value
from .failures import read_error
from .http import ATTEMPTS, MAX_PAUSE_S, pause_s, wanted_pause_s
from .urls import Url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .connections import RequestBody
    from .failures import ErrorText
    from .http import Response
    from .registry import Registry

    class Content(Protocol):
        """The bytes of a blob, any part of them as the body of a request."""

        @property
        def digest(self) -> str: ...

        @property
        def size(self) -> int: ...

        def part(self, start: int, size: int) -> RequestBody: ...

    Sent = Callable[[int], None]  # told how many bytes have been read for sending

ACTIONS = ("pull", "push")
_TYPE = "application/octet-stream"
_PIECE = 16 * 1024 * 1024
_SMALL_PIECE = 512 * 1024  # below nginx's default limit
_PROGRESS = 32 * 1024  # an upload that got this far since its last fault has all its attempts again
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_TOO_LARGE = frozenset((405, 411, 413, 501))  # of a whole blob in one request: pieces may be taken
_LOST = frozenset((404, 410))  # the session is no more
_GARBLED = frozenset(("DIGEST_INVALID", "SIZE_INVALID"))


class Bytes(Value):
    """A small blob in memory."""

    digest: str
    data: bytes

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)

    def part(self, start: int, size: int) -> RequestBody:
        """Some of its bytes."""
        return self.data[start : start + size]


class File:
    """A blob in a file, which `told` is told of as it is read. The file is opened for each request."""

    def __init__(self, path: str, digest: str, size: int, told: Sent) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self.told = told

    def part(self, start: int, size: int) -> RequestBody:
        """Some of its bytes, read as they are sent."""
        return _Part(self, start, size)


class _Part:
    """A part of a file as the body of a request."""

    def __init__(self, file: File, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self.size = size

    def open(self) -> _OpenPart:
        """A reader of the part from its start."""
        return _OpenPart(self._file, self._start)


class _OpenPart:
    """Reads a file from a place on. A context manager that closes it."""

    def __init__(self, file: File, start: int) -> None:
        self._told = file.told
        self._place = start
        self._fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> _OpenPart:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, size: int) -> bytes:
        """The next bytes, empty at the end."""
        data = os.pread(self._fd, size, self._place)
        self._place += len(data)
        self._told(self._place)
        return data


def has_blob(registry: Registry, repository: str, digest: str) -> bool:
    """Whether the repository has a blob. Raises Denied, RegistryError where the registry does not say."""
    response = registry.request("HEAD", repository, f"blobs/{digest}", {}, actions=ACTIONS)
    if response.status == 404:
        response.close()
        return False
    if response.status != 200:
        raise refused(registry, repository, f"blob {digest}", response)
    response.close()
    return True


def mount(registry: Registry, repository: str, digest: str, source: str) -> bool | Url:
    """Have a blob from another repository of the same registry.

    True: done. A URL: it was not done, but an upload has begun there. False: refused.
    """
    path = f"blobs/uploads/?mount={digest}&from={source}"
    try:
        response = registry.request(
            "POST", repository, path, {}, actions=ACTIONS, extra_scopes=(f"repository:{source}:pull",)
        )
    except Denied:  # the token service: we may not read there
        return False
    if response.status == 202:
        response.close()
        return registry.location(response)
    if response.status != 201:
        read_error(response)
        return False
    response.close()
    return True


def upload(registry: Registry, repository: str, content: Content, *, session: Url | None = None) -> None:
    """Send a blob, in a session that has begun if there is one.

    Raises Denied, NotFound, Unsupported, RegistryError where the registry does not take it, Damaged where it says that
    it got other bytes.
    """
    _Upload(registry, repository, content, session).run()


class _Upload:
    """One blob on its way: where the session is and how much of the blob the registry has."""

    def __init__(self, registry: Registry, repository: str, content: Content, session: Url | None) -> None:
        self._registry = registry
        self._repository = repository
        self._content = content
        self._session = session
        self._what = f"blob {content.digest}"
        self._offset = 0
        self._least = 0  # bytes that a piece must have, but for the last one
        self._piece = _PIECE
        self._in_pieces = False
        self._takes_pieces = True
        self._is_broken = False
        self._faults = 0
        self._furthest = 0  # the offset that faults have seen

    def run(self) -> None:
        """Go on until the blob is there, or raise."""
        is_there = False
        while not is_there:
            try:
                is_there = (self._is_broken and self._find_place()) or self._advance()
            except RegistryError as error:
                if error.status:
                    raise
                self._note_fault(error, pause_s(self._faults))

    def _begin(self) -> Url:
        """A new session."""
        self._offset = 0
        response = self._registry.request("POST", self._repository, "blobs/uploads/", {}, actions=ACTIONS)
        if response.status != 202:
            raise refused(self._registry, self._repository, self._what, response)
        response.close()
        least = response.head.get("oci-chunk-min-length")
        self._least = int(least) if least.isascii() and least.isdigit() and len(least) < 12 else 0
        self._session = self._registry.location(response)
        return self._session

    def _advance(self) -> bool:
        """One request of a session; whether the blob is there."""
        session = self._session or self._begin()
        size = self._content.size
        if self._offset == 0 and not self._in_pieces:
            return self._put(session, self._content.part(0, size))
        if self._offset == size:
            return self._put(session, b"")
        self._patch(session, min(max(self._piece, self._least), size - self._offset))
        return False

    def _put(self, session: Url, body: RequestBody) -> bool:
        """The request that ends the session, with the whole blob or with nothing more."""
        mark = "&" if "?" in session.target else "?"
        url = Url(session.scheme, session.host, session.port, f"{session.target}{mark}digest={self._content.digest}")
        response = self._send("PUT", url, {"Content-Type": _TYPE}, body)
        if response.status in (201, 204):
            response.close()
            self._check_digest(response)
            return True
        if response.status in _TOO_LARGE and not self._in_pieces and self._takes_pieces:
            read_error(response)
            self._in_pieces, self._session = True, None
        else:
            self._mend(response)
        return False

    def _patch(self, session: Url, size: int) -> None:
        """Send the next piece."""
        end = self._offset + size
        headers = {"Content-Type": _TYPE, "Content-Range": f"{self._offset}-{end - 1}"}
        response = self._send("PATCH", session, headers, self._content.part(self._offset, size))
        if response.status == 202:
            response.close()
            self._session = self._registry.location(response)
            place = min(_place(response) or end, end)
            if place <= self._offset:
                self._note_fault(self._error(f"the registry takes nothing beyond byte {self._offset}"), 0)
            self._offset = place
        elif response.status in (405, 501) and not self._in_pieces:
            read_error(response)
            self._takes_pieces, self._session, self._offset = False, None, 0
        elif response.status == 413 and self._piece > _SMALL_PIECE:
            read_error(response)
            self._piece, self._session = _SMALL_PIECE, None
        else:
            self._mend(response)

    def _send(self, method: str, url: Url, headers: dict[str, str], body: RequestBody) -> Response:
        return self._registry.request(method, self._repository, url, headers, body=body, actions=ACTIONS, attempts=1)

    def _mend(self, response: Response) -> None:
        """Make up for an answer that is not the wanted one, so that the next request has a chance, or raise it."""
        status, wait_s = response.status, wanted_pause_s(response, self._faults)
        said = read_error(response)
        error = refusal(self._registry, self._repository, self._what, status, said)
        if said.code in _GARBLED:
            hint = "something between this host and the registry changes data"
            self._note_fault(Damaged(error.message, hint=hint), pause_s(self._faults))
            self._session = None
        elif status in _LOST:
            self._note_fault(error, pause_s(self._faults))
            self._session = None
        elif status == 416 or (status in _PASSING and wait_s <= MAX_PAUSE_S):
            self._note_fault(error, wait_s)
        else:
            raise error

    def _note_fault(self, error: HullError, wait_s: float) -> None:
        """Wait before the next attempt, or raise where there is no progress any more."""
        if self._offset - self._furthest >= _PROGRESS:
            self._faults = 0
        self._furthest = max(self._furthest, self._offset)
        self._faults += 1
        if self._faults >= ATTEMPTS:
            raise error
        self._is_broken = True
        time.sleep(wait_s)

    def _find_place(self) -> bool:
        """Ask the registry how much it has; whether that is the whole blob. Without a place the upload begins anew."""
        session, self._session = self._session, None
        self._offset = 0
        if session is not None and self._takes_pieces:
            response = self._registry.request("GET", self._repository, session, {}, actions=ACTIONS)
            place = _place(response)
            read_error(response)
            if response.status == 204 and 1 < place <= self._content.size:
                self._offset = place
                self._session = self._registry.location(response) if response.head.get("location") else session
        self._is_broken = False
        # A session ends with the request that completes the blob, whose answer may be what was lost.
        return session is not None and self._session is None and self._has_blob()

    def _has_blob(self) -> bool:
        return has_blob(self._registry, self._repository, self._content.digest)

    def _error(self, problem: str) -> RegistryError:
        return RegistryError(f"push {self._registry.domain}/{self._repository}, {self._what}: {problem}")

    def _check_digest(self, response: Response) -> None:
        """What the registry stored is what we sent; digests of other algorithms say nothing."""
        told = response.head.get("docker-content-digest")
        same_kind = told.partition(":")[0] == self._content.digest.partition(":")[0]
        if is_digest(told) and same_kind and told != self._content.digest:
            raise Damaged(
                f"push {self._registry.domain}/{self._repository}, {self._what}: the registry stored {told}",
                hint="something between this host and the registry changes data, or the registry is damaged",
            )


def _place(response: Response) -> int:
    """How many bytes of an upload the registry has, from `Range: 0-<last>`; 0 where it does not say."""
    start, _, last = response.head.get("range").rpartition("=")[2].partition("-")
    return int(last) + 1 if start == "0" and last.isascii() and last.isdigit() and len(last) < 19 else 0


def refused(registry: Registry, repository: str, what: str, response: Response) -> HullError:
    """The error for an answer to a part of a push; reads and closes it."""
    status = response.status
    return refusal(registry, repository, what, status, read_error(response))


def refusal(registry: Registry, repository: str, what: str, status: int, said: ErrorText) -> HullError:
    """The error for a status and what its body says: registry, repository, object, cause and what may cure it."""
    detail = " ".join(part for part in (said.code, said.message) if part)
    text = f"push {registry.domain}/{repository}, {what}: "
    answer = f"the registry answers {status}" + (f" ({detail})" if detail else "")
    if status in (401, 403):
        return Denied(
            f"{text}the registry denies access" + (f" ({detail})" if detail else ""),
            hint=f"log in as a user who may push to {repository}: hull login {registry.domain}, or username and"
            " password of the task",
        )
    if status == 404:
        hint = f"check the name; some registries want {repository}, or the project it is in, to be made first"
        return NotFound(text + answer, hint=hint)
    if status in (405, 501) or said.code == "UNSUPPORTED":
        hint = "mirrors and caches are for pulls only, and a registry may be read-only; push to another one"
        return Unsupported(text + answer, hint=hint)
    hints = {
        413: "raise the size that the registry, or the proxy before it, accepts (nginx: client_max_body_size)",
        415: "the registry does not take this type of image",
        429: "the registry limits how often it is asked; try again later",
        507: "the registry's storage is full",
    }
    hint = hints.get(status, "try again later; the registry's log may say more" if status >= 500 else "")
    return RegistryError(text + answer, status=status, hint=hint)
