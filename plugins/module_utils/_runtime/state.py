# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container is doing: two small files, and above them the kernel, which is always asked.

    run directory/state.json    written while the container runs or restarts; gone with it, and with a reboot
    root directory/exit.json    says "running" from the start on, and how it ended from the end on; survives a reboot

So a container whose exit.json says "running", but whose process the kernel does not know (pid, start time and boot must
all agree), ended without a witness: its monitor was killed, or the host went down. Both files are replaced by rename.
"""

from __future__ import annotations

import os
from errno import EDQUOT, ENOENT, ENOSPC, ENOTDIR, ENXIO
from stat import S_ISREG
from time import monotonic, sleep

from .._base import codec
from .._base.errors import Damaged
from .._base.values import Value, replace
from .._kernel.frozen import is_frozen_by
from .._kernel.processes import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths

STATE_FILE = "state.json"
EXIT_FILE = "exit.json"
UNKNOWN_EXIT = 255
NO_WITNESS = "it ended after its monitor was killed; the exit status is not known"
_MAX_FILE = 1024 * 1024
_HANDOVER_S = 5.0
_SPARE = 512


class HealthState(Value):
    """Docker's health record: status starting, healthy or unhealthy; log entries with Start End ExitCode Output."""

    status: str
    failing_streak: int = 0
    log: tuple[dict[str, Any], ...] = ()


class RunState(Value):
    """What is known of a container's run. `status`: created running paused restarting exited dead."""

    status: str
    pid: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    restart_count: int = 0
    health: HealthState | None = None
    error: str = ""
    paused: bool = False
    stopped_by_user: bool = False
    monitored: bool = True
    abandoned: bool = False  # its monitor was killed, and nobody has adopted it yet
    lost_log_bytes: int = 0

    @property
    def is_up(self) -> bool:
        """Whether the container runs, is paused, or comes back by itself."""
        return self.status in ("running", "paused", "restarting")


def boot_id() -> str:
    """The kernel's name of this boot."""
    with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
        return file.read(64).decode("ascii").strip()


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replace a file by one with this content, in one step; mode 0600. Not synced: the kernel is asked anyway.

    On a full file system the old file's bytes are overwritten, if the new content fits: files are filled up with spaces
    for that. Raises OSError with the old file as it was.
    """
    data = codec.render(value).encode()
    data = data.ljust(len(data) + _SPARE - len(data) % _SPARE + _SPARE)
    temporary = path + ".new"
    try:
        for attempts_left in (2, 1, 0):
            try:
                _replace(temporary, path, data)
                break
            except (FileNotFoundError, FileExistsError):  # somebody else writes it at this moment: a monitor, a remover
                if not attempts_left:
                    raise
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        if error.errno not in (ENOSPC, EDQUOT) or not _overwrite(path, data):
            raise


def _replace(temporary: str, path: str, data: bytes) -> None:
    fd = _new_file(temporary)
    try:
        _write_whole(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def _new_file(path: str) -> int:
    """Open it for writing, in place of what a crash has left there, which may be anything."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, 0o600)


def _write_whole(fd: int, data: bytes) -> None:
    if os.write(fd, data) < len(data):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _overwrite(path: str, data: bytes) -> bool:
    """Write over a file's bytes in place, which takes no space. False where there are not enough of them."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        size = os.fstat(fd).st_size
        content = data.rstrip()
        if len(content) > size:
            return False
        _write_whole(fd, content.ljust(size))
        return True
    finally:
        os.close(fd)


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a file; None where there is no file, also where something else has its name. Raises Damaged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, ENXIO):  # nothing, or a socket
            return None
        raise
    try:
        if not S_ISREG(os.fstat(fd).st_mode):
            return None
        value = codec.parse(os.read(fd, _MAX_FILE), source=path)
    finally:
        os.close(fd)
    if not isinstance(value, dict):
        raise Damaged(f"read {path}: not an object")
    return value


def read_state(run_directory: str) -> dict[str, Any] | None:
    """The monitor's state of a container that it looks after; None without one, or from before a reboot."""
    try:
        state = read_json(f"{run_directory}/{STATE_FILE}")
    except Damaged:
        return None
    if state is None or state.get("boot_id") != boot_id():
        return None
    return state


