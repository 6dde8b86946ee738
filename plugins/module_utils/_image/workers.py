# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Jobs in forked processes: several layers at once, without threads (the interpreter runs one at a time).

A job is a function; what it returns (JSON types), reports or raises comes back over a pipe. The first failure kills the
others, and what they had in `tmp/` is swept: a signal that they could handle would be noticed too late by one that is
about to wait for the network, or be lost in a callback. SIGTERM, which all get that are ended together, is an exception
in a worker, so its context managers clean up; so is the next report of one whose parent died.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import gc
import os
import select

from .._base.codec import parse, render
from .._base.errors import (
    Conflict,
    Damaged,
    Denied,
    HullError,
    Invalid,
    NotFound,
    RegistryError,
    SyscallError,
    Timeout,
    Unsupported,
)
from .._base.values import Value
from .._store.garbage import sweep_temporary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._base.paths import Paths

    Report = Callable[..., None]
    Relay = Callable[[list[Any]], None]

_READ = 65536
_ENDING = (_signal.SIGINT, _signal.SIGTERM)
_PLAIN = {kind.__name__: kind for kind in (NotFound, Conflict, Unsupported, Denied, Timeout, Damaged, HullError)}


class Job(Value):
    """One piece of work: `run(report)`, in which `report(*values)` sends JSON values to the parent."""

    name: str
    size: int  # for the order: the largest begins first
    run: Callable[[Report], Any]


class _Stopped(BaseException):
    """This worker was ended, or its parent is gone."""


class _Worker:
    """One forked process and the reading end of its pipe."""

    def __init__(self, pid: int, fd: int, job: Job) -> None:
        self.pid = pid
        self.fd = fd
        self.job = job
        self._rest = b""

    def receive(self) -> list[list[Any]] | None:
        """The messages that have arrived, None at the end."""
        data = os.read(self.fd, _READ)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [parse(line, source=f"worker of {self.job.name}") for line in lines]


def run_jobs(paths: Paths, jobs: list[Job], *, limit: int, relay: Relay) -> dict[str, Any]:
    """Run all jobs, at most `limit` at a time; what each returned, by its name.

    `relay` gets what jobs report, as lists. Raises the first error of a job, when all others are killed and nothing
    that they had in `tmp/` is left: a job has to be one that may end at any instruction.
    """
    waiting = sorted(jobs, key=lambda job: job.size)
    running: dict[int, _Worker] = {}
    results: dict[str, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                _start(waiting.pop(), running)
            for fd in _readable(running):
                _take(running[fd], running, results, relay)
    except BaseException:
        _stop(running)
        sweep_temporary(paths)
        raise
    return results


def _readable(running: dict[int, _Worker]) -> list[int]:
    poller = select.poll()
    for fd in running:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll()]


def _take(worker: _Worker, running: dict[int, _Worker], results: dict[str, Any], relay: Relay) -> None:
    """Handle what one worker sent. Raises the error that it reports, or one for a worker that died."""
    messages = worker.receive()
    if messages is None:
        del running[worker.fd]
        status = _reap(worker)
        if worker.job.name not in results:
            raise HullError(f"{worker.job.name}: its process ended without a result (wait status {status})")
        return
    for kind, *values in messages:
        if kind == "report":
            relay(values)
        elif kind == "result":
            results[worker.job.name] = values[0]
        else:
            raise error_of(values[0])


def _start(job: Job, running: dict[int, _Worker]) -> None:
    """Fork a worker. A signal meanwhile waits until the worker is among those that run, and in it until it is ready."""
    reading, writing = os.pipe()
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ENDING)
    try:
        pid = os.fork()
        if pid == 0:
            _be_worker(job, writing, [reading, *running], mask)
        running[reading] = _Worker(pid, reading, job)
    except OSError as error:
        os.close(reading)
        raise SyscallError(f"fork a worker for {job.name}: {error.strerror}", errno=error.errno or 0) from error
    finally:
        os.close(writing)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _be_worker(job: Job, pipe: int, inherited: list[int], mask: set[int]) -> None:
    """The life of a worker; never returns."""
    code = 1
    try:
        gc.disable()
        _signal.signal(_signal.SIGTERM, _raise_stopped)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # a terminal sends it to all; the parent decides
        _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        for fd in inherited:  # a reading end kept here would hide the parent's death from the other workers
            os.close(fd)
        _work(job, pipe)
        code = 0
    except BaseException:  # a fork boundary: nothing may run on in the parent's frames
        pass
    finally:
        os._exit(code)


def _work(job: Job, pipe: int) -> None:
    def report(*values: Any) -> None:
        _write(pipe, ["report", *values])

    try:
        result = job.run(report)
    except HullError as error:
        _write(pipe, ["error", error_record(error)])
    except OSError as error:
        reason = f"{job.name}: {error.strerror or error}" + (f": {error.filename!r}" if error.filename else "")
        _write(pipe, ["error", error_record(SyscallError(reason, errno=error.errno or 0))])
    except Exception as error:
        _write(pipe, ["error", error_record(HullError(f"{job.name}: {type(error).__name__}: {error}"))])
    else:
        _write(pipe, ["result", result])


def _raise_stopped(_number: int, _frame: object) -> None:
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)  # once is enough: what runs now is the clean-up
    raise _Stopped


def _write(pipe: int, message: list[Any]) -> None:
    data = render(message).encode() + b"\n"
    try:
        while data:
            data = data[os.write(pipe, data) :]
    except BrokenPipeError:
        raise _Stopped from None


def error_record(error: HullError) -> dict[str, Any]:
    """An error as JSON types; `error_of` is the inverse."""
    number = error.status if isinstance(error, RegistryError) else error.errno if isinstance(error, SyscallError) else 0
    option = error.option if isinstance(error, Invalid) else ""
    kind = type(error).__name__
    return {"kind": kind, "message": error.message, "hint": error.hint, "number": number, "option": option}


def error_of(record: dict[str, Any]) -> HullError:
    """The error that a record stands for."""
    kind, message, hint = record["kind"], record["message"], record["hint"]
    if kind == "RegistryError":
        return RegistryError(message, status=record["number"], hint=hint)
    if kind == "SyscallError":
        return SyscallError(message, errno=record["number"], hint=hint)
    if kind == "Invalid":
        error = Invalid(message, hint=hint)
        error.option = record["option"]
        return error
    return _PLAIN.get(kind, HullError)(message, hint=hint)


def _reap(worker: _Worker) -> int:
    """Wait for the end of a worker; its status, 0 where the kernel was told to keep none (SIGCHLD is ignored)."""
    os.close(worker.fd)
    try:
        return os.waitpid(worker.pid, 0)[1]
    except ChildProcessError:
        return 0


def _stop(running: dict[int, _Worker]) -> None:
    for worker in running.values():
        os.kill(worker.pid, _signal.SIGKILL)
    for worker in running.values():
        _reap(worker)
    running.clear()
