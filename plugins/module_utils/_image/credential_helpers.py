# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Programs that keep credentials: `docker-credential-<name> get|store|erase`, found in the caller's PATH.

What they are given goes through their standard input, never their arguments. One that hangs is ended.

Source: docker-credential-helpers, "Development".
"""

from __future__ import annotations

import os
import time
from select import POLLIN, poll

from .._base.codec import parse, render
from .._base.errors import Damaged, Denied, NotFound, Timeout
from .credentials import TOKEN_USER
from .settings import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 30.0
_MAX_OUTPUT = 1024 * 1024
_MAX_INPUT = 32 * 1024  # fits into a pipe that nobody reads yet
_NOT_FOUND = "credentials not found"
_SIGPIPE, _SIGKILL = 13, 9
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def ask(helper: str, key: str, environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> Credentials | None:
    """What a helper has for a registry; None where it has nothing. Raises NotFound, Denied, Damaged, Timeout."""
    status, output = _run(helper, "get", key.encode(), environ, timeout_s)
    if status:
        if _NOT_FOUND in output:
            return None
        raise _failed(helper, "get", key, status, output)
    document = parse(output, source=f"what docker-credential-{helper} says about {key}")
    found = document if isinstance(document, dict) else {}
    user, secret = found.get("Username"), found.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise Damaged(f"read what docker-credential-{helper} says about {key}: no Username and Secret")
    if not secret:
        return None
    return Credentials("", "", secret) if user == TOKEN_USER else Credentials(user, secret)


def store(helper: str, key: str, credentials: Credentials, environ: Mapping[str, str]) -> None:
    """Let a helper keep credentials. Raises as `ask`."""
    record = {
        "ServerURL": key,
        "Username": credentials.username or TOKEN_USER,
        "Secret": credentials.password or credentials.identity_token,
    }
    status, output = _run(helper, "store", render(record).encode(), environ, TIMEOUT_S)
    if status:
        raise _failed(helper, "store", key, status, output)


def erase(helper: str, key: str, environ: Mapping[str, str]) -> None:
    """Let a helper forget credentials; that it has none is no error. Raises as `ask`."""
    status, output = _run(helper, "erase", key.encode(), environ, TIMEOUT_S)
    if status and _NOT_FOUND not in output:
        raise _failed(helper, "erase", key, status, output)


def _failed(helper: str, verb: str, key: str, status: int, output: str) -> Denied:
    said = "".join(char if char.isprintable() else " " for char in output[:200]).strip()
    return Denied(
        f"docker-credential-{helper} {verb} for {key}: it ended with status {status}" + (f": {said}" if said else ""),
        hint="try it by hand as the same user",
    )


def _run(helper: str, verb: str, data: bytes, environ: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """Exit status and standard output of one call."""
    program = f"docker-credential-{helper}"
    if not helper or not _NAME.issuperset(helper):
        raise Damaged(f"run credential helper {helper[:100]!r}: not the name of one")
    if len(data) > _MAX_INPUT:
        raise Damaged(f"run {program}: {len(data)} bytes are too many for it")
    child_in, to_child = os.pipe()
    from_child, child_out = os.pipe()
    try:
        pid = os.posix_spawnp(
            program,
            [program, verb],
            dict(environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, child_in, 0),
                (os.POSIX_SPAWN_DUP2, child_out, 1),
                (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
            ],
            setsigdef=[_SIGPIPE],
        )
    except OSError as error:
        os.close(to_child)
        os.close(from_child)
        raise NotFound(
            f"run {program}: {error.strerror}",
            hint="install it in a directory of PATH, or take it out of the file that names it",
        ) from error
    finally:
        os.close(child_in)
        os.close(child_out)
    deadline, output, has_ended = time.monotonic() + timeout_s, None, False
    try:
        _write(to_child, data)
        output = _read(from_child, deadline)
        has_ended = output is not None and _ends(pid, deadline)
    finally:
        os.close(from_child)
        if not has_ended:
            os.kill(pid, _SIGKILL)
        status = os.waitpid(pid, 0)[1]
    if output is None or not has_ended:
        raise Timeout(f"run {program} {verb}: no end within {timeout_s:g} s and {_MAX_OUTPUT} bytes of output")
    return os.waitstatus_to_exitcode(status), output.decode("utf-8", "replace")


def _write(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)
    except BrokenPipeError:
        pass  # it did not want to know; its answer tells
    finally:
        os.close(fd)


def _ends(pid: int, deadline: float) -> bool:
    """Whether a process ends in time."""
    fd = os.pidfd_open(pid)
    try:
        waiter = poll()
        waiter.register(fd, POLLIN)
        return bool(waiter.poll(max(int((deadline - time.monotonic()) * 1000), 0)))
    finally:
        os.close(fd)


def _read(fd: int, deadline: float) -> bytes | None:
    """All that comes until the end; None where that does not come in time or there is too much."""
    waiter, output = poll(), b""
    waiter.register(fd, POLLIN)
    while len(output) <= _MAX_OUTPUT:
        left_ms = int((deadline - time.monotonic()) * 1000)
        if left_ms <= 0 or not waiter.poll(left_ms):
            return None
        data = os.read(fd, 65536)
        if not data:
            return output
        output += data
    return None
