# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One more process in a running container."""

from __future__ import annotations

from time import monotonic

from .._base.errors import Conflict, HullError
from .._base.values import Value, replace
from . import containers
from .declared import plan_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._runtime.launch_plan import ProcessPlan
    from .._runtime.session import Session
    from .._store.records import ContainerRecord
    from .engine import Engine

_OUTPUT_LIMIT = 16 * 1024 * 1024


class ExecResult(Value):
    """What a finished command left. Of each stream the first 16 MiB are kept; what is dropped is counted."""

    rc: int  # -1 where it was ended by the timeout
    stdout: bytes
    stderr: bytes
    dropped_bytes: int = 0
    timed_out: bool = False


class _Captured:
    """The beginning of a stream."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._room_bytes = _OUTPUT_LIMIT
        self.dropped_bytes = 0

    def take(self, data: bytes) -> None:
        kept = data[: self._room_bytes]
        if kept:
            self._pieces.append(kept)
        self._room_bytes -= len(kept)
        self.dropped_bytes += len(data) - len(kept)

    def content(self) -> bytes:
        return b"".join(self._pieces)


def process_plan(
    record: ContainerRecord,
    argv: tuple[str, ...],
    *,
    env: dict[str, str] | None = None,
    user: str | None = None,
    working_dir: str | None = None,
    tty: bool = False,
    interactive: bool = False,
    privileged: bool = False,
    rows: int = 0,
    columns: int = 0,
) -> ProcessPlan:
    """The process: as the container's own in environment, user, directory and rights, but for what is given."""
    base = plan_of(record).process
    merged = dict(item.partition("=")[::2] for item in base.env)
    if tty:
        merged.setdefault("TERM", "xterm")
    merged.update(env or {})
    plan = replace(
        base,
        args=argv,
        env=tuple(f"{name}={value}" for name, value in merged.items()),
        user=base.user if user is None else user,
        working_dir=working_dir or base.working_dir,
        tty=tty,
        open_stdin=interactive,
        rows=rows,
        columns=columns,
    )
    if privileged:
        from .._kernel.capabilities import resolve_capabilities

        plan = replace(plan, capabilities=resolve_capabilities(("ALL",)), seccomp_path="", no_new_privileges=False)
    return plan


def open_exec(engine: Engine, record: ContainerRecord, process: ProcessPlan, *, attach: bool = True) -> Session:
    """Start a process in a running container; its streams and exit status come over the session.

    Raises Conflict where the container does not run or is paused, LaunchError where the command can't be executed.
    """
    from .._runtime import client

    now = containers.state(engine, record)
    if now.status == "paused":
        raise Conflict(f'Cannot execute command in paused container "{record.name}"', hint="unpause it first")
    if now.status != "running":
        raise Conflict(f"execute in container {record.name}: it is not running", hint="start it first")
    return client.execute(engine.paths, record.id, process, attach=attach)


def run(
    engine: Engine,
    record: ContainerRecord,
    process: ProcessPlan,
    *,
    stdin: bytes | None = None,
    timeout_s: float = 0,
) -> ExecResult:
    """Run a command in a container to its end, with `stdin` as its input if given; for `timeout_s` at most, if not 0.

    What the command has started ends with it.
    """
    streams = {"stdout": _Captured(), "stderr": _Captured()}
    rc, lost, timed_out = -1, 0, False
    deadline = monotonic() + timeout_s if timeout_s > 0 else 0.0
    with open_exec(engine, record, process) as session:
        if stdin:
            session.write_stdin(stdin)
        if process.open_stdin:
            session.close_stdin()
        while True:
            try:
                frame = session.read(max(deadline - monotonic(), 0.0) if deadline else None)
            except TimeoutError:
                timed_out = True
                break
            if frame is None or frame.kind == "exit":
                rc = int(frame.data) if frame else rc
                break
            if frame.kind in streams:
                streams[frame.kind].take(frame.data)
                timed_out = bool(deadline) and monotonic() >= deadline
                if timed_out:
                    break
            elif frame.kind == "lost":
                lost += int(frame.data)
            elif frame.kind == "error":
                raise HullError(frame.data.decode("utf-8", "replace"))
    dropped = lost + sum(stream.dropped_bytes for stream in streams.values())
    return ExecResult(rc, streams["stdout"].content(), streams["stderr"].content(), dropped, timed_out)
