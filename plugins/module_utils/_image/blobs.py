# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A blob of a registry as a stream that checks itself and survives broken connections.

Every byte handed out has been hashed; a blob that is not what its descriptor says ends in Damaged before its last
`read` returns empty, so a consumer that publishes only after the end never publishes it.

Source: RFC 9110 section 14 (Range).
"""

from __future__ import annotations

import time

from .._base.errors import Damaged, RegistryError
from .http import ATTEMPTS, pause_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from .http import Response
    from .manifest import Descriptor
    from .registry import Registry

_PROGRESS = 32 * 1024  # a transfer that got this far since its last fault has all its attempts again
_PIECE = 256 * 1024


def new_hasher(algorithm: str) -> Any:
    """A hash object of hashlib for `sha256` or `sha512`."""
    from hashlib import sha256, sha512

    return {"sha256": sha256, "sha512": sha512}[algorithm]()


class Blob:
    """The bytes of one blob. A context manager; not seekable.

    A transfer that breaks goes on where it stopped (Range), or from the start with the known bytes skipped where the
    server has no ranges; the hash covers what was handed out, so either way a wrong byte is found.
    """

    def __init__(self, registry: Registry, repository: str, descriptor: Descriptor) -> None:
        self._registry = registry
        self._repository = repository
        self._descriptor = descriptor
        self._hasher = new_hasher(descriptor.digest.partition(":")[0])
        self._response: Response | None = None
        self._use_range = True
        self._faults = 0
        self._fault_at = 0
        self._is_checked = False
        self.position = 0

    def __enter__(self) -> Blob:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the transfer, wherever it is."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end; empty after it.

        Raises Damaged where the blob is not what its descriptor says, RegistryError where it can't be had.
        """
        pieces, have = [], 0
        while have < size and self.position < self._descriptor.size:
            data = self._receive(min(size - have, self._descriptor.size - self.position, _PIECE))
            pieces.append(data)
            have += len(data)
        if self.position == self._descriptor.size and not self._is_checked:
            self._check_end()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Read and check what is left."""
        while self.read(_PIECE):
            pass

    def _receive(self, limit: int) -> bytes:
        """At least one byte; opens the transfer, again after a fault."""
        while True:
            try:
                if self._response is None:
                    self._response = self._open()
                data = self._response.read(limit)
                if not data:
                    raise self._wrong(f"ends after {self.position} of {self._descriptor.size} bytes")
                self._hasher.update(data)
                self.position += len(data)
                return data
            except OSError as error:
                self._note_fault(error)

    def _note_fault(self, error: OSError) -> None:
        """Close the broken transfer and wait, or raise where there is no progress any more."""
        url = self._response.url if self._response else None
        self.close()
        self._registry.note_fault()
        if self.position - self._fault_at >= _PROGRESS:
            self._faults = 0
        self._fault_at = self.position
        self._faults += 1
        if self._faults >= ATTEMPTS:
            if url is not None:
                from .failures import broken

                raise broken("GET", url, error, self._faults) from error
            raise RegistryError(f"get blob {self._descriptor.digest}: {error}", hint="try again later") from error
        time.sleep(pause_s(self._faults - 1))

    def _open(self) -> Response:
        """A response whose next byte is the one at `position`."""
        offset = self.position if self._use_range else 0
        response = self._request(offset)
        try:
            if response.status == 206 and not self._continues(response):
                response.close()
                self._use_range = False
                return self._open()
            if response.status == 416:
                response.close()
                self._use_range = False
                return self._open()
            self._check_announcement(response)
            self._skip(response)
            return response
        except BaseException:
            response.close()
            raise

    def _request(self, offset: int) -> Response:
        return self._registry.open_blob(self._repository, self._descriptor.digest, offset)

    def _continues(self, response: Response) -> bool:
        """Whether a 206 holds exactly the rest."""
        unit, _, span = response.head.get("content-range").partition(" ")
        span, _, total = span.partition("/")
        return (
            unit == "bytes"
            and span == f"{self.position}-{self._descriptor.size - 1}"
            and total in ("*", str(self._descriptor.size))
        )

    def _check_announcement(self, response: Response) -> None:
        encoding = response.head.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise RegistryError(
                f"get blob {self._descriptor.digest}: sent with Content-Encoding {encoding[:40]}, not asked for",
                hint="a proxy between this host and the registry recodes data; let it pass blobs unchanged",
            )
        announced = response.head.get("content-length")
        if response.status == 200 and announced and announced != str(self._descriptor.size):
            raise self._wrong(f"has {announced[:20]} bytes, the manifest says {self._descriptor.size}")

    def _skip(self, response: Response) -> None:
        left = self.position if response.status == 200 else 0
        while left:
            data = response.read(min(left, _PIECE))
            if not data:
                raise self._wrong(f"ends after {self.position - left} of {self._descriptor.size} bytes")
            left -= len(data)

    def _check_end(self) -> None:
        self._is_checked = True
        excess = b""
        if self._response is not None:
            try:
                excess = self._response.read(1)
            except OSError:
                pass  # all bytes are here; how the connection ends does not matter
        self.close()
        if excess:
            raise self._wrong(f"is longer than the {self._descriptor.size} bytes that the manifest says")
        actual = f"{self._descriptor.digest.partition(':')[0]}:{self._hasher.hexdigest()}"
        if actual != self._descriptor.digest:
            raise self._wrong(f"has the digest {actual}")

    def _wrong(self, problem: str) -> Damaged:
        return Damaged(
            f"get blob {self._descriptor.digest} of {self._registry.serving}/{self._repository}: it {problem}",
            hint="something between this host and the registry changes data, or the registry is damaged",
        )
