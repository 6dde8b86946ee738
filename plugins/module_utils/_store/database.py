# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The records of an engine: one SQLite database in WAL mode under the state directory.

Not for facts that the kernel knows (is it running, is it mounted). A change of more than one record happens in one
`transaction()`, so a reader never sees half of it and a killed writer leaves nothing.

`_sqlite3` is imported instead of `sqlite3`: the package around it loads datetime and collections, which nothing here
needs, and every start would pay for them.
"""

from __future__ import annotations

import _sqlite3
import os
from errno import ENOSPC, EROFS
from time import monotonic, sleep

from .._base.codec import parse, render
from .._base.errors import Conflict, Damaged, HullError, NotFound, SyscallError, Timeout
from .records import (
    BlobRecord,
    ContainerRecord,
    ImageRecord,
    LayerRecord,
    LeaseRecord,
    NetworkRecord,
    TagRecord,
    VolumeRecord,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

    from .._base.paths import Paths

_VERSION = 2
BUSY_TIMEOUT_S = 30
_LOG_BYTES = 256 * 1024

_SCHEMA = """
CREATE TABLE images (
    id TEXT PRIMARY KEY, config TEXT NOT NULL, manifest TEXT NOT NULL, manifest_digest TEXT NOT NULL,
    layers TEXT NOT NULL, size_bytes INTEGER NOT NULL, created_ns INTEGER NOT NULL, stack TEXT NOT NULL);
CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, diff_id TEXT NOT NULL,
    PRIMARY KEY (image_id, diff_id));
CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);
CREATE TABLE tags (
    reference TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, digest TEXT NOT NULL);
CREATE INDEX tags_by_image ON tags (image_id);
CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, created_ns INTEGER NOT NULL);
CREATE TABLE containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image_id TEXT NOT NULL, image_name TEXT NOT NULL,
    created_ns INTEGER NOT NULL, spec TEXT NOT NULL, launch TEXT NOT NULL);
CREATE INDEX containers_by_image ON containers (image_id);
CREATE TABLE volumes (
    name TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, driver TEXT NOT NULL, labels TEXT NOT NULL,
    options TEXT NOT NULL, anonymous INTEGER NOT NULL);
CREATE TABLE container_volumes (
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE, volume TEXT NOT NULL,
    PRIMARY KEY (container_id, volume));
CREATE INDEX container_volumes_by_volume ON container_volumes (volume);
CREATE TABLE networks (
    name TEXT PRIMARY KEY, bridge TEXT NOT NULL UNIQUE, subnet TEXT NOT NULL UNIQUE, gateway TEXT NOT NULL);
CREATE TABLE leases (
    network TEXT NOT NULL, address TEXT NOT NULL,
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (network, address));
CREATE INDEX leases_by_container ON leases (container_id);
CREATE TABLE id_ranges (
    first INTEGER PRIMARY KEY,
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE INDEX id_ranges_by_container ON id_ranges (container_id);
"""
_BLOBS = """
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL, media_type TEXT NOT NULL, size_bytes INTEGER NOT NULL);
CREATE INDEX blobs_by_diff_id ON blobs (diff_id);
CREATE TABLE blob_places (
    digest TEXT NOT NULL REFERENCES blobs(digest) ON DELETE CASCADE, repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository));
"""
_STACK_COLUMN = "ALTER TABLE images ADD COLUMN stack TEXT NOT NULL DEFAULT '[]';"

_CONTAINER_COLUMNS = "id, name, image_id, image_name, created_ns, spec, launch"
_UPDATABLE = ("name", "image_id", "image_name", "spec", "launch")


class _Transaction:
    """BEGIN IMMEDIATE on entry; COMMIT on a normal exit, ROLLBACK on an exception, that of COMMIT too (disk full)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except _sqlite3.OperationalError as error:
            if cause := no_damage(error, "write the records"):
                raise cause from error
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._commit()
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, _sqlite3.OperationalError):
            if "full" in str(error):
                raise _no_space() from error
            if cause := no_damage(error, "write the records"):
                raise cause from error

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except _sqlite3.DatabaseError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if "full" not in str(error):
                raise
            raise _no_space() from error


def _no_space() -> SyscallError:
    return SyscallError(
        "write the records: no space left on device",
        errno=ENOSPC,
        hint="free some, by removing a container for example",
    )


