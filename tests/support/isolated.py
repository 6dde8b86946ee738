# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Run a test's function in a forked child with new namespaces, so that nothing it does outlives it."""

from __future__ import annotations

import os
import pickle
import traceback
from typing import TYPE_CHECKING, Any

from ansible_collections.hull.engine.plugins.module_utils._kernel.namespaces import namespace_flags
from ansible_collections.hull.engine.plugins.module_utils._sys import calls, mount_flags

if TYPE_CHECKING:
    from collections.abc import Callable


def run_isolated(function: Callable[..., Any], *arguments: Any, namespaces: tuple[str, ...] = ("mount",)) -> Any:
    """The function's value (anything that pickles), from a child of its own. Its exception becomes an AssertionError.

    A new mount namespace is private. With `pid` the function runs as a grandchild, which is PID 1.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _end_with(write_end, lambda: _enter_and_call(function, arguments, namespaces))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise AssertionError(f"the child ended with wait status {status} and said nothing")
    succeeded, value = pickle.loads(answer)
    if not succeeded:
        raise AssertionError(f"in the child:\n{value}")
    return value


def _enter_and_call(function: Callable[..., Any], arguments: tuple[Any, ...], namespaces: tuple[str, ...]) -> Any:
    calls.unshare(namespace_flags(namespaces))
    if "mount" in namespaces:
        calls.mount_setattr(mount_flags.AT_FDCWD, "/", mount_flags.AT_RECURSIVE, propagation=mount_flags.MS_PRIVATE)
    if "pid" in namespaces:
        return run_isolated(function, *arguments, namespaces=())
    return function(*arguments)


def _end_with(write_end: int, call: Callable[[], Any]) -> None:
    """Send what the call gives or raises, and end this process."""
    try:
        try:
            answer = pickle.dumps((True, call()))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        os.write(write_end, answer)
    finally:
        os._exit(0)


def mounts_below(path: str) -> list[list[str]]:
    """The lines of /proc/self/mountinfo whose mount point is the path or below, split into fields."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return [line for line in lines if line[4] == path or line[4].startswith(path.rstrip("/") + "/")]


def mount_table() -> set[str]:
    """The lines of /proc/self/mountinfo. What an act leaves is what is new in it: a mount that somebody else has beside
    the test goes from every namespace with the directory below it.
    """
    with open("/proc/self/mountinfo") as file:
        return set(file)
