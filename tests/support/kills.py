# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A command killed at one of its system calls, by strace: SIGKILL arrives as the call would begin.

Source: strace(1), "Tampering".
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

CALLS = (
    "rename",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "fsync",
    "fdatasync",
    "syncfs",
    "pwrite64",
    "write",
    "sendto",
)
_TIMEOUT_S = 60


def _traced(command: Sequence[str], env: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[bytes]:
    """The command with all its processes under strace, which ends when the last of them has ended."""
    return subprocess.run(
        ["strace", "-f", "-qq", "--seccomp-bpf", *options, *command],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
    )


def count_calls(command: Sequence[str], env: Mapping[str, str], calls: Sequence[str] = CALLS) -> dict[str, int]:
    """How often each of the calls is made by that process of an undisturbed run that makes it most often."""
    with tempfile.TemporaryDirectory(prefix="hull-strace-") as directory:
        options = ("-e", f"trace={','.join(calls)}", "-o", f"{directory}/calls")
        done = _traced(command, env, *options)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return _most(f"{directory}/calls")


def _most(path: str) -> dict[str, int]:
    with open(path, encoding="utf-8", errors="replace") as file:
        found = collections.Counter(re.findall(r"^(\d+) +(\w+)\(", file.read(), re.MULTILINE))
    counts: dict[str, int] = {}
    for (_pid, call), count in found.items():
        counts[call] = max(counts.get(call, 0), count)
    return counts


def moments(counts: Mapping[str, int], most: int = 4) -> list[tuple[str, int]]:
    """The calls at which to kill: of each kind the first, the last and some in between."""
    chosen = []
    for call, count in sorted(counts.items()):
        steps = min(most, count)
        numbers = {1 + (count - 1) * step // max(1, steps - 1) for step in range(steps)}
        chosen += [(call, number) for number in sorted(numbers)]
    return chosen


@contextlib.contextmanager
def watched(pid: int, *options: str, end: int = signal.SIGINT) -> Iterator[None]:
    """strace, with these options, on a process that runs already and on all that it forks meanwhile.

    Ended by SIGINT it writes out what it has seen, but waits for each process to stop, and so for ever for the first
    process of a pid namespace that waits for strace to take note of another's end. By SIGKILL the kernel lets go of
    all.
    """
    command = ["strace", "-f", *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert b"attached" in line, line
        yield
    finally:
        tracer.send_signal(end)
        tracer.communicate(timeout=_TIMEOUT_S)


def count_forked_calls(pid: int, calls: Sequence[str], action: Callable[[], object]) -> dict[str, int]:
    """How often each of the calls is made during the action by that child of the process that makes it most often."""
    with tempfile.TemporaryDirectory(prefix="hull-strace-") as directory:
        with watched(pid, "-e", f"trace={','.join(calls)}", "-o", f"{directory}/calls"):
            action()
        return _most(f"{directory}/calls")


@contextlib.contextmanager
def killing_forked(pid: int, call: str, number: int) -> Iterator[None]:
    """Meanwhile, whatever the process forks is killed at its call of this number."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    with watched(pid, "-e", f"trace={call}", "-e", inject, "-o", os.devnull, end=signal.SIGKILL):
        yield


def run_killed(command: Sequence[str], env: Mapping[str, str], call: str, number: int) -> int:
    """Run the command and kill each of its processes at its call of this number. The exit code."""
    options = ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}", "-o", os.devnull)
    return _traced(command, env, *options).returncode
