# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Images written as docker-archive, oci-archive or OCI layout directory, to a file or a stream.

Streaming: every size is known before, so nothing is copied on the way. A file or directory is written beside its place
and renamed, so that under its name it is whole or not there. Equal images give equal bytes: the time of all entries is
SOURCE_DATE_EPOCH's, else that of the newest image.
"""

from __future__ import annotations

import os
from errno import ENOSPC
from stat import S_ISREG

from .._base.errors import Conflict, HullError, Invalid, NotFound, SyscallError
from .._store.files import fsync_directory, remove_tree
from .archive_contents import SavedImage, docker_files, oci_files
from .source_date import source_date_ns
from .tar_writer import TarWriter, make_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._base.paths import Paths
    from .._store.database import Database
    from .archive_contents import ArchivedFile

    Write = Callable[[bytes], object]

DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIRECTORY = "docker-archive", "oci-archive", "oci-dir"
FORMATS = (DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIRECTORY)
_CHUNK = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SECOND = 10**9


def save(paths: Paths, database: Database, images: Sequence[SavedImage], target: str | int, form: str) -> None:
    """Write an archive of the images to a path, or to a descriptor, which stays open.

    Raises Invalid for a format or target that can't be, NotFound for a layer that can't be made again, Damaged for one
    that is not what it was, SyscallError where the target can't be written; then the target is as before. What went
    into a descriptor has no end then, so nobody takes it for whole.
    """
    if form not in FORMATS:
        raise Invalid(f"{form!r} is not known", option="format", hint=f"use {', '.join(FORMATS)}")
    if form == OCI_DIRECTORY and not isinstance(target, str):
        raise Invalid("oci-dir is a directory, not a stream", option="format", hint="name one with --output")
    if isinstance(target, str):
        check_target(target, form)
    mtime_ns = _time_ns(images)
    files = (docker_files if form == DOCKER_ARCHIVE else oci_files)(paths, database, images)
    if isinstance(target, int):
        _write_tar(files, mtime_ns, target)
    elif form == OCI_DIRECTORY:
        _save_directory(files, target)
    else:
        _save_file(files, mtime_ns, target)


def check_target(path: str, form: str) -> None:
    """Raise Conflict or NotFound where no archive of this form can be written to a path."""
    place = os.path.realpath(path)
    if form != OCI_DIRECTORY and os.path.isdir(place):
        raise Conflict(f"save {path}: a directory", hint="name a file, or choose the format oci-dir")
    if form == OCI_DIRECTORY and os.path.exists(place) and (not os.path.isdir(place) or os.listdir(place)):
        raise Conflict(f"save {path}: something is there", hint="remove it, or name another place")
    if not os.path.isdir(os.path.dirname(place)):
        raise NotFound(f"save {path}: no such file or directory", hint="make the directory first")


def _time_ns(images: Sequence[SavedImage]) -> int:
    from .._base.clock import parse_time
    from .._base.codec import parse

    fixed = source_date_ns()
    if fixed is not None:
        return fixed
    times = [0]
    for image in images:
        created = parse(image.record.config, source=f"the configuration of image {image.record.id}").get("created")
        try:
            times.append(parse_time(str(created), option="created") if created else 0)
        except Invalid:
            continue
    return max(times) // _SECOND * _SECOND


def _save_file(files: Sequence[ArchivedFile], mtime_ns: int, path: str) -> None:
    """A file beside its place, renamed when it is whole; what is no regular file (a FIFO, a device) is written to."""
    place = os.path.realpath(path)
    try:
        if os.path.exists(place) and not S_ISREG(os.stat(place).st_mode):
            with open(place, "wb", buffering=0) as file:
                _write_tar(files, mtime_ns, file.fileno())
            return
        draft = f"{os.path.dirname(place)}/.{os.path.basename(place)}.{os.urandom(4).hex()}"
        fd = os.open(draft, _NEW, 0o600)
        try:
            try:
                _write_tar(files, mtime_ns, fd)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(draft, place)
        except BaseException:
            os.unlink(draft)
            raise
        fsync_directory(os.path.dirname(place))
    except OSError as error:
        raise _explained(path, error) from error


def _save_directory(files: Sequence[ArchivedFile], path: str) -> None:
    place = os.path.realpath(path)
    draft = f"{os.path.dirname(place)}/.{os.path.basename(place)}.{os.urandom(4).hex()}"
    try:
        os.mkdir(draft, 0o755)
        try:
            for file in files:
                _write_file(file, f"{draft}/{file.name}")
            _sync(draft)
            os.rename(draft, place)
        except BaseException:
            remove_tree(draft)
            raise
        fsync_directory(os.path.dirname(place))
    except OSError as error:
        raise _explained(path, error) from error


def _write_file(file: ArchivedFile, path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    fd = os.open(path, _NEW, 0o644)
    try:
        _copy(file, lambda data: _write_all(fd, data))
    finally:
        os.close(fd)


def _sync(directory: str) -> None:
    from .._sys.file_calls import syncfs

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def _write_tar(files: Sequence[ArchivedFile], mtime_ns: int, fd: int) -> None:
    tar = TarWriter(lambda data: _write_all(fd, data))
    for file in files:
        tar.add(make_entry(file.name.encode(), size=file.size, mtime_ns=mtime_ns))
        _copy(file, tar.write_data)
    tar.finish()


def _copy(file: ArchivedFile, write: Write) -> None:
    """All of a file, exactly as long as it was said to be."""
    left = file.size
    with file.open() as stream:
        while data := stream.read(_CHUNK):
            left -= len(data)
            if left < 0:
                break
            write(data)
    if left:
        raise HullError(f"save {file.name}: it has another size than when the archive was begun", hint="save it again")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _explained(path: str, error: OSError) -> HullError:
    text = f"save {path}: {(error.strerror or str(error)).lower()}"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotFound(text, hint="make the directory first")
    hint = "free some space, or name another place" if error.errno == ENOSPC else ""
    return SyscallError(text, errno=error.errno or 0, hint=hint)
