# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One more process in a running container: an exec of a client, a health check.

Three processes take part. The caller stays on the host and in the engine's own cgroup. A joiner enters the container's
cgroup, a cgroup of its own below that, and then the namespaces, not dumpable, and clones the process with CLONE_PARENT:
so the process is the caller's child, is born in the container's pid namespace, and the joiner is gone at once. All that
the process starts is in its cgroup below the container's, which is what `Spawned.kill` empties.
"""

from __future__ import annotations

import os
from time import monotonic_ns

from .._base.errors import Conflict, HullError, LaunchError
from .._base.values import Value
from .._kernel.cgroup_files import make_directory
from .._kernel.cgroup_host import CgroupHost
from .._kernel.cgroups import Cgroup
from .._kernel.namespaces import enter
from .._kernel.privileges import confine
from .._kernel.processes import open_process
from .._sys.file_calls import close_range
from .._sys.privilege_calls import set_dumpable, set_name
from .._sys.process_calls import clone3
from .._sys.process_title import set_title
from .._sys.sched_flags import CLONE_PARENT
from . import handshake, init, process_setup
from .launch_plan import ProcessPlan
from .wiring import Wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_TIMEOUT_S = 30
_KILL_TIMEOUT_S = 5.0


class Target(Value):
    """The container to join: what its state.json says."""

    pid: int
    start_time: int
    cgroup: str
    namespaces: tuple[str, ...]  # those to enter
    userns: tuple[int, int] | None  # as LaunchPlan's


def target_of(state: dict[str, Any]) -> Target:
    """The Target of a container's state.json."""
    names = [str(name) for name in state.get("namespaces", ())]
    if state.get("userns") and "user" not in names:
        names.insert(0, "user")
    names += [str(name) for name in state.get("join", {}) if name not in names]
    return Target(
        int(state.get("pid", 0)),
        int(state.get("start_time", 0)),
        str(state["cgroup"]),
        tuple(names),
        (int(state["userns"][0]), int(state["userns"][1])) if state.get("userns") else None,
    )


class Spawned:
    """A process that was executed in a container; a child of the caller, who reads its streams and ends it."""

    def __init__(self, pid: int, pid_fd: int, wiring: Wiring, cgroup: ExecCgroup) -> None:
        self.pid = pid
        self.pid_fd = pid_fd
        self.wiring = wiring
        self.warnings: list[str] = []
        self._cgroup = cgroup

    def kill(self) -> None:
        """End it and everything that it started."""
        self._cgroup.kill()

    def finish(self) -> int:
        """Reap it, end what it left running, close everything; its status as a shell gives it."""
        _, status = os.waitpid(self.pid, 0)
        self.kill()
        self._cgroup.remove()
        self.wiring.close()
        os.close(self.pid_fd)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


class ExecCgroup:
    """A cgroup below the container's for one exec, in one hierarchy only: it limits nothing, it keeps together."""

    def __init__(self, host: CgroupHost, container: str) -> None:
        self._container = Cgroup(host, container)
        if host.unified:
            view = CgroupHost("2", {}, host.unified)
        else:
            name = "freezer" if "freezer" in host.mounts else "pids"
            view = CgroupHost("1", {name: host.mounts[name]} if name in host.mounts else {})
        self._own = Cgroup(view, f"{container}/exec-{os.getpid()}-{monotonic_ns():x}")
        self._directories = [f"{root}/{self._own.path}" for root in {*view.mounts.values(), view.unified} if root]

    def create(self) -> None:
        """Make it. Raises Conflict where the container's own is gone."""
        for directory in self._directories:
            try:
                make_directory(directory)
            except FileNotFoundError as error:
                raise Conflict("execute: the container has ended") from error

    def enter(self) -> None:
        """Move the calling process in: the container's in the other hierarchies, then this one.

        On version 2 the container's own takes no process where an init in it, such as systemd, passes controllers on.
        """
        self._container.enter(cloned_into=bool(self._container.host.unified))
        self._own.enter()

    def kill(self) -> None:
        """End all processes in it; one that is stuck in the kernel is left to the container's end."""
        try:
            self._own.kill(timeout_s=_KILL_TIMEOUT_S)
        except (HullError, OSError):
            pass

    def remove(self) -> None:
        """Remove it; the container's clean-up removes it otherwise."""
        try:
            self._own.remove(timeout_s=1)
        except (HullError, OSError):
            pass


