# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where a root file system's tarball comes from: a file, a stream, or a web server.

A server is asked as registries are (`http.py`): TLS checked, redirects and retries limited, proxies from the
environment; a transfer that breaks goes on where it was, if the server says that it still has the same file. No
credentials are sent.
"""

from __future__ import annotations

import os
import time
from stat import S_ISDIR

from .._base.digests import is_digest
from .._base.errors import Damaged, HullError, Invalid, NotFound, RegistryError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from .compression import ByteStream
    from .http import Client, Response
    from .urls import Url

_SCHEMES = ("http://", "https://")
_PIECE = 256 * 1024
_MOST_FAULTS = 5


def is_url(source: str) -> bool:
    """Whether a text is a URL and not a path."""
    return source.lower().startswith(_SCHEMES)


def check_checksum(text: str) -> str:
    """The digest itself. Raises Invalid where it is not one."""
    if text and not is_digest(text):
        raise Invalid(f"{text[:100]!r} is not a digest", option="checksum", hint="write sha256: and 64 hex digits")
    return text


class Source:
    """An open source. `what` names it in messages, without what may be secret. To be used with `with`."""

    def __init__(self, what: str, stream: ByteStream, closing: Any = None) -> None:
        self.what = what
        self.stream = stream
        self._closing = closing

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._closing is not None:
            self._closing.close()


def open_source(source: str | IO[bytes]) -> Source:
    """The tarball at a path or URL, or in a stream, which stays open.

    Raises NotFound for a missing file, Invalid for a directory, RegistryError for what a server does not give.
    """
    if not isinstance(source, str):
        return Source("the tarball", source)
    if is_url(source):
        from .urls import parse_url

        url = parse_url(source)
        download = _Download(url)
        return Source(url.shown, download, download)
    file = _open_file(source)
    return Source(source, file, file)


def _open_file(path: str) -> IO[bytes]:
    try:
        if S_ISDIR(os.stat(path).st_mode):
            raise Invalid(f"import {path}: a directory", hint=f"pack it first: tar -C {path} -c . | hull import - NAME")
        return open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"import {path}: there is no such file", hint="check the path; it is one of this host"
        ) from error
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise SyscallError(f"import {path}: {text.lower()}", errno=getattr(error, "errno", None) or 0) from error


class _Download:
    """The body of an answer, read to the length that it announced. Nothing is requested before the first read."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._client: Client | None = None
        self._response: Response | None = None
        self._position = 0
        self._length = -1  # not known
        self._validator = ""  # says that a later answer is of the same file
        self._faults = 0

    def close(self) -> None:
        """Give up the transfer."""
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._client is not None:
            self._client.forget_connections()

    def read(self, size: int) -> bytes:
        """As a file's read. Raises RegistryError where it can't be had, Damaged where it ends too early."""
        while self._length < 0 or self._position < self._length:
            try:
                if self._response is None:
                    self._response = self._request()
                data = self._response.read(min(size, _PIECE))
            except OSError as error:
                self._note_fault(error)
                continue
            self._position += len(data)
            if not data and 0 <= self._position < self._length:
                raise Damaged(f"get {self._url.shown}: it ends after {self._position} of {self._length} bytes")
            return data
        return b""

    def _note_fault(self, error: OSError) -> None:
        from .failures import broken
        from .http import pause_s

        self._faults += 1
        self.close()
        if self._faults >= _MOST_FAULTS or (self._position and not self._validator):
            raise broken("GET", self._url, error, self._faults) from error
        time.sleep(pause_s(self._faults - 1))

    def _request(self) -> Response:
        """An answer whose next byte is the one at the position."""
        from .http import Client
        from .settings import RegistryConfig

        if self._client is None:
            self._client = Client(RegistryConfig(), self._url)
        headers = {"Range": f"bytes={self._position}-", "If-Range": self._validator} if self._position else {}
        response = self._client.request("GET", self._url, headers)
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response: Response) -> None:
        if self._position:
            begins = response.head.get("content-range").startswith(f"bytes {self._position}-")
            if response.status != 206 or not begins:
                raise RegistryError(
                    f"get {self._url.shown}: the transfer broke after {self._position} bytes and can't go on there",
                    hint="import it again",
                )
            return
        if response.status != 200:
            raise self._refused(response)
        encoding = response.head.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise RegistryError(f"get {self._url.shown}: sent with Content-Encoding {encoding[:40]}, not asked for")
        length = response.head.get("content-length")
        self._length = int(length) if length.isdecimal() else -1
        etag = response.head.get("etag")
        self._validator = etag if etag.startswith('"') else ""

    def _refused(self, response: Response) -> HullError:
        status = response.status
        if status in (404, 410):
            return NotFound(f"get {self._url.shown}: there is nothing ({status})", hint="check the URL")
        hint = "fetch it by other means and import the file" if status in (401, 403) else "try again later"
        return RegistryError(f"get {self._url.shown}: the server answers {status}", status=status, hint=hint)
