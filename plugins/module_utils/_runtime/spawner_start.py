# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Connecting to the spawner, and starting it where none runs.

It is executed from a read-only clone of the interpreter: `/proc/<pid>/exe` of a container's process before its execve
is then a file on a mount that nobody can write through, instead of the host's python (CVE-2019-5736).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from fcntl import LOCK_EX, flock

from .._base.engine_file import own_cgroup
from .._base.errors import LaunchError
from . import launch_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .._base.paths import Paths

_BACKLOG = 512
_errors: dict[str, int] = {}


def socket_path(paths: Paths) -> str:
    """The spawner's socket of this version of the launch code."""
    return f"{paths.run}/spawner.{launch_code.version()}.sock"


def connect(paths: Paths) -> socket:
    """A connection to the spawner, which is started if it does not run. Raises LaunchError, OSError."""
    path = socket_path(paths)
    connection = connect_to(path)
    if connection is not None:
        return connection
    os.makedirs(paths.run, 0o700, exist_ok=True)
    lock_fd = os.open(f"{paths.run}/spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        flock(lock_fd, LOCK_EX)
        connection = connect_to(path)
        if connection is None:
            _start(paths, path)
            connection = connect_to(path)
    finally:
        os.close(lock_fd)
    if connection is None:
        raise LaunchError(f"connect to the spawner at {path}: it does not listen")
    return connection


def connect_to(path: str) -> socket | None:
    """A connection to a local socket, None where nobody listens. By way of its directory: a path has 107 bytes only."""
    try:
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        return connection
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    finally:
        os.close(directory)


def boot_error(paths: Paths) -> str:
    """What the spawner that this process started last said when it broke down; empty if nothing."""
    fd = _errors.get(socket_path(paths), -1)
    text = os.pread(fd, 65536, 0).decode("utf-8", "replace").strip() if fd >= 0 else ""
    return text.rpartition("\n")[2]


def _start(paths: Paths, path: str) -> None:
    """Bind the socket, so that clients can connect from now on, and leave a spawner behind that accepts."""
    from .._sys.file_calls import memfd_create  # ctypes; connecting to a spawner that runs goes without

    launch_directory = launch_code.materialise(paths)
    os.chmod(paths.run, 0o700)
    listener = _listen(path)
    if path in _errors:
        os.close(_errors.pop(path))
    errors = _errors[path] = memfd_create("spawner errors")
    image = _interpreter_image()
    argv = launch_code.spawner_command(launch_directory, path, own_cgroup(paths))
    try:
        pid = os.fork()
        if pid == 0:
            _leave_behind(image, argv, listener.fileno(), errors)
        os.waitpid(pid, 0)
    finally:
        os.close(image)
        listener.close()


def _listen(path: str) -> socket:
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        try:
            os.unlink(name)  # a dead spawner's
        except FileNotFoundError:
            pass
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        listener.bind(name)
        os.chmod(name, 0o600)
        listener.listen(_BACKLOG)
        return listener
    finally:
        os.close(directory)


def _interpreter_image() -> int:
    """A descriptor to execute: the interpreter on a read-only mount of its own, or else a sealed copy in memory."""
    from .._sys.file_calls import sealed_memory_file
    from .._sys.mount_calls import mount_setattr, open_tree
    from .._sys.mount_flags import AT_FDCWD, MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE

    path = launch_code.interpreter()
    try:
        image = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        mount_setattr(image, "", 0, set_=MOUNT_ATTR_RDONLY)
        return image
    except OSError:
        with open(path, "rb") as file:
            return sealed_memory_file("python", file.read())


def _leave_behind(image: int, argv: list[str], listener_fd: int, errors_fd: int) -> NoReturn:
    """In a child: make the grandchild that becomes the spawner and belongs to nobody."""
    try:
        from .._sys.process_calls import execveat

        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            fds = [os.open("/dev/null", os.O_RDWR), errors_fd, listener_fd, image]
            null, errors, listener, image = [_above(fd) for fd in fds]
            for source, target in ((null, 0), (null, 1), (errors, 2), (listener, 3)):
                os.dup2(source, target)
            env = (
                [f"LD_LIBRARY_PATH={os.environ['LD_LIBRARY_PATH']}".encode()] if "LD_LIBRARY_PATH" in os.environ else []
            )
            execveat(image, "", argv, env)
    except BaseException as error:  # the fork boundary
        os.write(errors_fd, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def _above(fd: int) -> int:
    """A copy of the descriptor beyond those that are about to be set; close-on-exec."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    return fcntl(fd, F_DUPFD_CLOEXEC, 10)
