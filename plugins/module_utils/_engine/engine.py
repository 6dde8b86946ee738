# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The handle that every operation takes: directories, and the records once something asks for them."""

from __future__ import annotations

from .._base.paths import find_paths
from .._store.database import open_database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .._base.paths import Paths
    from .._image.settings import RegistrySettings
    from .._store.database import Database
    from .engine_settings import EngineSettings


SHORT_ID = 12  # digits of an id, as it is shown


class Engine:
    """One engine: three directories and what lives in them.

    Leaving it as a context manager does not close the records: the last connection to close writes SQLite's log back,
    with two fsyncs, and a command that ends gives its locks back anyway. Who goes on living calls `close`.
    """

    def __init__(self, paths: Paths, *, shortest_id: int = SHORT_ID) -> None:
        """What has fewer digits than `shortest_id` is a name alone, never the beginning of an id.

        A task's `db` that is not there must not be what happens to have an id that begins so. A person types less.
        """
        self.paths = paths
        self.shortest_id = shortest_id
        self._database: Database | None = None
        self._defaults: EngineSettings | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        pass

    def database(self, *, create: bool = False) -> Database | None:
        """The records, or None where there are none yet and `create` is not asked for."""
        if self._database is None:
            self._database = open_database(self.paths, create=create)
        return self._database

    @property
    def records(self) -> Database:
        """The records, made where there are none yet. For operations that change something."""
        database = self.database(create=True)
        assert database is not None
        return database

    def settings(self) -> RegistrySettings:
        """The registries' configuration, read anew."""
        from .._image.settings import load_settings

        return load_settings(self.paths)

    def defaults(self) -> EngineSettings:
        """What the host sets for all containers (`engine.json`), as it was when this was first asked for."""
        if self._defaults is None:
            from .engine_settings import load_engine_settings

            self._defaults = load_engine_settings(self.paths)
        return self._defaults

    def close(self) -> None:
        """Close the records; the engine may be used again."""
        if self._database is not None:
            self._database.close()
            self._database = None


def open_engine(root: str | None = None, run: str | None = None, config: str | None = None) -> Engine:
    """The engine with these directories, or those of HULL_ROOT, HULL_RUN and HULL_CONFIG, or the default ones.

    It is for `hull`: one digit of an id is enough where no other begins so.
    """
    return Engine(find_paths(root, run, config), shortest_id=1)
