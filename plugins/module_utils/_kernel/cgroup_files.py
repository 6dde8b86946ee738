# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Reading and writing the files of one cgroup directory, version 1 and 2 alike.

Not for deciding what to write: `cgroup_v1.py` and `cgroup_v2.py` compute lists of `Setting`, this file carries them
out. Every directory is passed in, so that tests can use one that only looks like a cgroup.

Source: cgroups(7); the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import time

from .._base.errors import Conflict, Denied, Invalid, Timeout, Unsupported
from .._base.values import Value
from .failures import syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .._base.errors import HullError

_CHUNK = 1 << 16
_POLL_FIRST_S = 0.0005
_POLL_LONGEST_S = 0.02


class Setting(Value):
    """One value for one file. `option` is the module's name of it, for messages.

    `without` says what is done where this kernel does not have the file: None is an error, a text a warning, an empty
    text nothing at all. `instead_of_empty` is what means the same as an empty value to a kernel that refuses that.
    `back` takes the write back where writing the file's earlier content would not. `warning` is said after the write.
    """

    option: str
    path: str
    value: str
    without: str | None = None
    instead_of_empty: str = ""
    back: str = ""
    warning: str = ""

    def write(self, value: str) -> None:
        """Write the value, this setting's own or an earlier one, in the way that the kernel takes it. OSError out."""
        try:
            write_text(self.path, value)
        except OSError as error:
            if value or not self.instead_of_empty or error.errno != errno.ENOSPC:
                raise
            write_text(self.path, self.instead_of_empty)


def read_text(path: str) -> str:
    """The file's content without the final newline. OSError goes through."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _CHUNK):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("ascii", "replace").rstrip("\n")


def read_or_none(path: str) -> str | None:
    """The file's content, None where the file or its cgroup does not exist (any more) or the kernel can't tell."""
    try:
        return read_text(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.EOPNOTSUPP):
            return None
        raise


def read_int(path: str, default: int = 0) -> int:
    """The number in a file; `max` gives -1, a missing file the default."""
    text = read_or_none(path)
    if text is None or not text:
        return default
    return -1 if text == "max" else int(text)


def read_table(path: str) -> dict[str, int]:
    """A flat keyed file (`oom_kill 3`, one pair per line) as a dict; empty where the file is missing."""
    table = {}
    for line in (read_or_none(path) or "").split("\n"):
        key, _, value = line.partition(" ")
        if value.isdigit():
            table[key] = int(value)
    return table


def write_text(path: str, value: str) -> None:
    """Write the value in one write(2), as the kernel's parsers need it. OSError goes through."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode() if value else b"\n")
    finally:
        os.close(fd)


def setting_error(setting: Setting, error: OSError) -> HullError:
    """What a refused write means for the one who asked for it."""
    operation = f"write {setting.value!r} to {setting.path}"
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC):
        return Invalid(
            f"the kernel refuses {setting.value!r} ({setting.path}: {error.strerror})", option=setting.option
        )
    if error.errno == errno.EBUSY:
        return Conflict(f"{setting.option}: {operation}: in use beyond that; stop processes or choose a higher limit")
    if error.errno == errno.ENOENT:
        return Unsupported(f"{setting.option}: this kernel has no {setting.path}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(
            f"{setting.option}: {operation}: {error.strerror}", hint="run as root, with a writable cgroup mount"
        )
    return syscall_error(f"{setting.option}: {operation}", error)


def apply(settings: list[Setting], *, undo: bool) -> tuple[str, ...]:
    """Write the settings in order and return the warnings. With `undo` an error first restores what was changed."""
    warnings: list[str] = []
    done: list[tuple[Setting, str]] = []
    for setting in settings:
        try:
            before = (setting.back or read_or_none(setting.path)) if undo else None
            setting.write(setting.value)
        except OSError as error:
            if error.errno == errno.ENOENT and setting.without is not None:
                if setting.without and setting.without not in warnings:
                    warnings.append(setting.without)
                continue
            _restore(done)
            raise setting_error(setting, error) from error
        if setting.warning and setting.warning not in warnings:
            warnings.append(setting.warning)
        if before is not None:
            done.append((setting, before))
    return tuple(warnings)


def _restore(done: list[tuple[Setting, str]]) -> None:
    for setting, before in reversed(done):
        try:
            setting.write(before)
        except OSError:  # the first error is the one to report
            pass


def children(directory: str) -> list[str]:
    """The paths of the cgroups directly below; empty where the directory is gone."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        raise


def tree(directory: str) -> Iterator[str]:
    """The cgroup and all below it, children before their parents."""
    for child in children(directory):
        yield from tree(child)
    yield directory


def pids_in(directory: str) -> list[int]:
    """The processes of the cgroup and of all below it; empty where it is gone.

    A process outside of the reader's pid namespace is listed by the kernel as 0 and left out here.
    """
    found = []
    for cgroup in tree(directory):
        # A threaded cgroup answers EOPNOTSUPP; its processes are listed by its domain, which is in the tree too.
        found += [int(pid) for pid in (read_or_none(cgroup + "/cgroup.procs") or "").split()]
    return [pid for pid in found if pid]


def wait_until(condition: Callable[[], Any], deadline: float) -> bool:
    """Poll the condition until it holds; False when `time.monotonic()` passes the deadline first."""
    pause_s = _POLL_FIRST_S
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _POLL_LONGEST_S)
    return True


def make_directory(directory: str) -> bool:
    """Make one cgroup; False where it exists. Raises Denied, SyscallError, and FileNotFoundError without a parent."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Denied(
                f"make cgroup {directory}: {error.strerror}", hint="run as root, with a writable cgroup mount"
            ) from error
        hint = "too many cgroups: see cgroup.max.descendants" if error.errno == errno.EAGAIN else ""
        raise syscall_error(f"make cgroup {directory}", error, hint=hint) from error
    return True


def remove_tree(directory: str, deadline: float) -> None:
    """Remove the cgroup and all below it, waiting for processes to end until the deadline; gone already is well.

    Raises Timeout where processes stay.
    """

    def removed() -> bool:
        try:
            for cgroup in tree(directory):
                os.rmdir(cgroup)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return not os.path.isdir(directory)
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise syscall_error(f"remove cgroup {directory}", error) from error
            return False
        return True

    if not wait_until(removed, deadline):
        pids = " ".join(map(str, pids_in(directory)[:10]))
        raise Timeout(f"remove cgroup {directory}: still in use by {f'processes {pids}' if pids else 'the kernel'}")
