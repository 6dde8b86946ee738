# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A store of a test's own: directories, records, and what must not be left in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.archives import Loaded, load
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.garbage import list_blobs
from ansible_collections.hull.engine.plugins.module_utils._store.layers import list_layers
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord


class Store:
    """An engine's state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths = Paths(root=str(path / "root"), run=str(path / "run"), config=str(path / "config"))
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def load(self, source: str | Path | IO[bytes], **options: Any) -> list[Loaded]:
        return load(self.paths, self.database, str(source) if isinstance(source, Path) else source, **options)

    def image(self, image_id: str) -> ImageRecord:
        """The record of an image that is here."""
        record = self.database.image(image_id)
        assert record is not None
        return record

    def layers(self) -> list[str]:
        return list_layers(self.paths)

    def blobs(self) -> list[str]:
        return list_blobs(self.paths)

    def fs(self, diff_id: str) -> Path:
        return Path(self.paths.layer(diff_id), "fs")

    def assert_empty(self) -> None:
        """Nothing of an operation that failed is left, neither a record nor a file."""
        assert self.database.images() == [] == self.database.tags() == self.layers() == self.blobs()
        for place in (self.paths.temporary, self.paths.trash):
            assert not os.path.exists(place) or os.listdir(place) == []
