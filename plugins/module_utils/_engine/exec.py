# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One more process in a running container."""

from __future__ import annotations

from .._base.errors import Conflict
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
    """What a finished command left. Output beyond 16 MiB a stream is dropped and counted."""

    rc: int
    stdout: bytes
    stderr: bytes
    dropped_bytes: int = 0


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
        raise Conflict(f"Cannot execute command in paused container {record.name!r}", hint="unpause it first")
    if now.status != "running":
        raise Conflict(f"execute in container {record.name}: it is not running", hint="start it first")
    return client.execute(engine.paths, record.id, process, attach=attach)


def run(engine: Engine, record: ContainerRecord, process: ProcessPlan, *, stdin: bytes | None = None) -> ExecResult:
    """Run a command in a container to its end, with `stdin` as its input if given."""
    streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    sizes, rc = {"stdout": 0, "stderr": 0}, -1
    dropped = 0
    with open_exec(engine, record, process) as session:
        if stdin:
            session.write_stdin(stdin)
        if process.open_stdin:
            session.close_stdin()
        while True:
            frame = session.read()
            if frame is None:
                break
            if frame.kind == "exit":
                rc = int(frame.data)
            elif frame.kind in streams:
                if sizes[frame.kind] + len(frame.data) > _OUTPUT_LIMIT:
                    dropped += len(frame.data)
                    continue
                sizes[frame.kind] += len(frame.data)
                streams[frame.kind].append(frame.data)
    return ExecResult(rc, b"".join(streams["stdout"]), b"".join(streams["stderr"]), dropped)