def spawn(
    target: Target,
    process: ProcessPlan,
    host: CgroupHost,
    *,
    seccomp: bytes,
    rows: int = 0,
    columns: int = 0,
    timeout_s: int = _TIMEOUT_S,
) -> Spawned:
    """Execute a process in the container. The caller must be a single-threaded child of the spawner.

    Waits until it is executed, which root in the container can delay by stopping it: `timeout_s` at most, then Timeout;
    while the container is paused, as long as that takes.
    Raises Conflict where the container has ended or is frozen, LaunchError where the command can't be executed.
    """
    target_fd = open_process(target.pid, target.start_time)
    if target_fd is None:
        raise Conflict("execute: the container has ended")
    cgroup = ExecCgroup(host, target.cgroup)
    wiring = Wiring(process)
    channel, far_end = handshake.make_pair()
    try:
        container = Cgroup(host, target.cgroup)
        if container.is_frozen():
            raise Conflict("execute: the container is paused", hint="unpause it first")
        cgroup.create()
        if target.userns is not None:
            wiring.give_to(target.userns[0])
        joiner = os.fork()
        if joiner == 0:
            _join(target, target_fd, cgroup, process, wiring, far_end, seccomp, (rows, columns))
        os.close(far_end)
        far_end = -1
        wiring.close_child_ends()
        return _await(joiner, channel, wiring, cgroup, timeout_s, container.is_frozen)
    except BaseException:
        cgroup.kill()
        cgroup.remove()
        wiring.close()
        raise
    finally:
        for fd in (target_fd, channel, far_end):
            if fd >= 0:
                os.close(fd)


def _join(
    target: Target,
    target_fd: int,
    cgroup: ExecCgroup,
    process: ProcessPlan,
    wiring: Wiring,
    channel_fd: int,
    seccomp: bytes,
    size: tuple[int, int],
) -> None:
    """The joiner. Never returns. Its message after the clone is the process's pid, as the caller numbers it."""
    try:
        set_dumpable(False)
        set_name("exec")
        set_title("exec")
        _keep_only((*wiring.child, channel_fd, target_fd))
        cgroup.enter()
        os.umask(0o022)
        limits = process_setup.set_oom_score(process) + process_setup.set_limits(process)
        enter(target_fd, target.namespaces)
        os.close(target_fd)
        if target.userns is not None:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        confine(process.capabilities, load_filters=bool(seccomp) and not process.no_new_privileges)
        pid, _pid_fd = clone3(CLONE_PARENT, exit_signal=0)
        if pid == 0:
            _become(process, wiring.child, channel_fd, seccomp, size, limits, target.userns)
        handshake.send(channel_fd, handshake.PID, str(pid))
    except BaseException as error:  # the fork boundary
        handshake.send_failure(channel_fd, error)
    finally:
        os._exit(0)


def _keep_only(fds: Iterable[int]) -> None:
    """Close all other descriptors: a container with CAP_SYS_PTRACE sees those of whoever joins it."""
    first = 3
    for fd in sorted(fd for fd in fds if fd >= first):
        if fd > first:
            close_range(first, fd - 1)
        first = fd + 1
    close_range(first)


def _become(
    process: ProcessPlan,
    stdio: tuple[int, int, int],
    channel_fd: int,
    seccomp: bytes,
    size: tuple[int, int],
    warnings: tuple[str, ...],
    userns: tuple[int, int] | None,
) -> None:
    """The process itself, up to execve. Never returns."""
    try:
        os.setsid()
        process_setup.join_keyring()
        identity = process_setup.identify(process, userns)
        for warning in warnings:
            handshake.send(channel_fd, handshake.WARNING, warning)
        if process.tty:
            init.connect_terminal(channel_fd, identity.uid, *size)
        else:
            init.connect_pipes(stdio, identity.uid)
        channel_fd = init.keep_only(channel_fd)
        process_setup.enter_directory(process.working_dir)
        env = process_setup.environment(process, identity)
        process_setup.drop_privileges(process, identity, seccomp)
        handshake.send(channel_fd, handshake.EXECUTING)
        process_setup.execute(process, env)
    except BaseException as error:  # the fork boundary
        handshake.send_failure(channel_fd, error)
    finally:
        os._exit(126)


def _await(
    joiner: int,
    channel_fd: int,
    wiring: Wiring,
    cgroup: ExecCgroup,
    timeout_s: int,
    is_paused: Callable[[], bool],
) -> Spawned:
    """Follow the launch until the channel closes; a failed one is undone."""
    progress = handshake.Progress()
    progress.follow(channel_fd, wiring, timeout_s, is_paused)
    failure = progress.failure
    if failure is not None:
        cgroup.kill()
    os.waitpid(joiner, 0)
    if progress.pid == 0 and failure is None:
        failure = LaunchError("execute: the container ended while it was joined")
    elif failure is None and not progress.executing:
        failure = LaunchError("execute: the process ended before its command was executed")
    if failure is not None:
        if progress.pid:
            os.waitpid(progress.pid, 0)
        raise failure
    spawned = Spawned(progress.pid, os.pidfd_open(progress.pid), wiring, cgroup)
    spawned.warnings = progress.warnings
    return spawned
