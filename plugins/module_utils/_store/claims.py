# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an operation that runs counts on though no record needs it yet: garbage collection leaves that alone.

A pull claims the layers of its image before it looks which of them are here, and holds the claim until the image is
recorded. So neither a layer that it found nor one that it has just brought is removed behind its back. The claim is a
file in an owned directory and dies with its owner:

    tmp/owned-claim-<random>/claim     {"images": [[diff ID, ...], ...], "blobs": [digest, ...], "all": false}

It is written inside a transaction of the records, and the collector reads claims inside of the one in which it removes:
so it sees the claim, or the claimant sees that the layer is gone.
"""

from __future__ import annotations

import os

from .._base.codec import parse, render
from .._base.errors import Damaged
from .._base.values import Value
from .temporary import PREFIX, OwnedDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Any

    from .._base.paths import Paths
    from .database import Database

_PURPOSE = "claim"
_NAME = "claim"


class Claims(Value):
    """All that is claimed at one moment. With `all` whatever no record knows is."""

    diff_ids: frozenset[str]
    chain_ids: frozenset[str]
    blobs: frozenset[str]
    all: bool


class claim:
    """A context manager: within it the layers of these images, each lowest first, and these blobs stay.

    Without `images` everything stays that no record knows: for who does not know yet what it will bring. Must not be
    entered inside a transaction.
    """

    def __init__(
        self,
        paths: Paths,
        database: Database,
        images: Iterable[Sequence[str]] | None = None,
        *,
        blobs: Iterable[str] = (),
    ) -> None:
        content = {"images": [list(image) for image in images or ()], "blobs": list(blobs), "all": images is None}
        self._text = render(content)
        self._database = database
        self._owned = OwnedDirectory(paths, _PURPOSE)

    def __enter__(self) -> None:
        self._owned.__enter__()
        try:
            with self._database.transaction():
                draft = f"{self._owned.path}/draft"
                with open(draft, "x", encoding="ascii") as file:
                    file.write(self._text)
                os.rename(draft, f"{self._owned.path}/{_NAME}")
        except BaseException:
            self._owned.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.__exit__(kind, error, trace)


def read_claims(paths: Paths) -> Claims:
    """What is claimed now. Call it inside a transaction; `sweep_temporary` before that removes dead claims."""
    diff_ids: set[str] = set()
    chain_ids: set[str] = set()
    blobs: set[str] = set()
    everything = False
    for content in _contents(paths):
        for image in content["images"]:
            diff_ids.update(image)
            chain_ids.update(chain(image))
        blobs.update(content["blobs"])
        everything = everything or content["all"]
    return Claims(frozenset(diff_ids), frozenset(chain_ids), frozenset(blobs), everything)


def _contents(paths: Paths) -> Iterator[dict[str, Any]]:
    try:
        names = os.listdir(paths.temporary)
    except FileNotFoundError:
        return
    for name in names:
        if not name.startswith(f"{PREFIX}{_PURPOSE}-"):
            continue
        path = f"{paths.temporary}/{name}/{_NAME}"
        try:
            with open(path, encoding="ascii") as file:
                yield parse(file.read(), source=path)
        except (FileNotFoundError, Damaged):
            continue  # not in effect yet, or no more; a crash of the host may have emptied it


def chain(diff_ids: Sequence[str]) -> list[str]:
    """The chain ID of every layer of an image, lowest first.

    Source: OCI image specification, config.md, "Layer ChainID".
    """
    from hashlib import sha256

    found: list[str] = []
    for diff_id in diff_ids:
        found.append("sha256:" + sha256(f"{found[-1]} {diff_id}".encode()).hexdigest() if found else diff_id)
    return found