def no_damage(error: Exception, operation: str, directory: str = "") -> HullError | None:
    """What has kept SQLite from records that are whole: a lock, or the state directory's file system. Else None.

    SQLite calls all that the system refuses an I/O error, so the file system is asked.
    """
    text = str(error)
    if _is_busy(error):
        return Timeout(
            f"{operation}: another process has had the records locked for {BUSY_TIMEOUT_S} s",
            hint="look for a hull or an Ansible task that is stopped or hangs",
        )
    if "malformed" in text or "not a database" in text:
        return None
    found = os.statvfs(directory) if directory else None
    if "readonly" in text or (found is not None and found.f_flag & os.ST_RDONLY):
        return SyscallError(
            f"{operation}: the file or its file system is read-only",
            errno=EROFS,
            hint="see dmesg for why, and make it writable",
        )
    if found is not None and found.f_bavail * found.f_frsize < _LOG_BYTES:
        return _no_space()
    return None


def _is_busy(error: Exception) -> bool:
    return "locked" in str(error) or "locking protocol" in str(error)


def _as_text(data: bytes) -> str:
    """A column's text. One that is none any more is no error of all records, and neither JSON nor a name."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\ufffd"


class Database:
    """One connection. Reads see the last committed state; every write belongs into `with database.transaction():`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def close(self) -> None:
        """Close the connection; records stay."""
        self._connection.close()

    def transaction(self) -> _Transaction:
        """A context manager around changes that belong together. Waits up to 30 s for another writer."""
        return _Transaction(self._connection)

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, values).fetchall()
        return rows

    def _write(self, statement: str, *values: Any) -> int:
        """Execute a change; the number of rows it touched."""
        if not self._connection.in_transaction:
            raise RuntimeError("a record is written outside of a transaction")
        count: int = self._connection.execute(statement, values).rowcount
        return count

    # images, tags and layers

    def images(self) -> list[ImageRecord]:
        """All images, newest first."""
        return [_image(row) for row in self._rows("SELECT * FROM images ORDER BY created_ns DESC, id")]

    def image(self, image_id: str) -> ImageRecord | None:
        rows = self._rows("SELECT * FROM images WHERE id = ?", image_id)
        return _image(rows[0]) if rows else None

    def images_by_prefix(self, hex_prefix: str) -> list[ImageRecord]:
        """Images whose id begins with these hex digits."""
        low = "sha256:" + hex_prefix
        return [_image(row) for row in self._rows("SELECT * FROM images WHERE id >= ? AND id < ?", low, low + "g")]

    def put_image(self, record: ImageRecord) -> None:
        """Add an image; one with the same id keeps its time of arrival and takes the rest."""
        self._write(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " manifest = excluded.manifest, manifest_digest = excluded.manifest_digest, stack = excluded.stack",
            *(record.id, record.config, record.manifest, record.manifest_digest),
            *(render(record.layers), record.size_bytes, record.created_ns, render(record.stack)),
        )
        for diff_id in record.layers:
            self._write("INSERT OR IGNORE INTO image_layers VALUES (?, ?)", record.id, diff_id)

    def delete_image(self, image_id: str) -> None:
        """Remove an image and its tags; its layers stay until `layers_unused` says that nothing needs them."""
        self._write("DELETE FROM images WHERE id = ?", image_id)

    def tags(self) -> list[TagRecord]:
        return [TagRecord(*row) for row in self._rows("SELECT * FROM tags ORDER BY reference")]

    def tag(self, reference: str) -> TagRecord | None:
        """The tag with this canonical reference."""
        rows = self._rows("SELECT * FROM tags WHERE reference = ?", reference)
        return TagRecord(*rows[0]) if rows else None

    def put_tag(self, reference: str, image_id: str, digest: str = "") -> None:
        """Let a canonical reference name an image, whatever it named before.

        Without a digest that of the registry stays where it names that image already.
        """
        self._write(
            "INSERT INTO tags VALUES (?, ?, ?) ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id,"
            " digest = CASE WHEN excluded.digest = '' AND image_id = excluded.image_id THEN digest"
            " ELSE excluded.digest END",
            *(reference, image_id, digest),
        )

    def delete_tag(self, reference: str) -> None:
        self._write("DELETE FROM tags WHERE reference = ?", reference)

    def tags_of(self, image_id: str) -> list[TagRecord]:
        return [TagRecord(*row) for row in self._rows("SELECT * FROM tags WHERE image_id = ? ORDER BY 1", image_id)]

    def layer(self, diff_id: str) -> LayerRecord | None:
        rows = self._rows("SELECT * FROM layers WHERE diff_id = ?", diff_id)
        return LayerRecord(*rows[0]) if rows else None

    def put_layer(self, record: LayerRecord) -> None:
        self._write("INSERT OR IGNORE INTO layers VALUES (?, ?, ?)", *record.fields().values())

    def delete_layer(self, diff_id: str) -> None:
        self._write("DELETE FROM layers WHERE diff_id = ?", diff_id)

    def layers_unused(self) -> list[LayerRecord]:
        """Layers that no image contains."""
        statement = "SELECT * FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)"
        return [LayerRecord(*row) for row in self._rows(statement)]

    def put_blob(self, record: BlobRecord) -> None:
        """Note what a blob holds; what is known of it already stays."""
        self._write(
            "INSERT INTO blobs VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET diff_id = excluded.diff_id"
            " WHERE diff_id = ''",
            *record.fields().values(),
        )

    def blob(self, digest: str) -> BlobRecord | None:
        rows = self._rows("SELECT * FROM blobs WHERE digest = ?", digest)
        return BlobRecord(*rows[0]) if rows else None

    def blobs(self) -> list[BlobRecord]:
        return [BlobRecord(*row) for row in self._rows("SELECT * FROM blobs ORDER BY digest")]

    def blobs_of(self, diff_id: str) -> list[BlobRecord]:
        """The compressed forms that are known of a layer."""
        rows = self._rows("SELECT * FROM blobs WHERE diff_id = ? ORDER BY rowid", diff_id)
        return [BlobRecord(*row) for row in rows]

    def blobs_unused(self) -> list[BlobRecord]:
        """Blobs of layers that no image contains; and those of which that is not known and no manifest speaks."""
        statement = (
            "SELECT * FROM blobs WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)"
            " AND NOT (diff_id = '' AND EXISTS (SELECT 1 FROM images WHERE instr(manifest, digest)))"
        )
        return [BlobRecord(*row) for row in self._rows(statement)]

    def delete_blob(self, digest: str) -> None:
        """Forget a blob and where registries have it."""
        self._write("DELETE FROM blobs WHERE digest = ?", digest)

    def put_blob_place(self, digest: str, repository: str) -> None:
        """Note that a repository (`domain/path`) has a blob that is recorded."""
        self._write("INSERT OR IGNORE INTO blob_places VALUES (?, ?)", digest, repository)

    def delete_blob_place(self, digest: str, repository: str) -> None:
        self._write("DELETE FROM blob_places WHERE digest = ? AND repository = ?", digest, repository)

    def blob_places(self, digest: str) -> list[str]:
        """The repositories that were seen to have a blob, newest first."""
        rows = self._rows("SELECT repository FROM blob_places WHERE digest = ? ORDER BY rowid DESC", digest)
        return [row[0] for row in rows]

    # containers

    def containers(self) -> list[ContainerRecord]:
        """All containers, newest first."""
        volumes: dict[str, list[str]] = {}
        for container_id, volume in self._rows("SELECT container_id, volume FROM container_volumes ORDER BY rowid"):
            volumes.setdefault(container_id, []).append(volume)
        rows = self._rows(f"SELECT {_CONTAINER_COLUMNS} FROM containers ORDER BY created_ns DESC, id")
        return [ContainerRecord(*(*row, tuple(volumes.get(row[0], ())))) for row in rows]

    def container(self, container_id: str) -> ContainerRecord | None:
        return _first(self._containers("WHERE id = ?", container_id))

    def container_by_name(self, name: str) -> ContainerRecord | None:
        return _first(self._containers("WHERE name = ?", name))

    def containers_by_name_prefix(self, prefix: str) -> list[ContainerRecord]:
        return self._containers("WHERE name >= ? AND name < ?", prefix, prefix + "\x7f")

    def containers_by_prefix(self, id_prefix: str) -> list[ContainerRecord]:
        return self._containers("WHERE id >= ? AND id < ?", id_prefix, id_prefix + "g")

    def containers_of_image(self, image_id: str) -> list[ContainerRecord]:
        """The containers that were made from an image, and those that mount it."""
        mounted = f'"source":"{image_id}"'  # of an effective mount: see `_engine/declared.py`
        return self._containers("WHERE image_id = ? OR instr(launch, ?)", image_id, mounted)

    def _containers(self, condition: str, *values: str) -> list[ContainerRecord]:
        rows = self._rows(f"SELECT {_CONTAINER_COLUMNS} FROM containers {condition}", *values)
        return [ContainerRecord(*(*row, self._volumes_of(row[0]))) for row in rows]

    def _volumes_of(self, container_id: str) -> tuple[str, ...]:
        statement = "SELECT volume FROM container_volumes WHERE container_id = ? ORDER BY rowid"
        return tuple(row[0] for row in self._rows(statement, container_id))

    def put_container(self, record: ContainerRecord) -> None:
        """Add a container. Raises Conflict where the name is taken."""
        *columns, volumes = record.fields().values()
        try:
            self._write("INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?)", *columns)
        except _sqlite3.IntegrityError as error:
            raise Conflict(
                f"create container {record.name}: the name is taken",
                hint="remove that container or choose another name",
            ) from error
        for volume in volumes:
            self._write("INSERT OR IGNORE INTO container_volumes VALUES (?, ?)", record.id, volume)

    def update_container(self, container_id: str, **columns: str) -> None:
        """Change columns of a container. Raises NotFound, and Conflict where the new name is taken."""
        if not set(columns).issubset(_UPDATABLE):
            raise RuntimeError(f"not columns that change: {sorted(columns)}")
        assignments = ", ".join(f"{column} = ?" for column in columns)
        try:
            count = self._write(f"UPDATE containers SET {assignments} WHERE id = ?", *columns.values(), container_id)
        except _sqlite3.IntegrityError as error:
            raise Conflict(f"rename container to {columns.get('name')}: the name is taken") from error
        if not count:
            raise NotFound(f"container {container_id[:12]}: no such container")

    def delete_container(self, container_id: str) -> None:
        """Remove a container with its leases, its range of ids and its use of volumes."""
        self._write("DELETE FROM containers WHERE id = ?", container_id)

    # volumes, networks and leases

    def volumes(self) -> list[VolumeRecord]:
        return [_volume(row) for row in self._rows("SELECT * FROM volumes ORDER BY name")]

    def volume(self, name: str) -> VolumeRecord | None:
        rows = self._rows("SELECT * FROM volumes WHERE name = ?", name)
        return _volume(rows[0]) if rows else None

    def put_volume(self, record: VolumeRecord) -> None:
        """Add a volume, or take the new labels and options of one that exists."""
        self._write(
            "INSERT OR REPLACE INTO volumes VALUES (?, ?, ?, ?, ?, ?)",
            *(record.name, record.created_ns, record.driver),
            *(render(record.labels), render(record.options), int(record.anonymous)),
        )

    def delete_volume(self, name: str) -> None:
        self._write("DELETE FROM volumes WHERE name = ?", name)

    def volume_users(self, name: str) -> list[str]:
        """Ids of the containers, running or not, that use a volume."""
        return [row[0] for row in self._rows("SELECT container_id FROM container_volumes WHERE volume = ?", name)]

    def networks(self) -> list[NetworkRecord]:
        return [NetworkRecord(*row) for row in self._rows("SELECT * FROM networks ORDER BY name")]

    def network(self, name: str) -> NetworkRecord | None:
        rows = self._rows("SELECT * FROM networks WHERE name = ?", name)
        return NetworkRecord(*rows[0]) if rows else None

    def put_network(self, record: NetworkRecord) -> None:
        self._write("INSERT OR REPLACE INTO networks VALUES (?, ?, ?, ?)", *record.fields().values())

    def delete_network(self, name: str) -> None:
        self._write("DELETE FROM networks WHERE name = ?", name)

    def leases(self, network: str) -> list[LeaseRecord]:
        return [LeaseRecord(*row) for row in self._rows("SELECT * FROM leases WHERE network = ?", network)]

    def lease_of(self, network: str, container_id: str) -> LeaseRecord | None:
        """The lease that a container holds in a network."""
        rows = self._rows("SELECT * FROM leases WHERE network = ? AND container_id = ?", network, container_id)
        return LeaseRecord(*rows[0]) if rows else None

    def put_lease(self, record: LeaseRecord) -> None:
        """Add a lease. Raises Conflict where the address is taken. The container may follow in the same transaction."""
        try:
            self._write("INSERT INTO leases VALUES (?, ?, ?)", *record.fields().values())
        except _sqlite3.IntegrityError as error:
            raise Conflict(f"lease {record.address} in network {record.network}: the address is taken") from error

    def delete_leases(self, container_id: str) -> None:
        self._write("DELETE FROM leases WHERE container_id = ?", container_id)

    def id_ranges(self) -> dict[int, str]:
        """The ranges of host ids that containers hold: the first id to the container's id."""
        return dict(self._rows("SELECT first, container_id FROM id_ranges ORDER BY first"))

    def put_id_range(self, first: int, container_id: str) -> None:
        """Add a range. Raises Conflict where it is taken. The container may follow in the same transaction."""
        try:
            self._write("INSERT INTO id_ranges VALUES (?, ?)", first, container_id)
        except _sqlite3.IntegrityError as error:
            raise Conflict(f"map the ids of container {container_id[:12]}: the range from {first} is taken") from error