def init_alive(state: dict[str, Any]) -> bool:
    """Whether the container's first process runs."""
    return is_alive(int(state.get("pid", 0)), int(state.get("start_time", 0)))


def monitor_alive(state: dict[str, Any]) -> bool:
    """Whether the container's monitor runs."""
    return is_alive(int(state.get("monitor_pid", 0)), int(state.get("monitor_start_time", 0)))


def observe(paths: Paths, container_id: str) -> RunState:
    """The container's present state. Where its monitor is about to record an exit, that is awaited (milliseconds)."""
    deadline = monotonic() + _HANDOVER_S
    while True:
        state = read_state(paths.container_run(container_id))
        if state is None:
            return observe_ended(paths.container(container_id))
        alive, monitored = init_alive(state), monitor_alive(state)
        if alive:
            return _running(state, monitored)
        if not monitored:
            return replace(observe_ended(paths.container(container_id)), monitored=False, abandoned=True)
        if state.get("status") == "restarting":
            return _restarting(state)
        if monotonic() > deadline:
            return RunState("dead", error="its monitor does not record the exit")
        sleep(0.001)


def _running(state: dict[str, Any], monitored: bool) -> RunState:
    paused = is_frozen_by(str(state.get("frozen_witness", "")))
    health = state.get("health")
    return RunState(
        status="paused" if paused else "running",
        pid=int(state["pid"]),
        started_ns=int(state.get("started_ns", 0)),
        restart_count=int(state.get("restart_count", 0)),
        health=HealthState(health["status"], health["failing_streak"], tuple(health["log"])) if health else None,
        paused=paused,
        monitored=monitored,
        abandoned=not monitored,
        lost_log_bytes=int(state.get("lost_log_bytes", 0)),
    )


def _restarting(state: dict[str, Any]) -> RunState:
    return RunState(
        status="restarting",
        started_ns=int(state.get("started_ns", 0)),
        finished_ns=int(state.get("finished_ns", 0)),
        exit_code=int(state.get("exit_code", 0)),
        oom_killed=bool(state.get("oom_killed", False)),
        restart_count=int(state.get("restart_count", 0)),
        error=str(state.get("error", "")),
    )


def observe_ended(root_directory: str) -> RunState:
    """What exit.json says of a container that does not run."""
    path = f"{root_directory}/{EXIT_FILE}"
    try:
        record = read_json(path)
        return RunState("created") if record is None else _ended(record)
    except Damaged as error:
        reason = str(error)
    except (TypeError, ValueError) as error:
        reason = f"read {path}: {error}"
    return RunState("exited", exit_code=UNKNOWN_EXIT, error=reason, monitored=False)


def _ended(record: dict[str, Any]) -> RunState:
    if record.get("status") == "running":
        return RunState(
            status="exited",
            started_ns=int(record.get("started_ns", 0)),
            exit_code=UNKNOWN_EXIT,
            restart_count=int(record.get("restart_count", 0)),
            error=_no_witness(record),
            monitored=False,
        )
    return RunState(
        status="exited",
        started_ns=int(record.get("started_ns", 0)),
        finished_ns=int(record.get("finished_ns", 0)),
        exit_code=int(record.get("exit_code", 0)),
        oom_killed=bool(record.get("oom_killed", False)),
        restart_count=int(record.get("restart_count", 0)),
        error=str(record.get("error", "")),
        stopped_by_user=bool(record.get("stopped_by_user", False)),
    )


def end_record(root_directory: str) -> dict[str, Any]:
    """How the last run ended, in the fields that a monitor writes to exit.json."""
    last = observe_ended(root_directory)
    names = ("exit_code", "oom_killed", "started_ns", "finished_ns", "error")
    return {name: value for name, value in last.fields().items() if name in names}


def _no_witness(record: dict[str, Any]) -> str:
    if record.get("boot_id") == boot_id():
        return NO_WITNESS
    return "it ended when the host went down; the exit status is not known"
