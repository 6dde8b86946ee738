# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    HullError,
    Invalid,
    RegistryError,
    SyscallError,
)
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.workers import Job, run_jobs
from ansible_collections.hull.engine.plugins.module_utils._store.temporary import OwnedDirectory

_NOWHERE = Paths(root="/nonexistent/hull")


def _run(*jobs: Job, limit: int = 2) -> dict[str, Any]:
    return run_jobs(_NOWHERE, list(jobs), limit=limit, relay=lambda _values: None)


def _failing(error: BaseException) -> Job:
    def run(_report: object) -> None:
        raise error

    return Job("failing", 1, run)


def test_results_come_back_by_name() -> None:
    assert _run(*(Job(str(number), number, lambda _report, n=number: n * n) for number in range(7))) == {
        str(number): number * number for number in range(7)
    }


def test_jobs_run_in_processes_of_their_own_the_largest_first() -> None:
    order: list[Any] = []
    jobs = [Job(str(size), size, lambda report, n=size: report(n, os.getpid())) for size in (1, 3, 2)]
    run_jobs(_NOWHERE, jobs, limit=1, relay=order.append)
    assert [size for size, _ in order] == [3, 2, 1]
    assert os.getpid() not in {pid for _, pid in order}


def test_reports_larger_than_a_pipe_arrive() -> None:
    seen: list[Any] = []
    run_jobs(_NOWHERE, [Job("a", 1, lambda report: report("x" * 300_000))], limit=1, relay=seen.append)
    assert len(seen[0][0]) == 300_000


@pytest.mark.parametrize(
    "error",
    [
        Damaged("a", hint="b"),
        RegistryError("a", status=503, hint="b"),
        SyscallError("a", errno=28),
        Invalid("a", option="name"),
        HullError("a"),
    ],
)
def test_errors_keep_their_class_and_all_that_they_say(error: HullError) -> None:
    with pytest.raises(type(error)) as caught:
        _run(_failing(error))
    assert vars(caught.value) == vars(error)


def test_other_exceptions_name_the_job() -> None:
    with pytest.raises(SyscallError, match="failing: No space left on device: '/x'") as caught:
        _run(_failing(OSError(28, "No space left on device", "/x")))
    assert caught.value.errno == 28
    with pytest.raises(HullError, match="failing: ZeroDivisionError: x"):
        _run(_failing(ZeroDivisionError("x")))


def test_a_worker_that_is_killed_is_an_error() -> None:
    with pytest.raises(HullError, match="job: its process ended without a result"):
        _run(Job("job", 1, lambda _report: os.kill(os.getpid(), signal.SIGKILL)))


def _wait(paths: Paths, report: Any) -> None:
    """Have a directory and wait for ever, whoever asks to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with OwnedDirectory(paths, "layer"):
        report(os.getpid())
        signal.pause()


def test_the_first_error_ends_the_others_and_what_they_had(tmp_path: Path) -> None:
    paths = Paths(root=str(tmp_path))
    pids: list[int] = []

    def relay(values: list[Any]) -> None:
        pids.append(values[0])
        if len(pids) == 2:
            raise KeyboardInterrupt

    jobs = [Job(name, 2, lambda report: _wait(paths, report)) for name in "ab"]
    with OwnedDirectory(paths, "claim") as ours:
        with pytest.raises(KeyboardInterrupt):
            run_jobs(paths, jobs, limit=2, relay=relay)
        assert os.listdir(paths.temporary) == [os.path.basename(ours.path)]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_worker_could_not_clean_up_is_swept(number: signal.Signals, tmp_path: Path) -> None:
    paths = Paths(root=str(tmp_path))

    def end_between_two_steps(_report: object) -> None:
        OwnedDirectory(paths, "layer").__enter__()
        os.kill(os.getpid(), number)
        signal.pause()

    with OwnedDirectory(paths, "claim") as ours:
        with pytest.raises(HullError, match="job: its process ended without a result"):
            run_jobs(paths, [Job("job", 1, end_between_two_steps)], limit=1, relay=lambda _values: None)
        assert os.listdir(paths.temporary) == [os.path.basename(ours.path)]


def test_an_interruption_while_a_worker_is_forked_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, real = Paths(root=str(tmp_path)), os.fork
    pids = []

    def fork() -> int:
        pids.append(real())
        os.kill(os.getpid(), signal.SIGINT)  # both get it, as from a terminal
        return pids[-1]

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(paths, [Job("a", 2, lambda report: _wait(paths, report))], limit=2, relay=lambda _values: None)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert not os.path.exists(paths.temporary) or os.listdir(paths.temporary) == []


def test_a_status_that_the_kernel_does_not_keep_is_none_needed() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert _run(Job("a", 1, lambda _report: 5), Job("b", 1, lambda _report: 6)) == {"a": 5, "b": 6}
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_no_descriptor_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    _run(*(Job(str(number), 1, lambda _report: None) for number in range(5)))
    with pytest.raises(HullError):
        _run(_failing(HullError("x")))
    assert os.listdir("/proc/self/fd") == before