def _first(records: list[ContainerRecord]) -> ContainerRecord | None:
    return records[0] if records else None


def _image(row: tuple[Any, ...]) -> ImageRecord:
    image_id, config, manifest, manifest_digest, layers, size_bytes, created_ns, stack = row
    source = f"the record of image {image_id}"
    diff_ids, directories = tuple(parse(layers, source=source)), tuple(parse(stack, source=source))
    return ImageRecord(image_id, config, manifest, manifest_digest, diff_ids, size_bytes, created_ns, directories)


def _volume(row: tuple[Any, ...]) -> VolumeRecord:
    name, created_ns, driver, labels, options, anonymous = row
    source = f"the record of volume {name}"
    return VolumeRecord(
        name, created_ns, driver, parse(labels, source=source), parse(options, source=source), bool(anonymous)
    )


def _statements(script: str) -> Iterable[str]:
    return (statement for statement in script.split(";") if statement.strip())


def _prepare(connection: Any, path: str) -> None:
    """Make the schema where there is none, bring an older one up to date; refuse a database of a newer version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise Conflict(f"open {path}: its version {version} is newer than this engine's {_VERSION}", hint="upgrade")
    if version == _VERSION:
        return
    with _Transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statement in _statements({0: _SCHEMA + _BLOBS, 1: _STACK_COLUMN + _BLOBS}.get(version, "")):
            connection.execute(statement)
        if version == 1:
            _fill_stacks(connection)
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _fill_stacks(connection: Any) -> None:
    """Give the images of version 1 their stacks: there the layers were stacked as they are."""
    for image_id, layers in connection.execute("SELECT id, layers FROM images").fetchall():
        diff_ids = parse(layers, source=f"the record of image {image_id}")
        stack = render([f"layers/{diff_id.partition(':')[2]}" for diff_id in diff_ids])
        connection.execute("UPDATE images SET stack = ? WHERE id = ?", (stack, image_id))


def _use_log(connection: Any) -> None:
    """WAL. SQLite waits for nobody while it gives a new database its log, so that is done here."""
    deadline = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except _sqlite3.OperationalError as error:
            if not _is_busy(error) or monotonic() > deadline:
                raise
            sleep(0.005)


def open_database(paths: Paths, *, create: bool) -> Database | None:
    """Open the records. Without `create`, None where there are none yet and nothing is written to disk.

    With `create` the state directory (0700) and the database (0600) are made. Raises Damaged for a file that SQLite
    can't read, Conflict for one of a newer version, Timeout where another process keeps it locked, SyscallError where
    the disk is full or read-only.
    """
    path = paths.database
    if create:
        os.makedirs(paths.root, mode=0o700, exist_ok=True)
        if not os.path.exists(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    elif not os.path.exists(path) or os.path.getsize(path) == 0:
        return None
    try:
        connection = _sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.text_factory = _as_text
        _use_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        _prepare(connection, path)
    except _sqlite3.DatabaseError as error:
        if cause := no_damage(error, f"open {path}", paths.root):
            raise cause from error
        raise Damaged(
            f"open {path}: {error}", hint="restore it from a backup, or move it away to begin with no records"
        ) from error
    except HullError:
        connection.close()
        raise
    return Database(connection)
