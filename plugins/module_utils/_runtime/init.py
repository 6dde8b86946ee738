# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The child's side of a launch: from clone3 to the container's command.

Runs in the process that becomes the container's PID 1. It ends in execve or `os._exit`, imports nothing, and tells the
monitor over the handshake's channel how far it is.
"""

from __future__ import annotations

import os

from .._base.errors import LaunchError
from .._base.values import Value
from .._kernel.mounts import attach, clone_tree
from .._kernel.namespaces import FLAGS
from .._kernel.rtnetlink import Route
from .._kernel.targets import is_null
from .._sys.file_calls import close_range, openat2
from .._sys.mount_flags import AT_FDCWD
from .._sys.open_flags import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from .._sys.privilege_calls import set_dumpable, set_name
from .._sys.process_calls import setdomainname, sethostname, setns, unshare
from .._sys.process_title import set_title
from .._sys.sched_flags import CLONE_NEWCGROUP
from . import handshake, process_setup
from .console import open_terminal, take_control
from .launch_plan import LaunchPlan
from .pid_one import run_as_pid_one
from .rootfs import Sources, build_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._kernel.cgroups import Cgroup


class InitContext(Value):
    """What init is born with. Descriptors are inherited by the clone and closed by execve at the latest."""

    plan: LaunchPlan
    channel_fd: int
    cgroup: Cgroup
    cloned_into: bool
    root_fd: int
    joined: dict[str, int]  # namespaces of another container to join, by name
    sources: Sources
    stdio: tuple[int, int, int]  # -1: the container's /dev/null; not used with a terminal
    seccomp: bytes
    rows: int
    columns: int


def run_init(context: InitContext) -> None:
    """Be the container's init. Never returns."""
    channel_fd = [context.channel_fd]
    try:
        _prepare_and_execute(context, channel_fd)
    except BaseException as error:  # the fork boundary: whatever it is, the monitor hears it and this process ends
        handshake.send_failure(channel_fd[0], error)
    finally:
        os._exit(125)


def _prepare_and_execute(context: InitContext, channel: list[int]) -> None:
    plan, process = context.plan, context.plan.process
    set_dumpable(False)
    set_name("init")
    set_title("init")
    context.cgroup.enter(cloned_into=context.cloned_into)
    warnings = process_setup.set_oom_score(process)
    if plan.userns is not None:
        handshake.expect(channel[0], handshake.GO)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.setsid()
    _enter_namespaces(context)
    os.umask(0o022)
    build_root(plan, context.root_fd, context.sources, context.cgroup.host)
    process_setup.join_keyring()
    for warning in (*warnings, *process_setup.set_limits(process)):
        handshake.send(channel[0], handshake.WARNING, warning)
    identity = process_setup.identify(process, plan.userns)
    if process.tty:
        slave = connect_terminal(channel[0], identity.uid, context.rows, context.columns)
        _bind_console(slave)
    else:
        connect_pipes(context.stdio, identity.uid)
    channel[0] = keep_only(channel[0])
    process_setup.enter_directory(process.working_dir)
    _configure_network(plan, channel[0])
    env = process_setup.environment(process, identity)
    process_setup.drop_privileges(process, identity, context.seccomp)
    handshake.send(channel[0], handshake.EXECUTING)
    if plan.init:
        run_as_pid_one(process, env, channel[0])
    process_setup.execute(process, env)


def _enter_namespaces(context: InitContext) -> None:
    """Those that the clone could not make: a joined network, the cgroup namespace now that we are in our cgroup."""
    plan = context.plan
    for name, fd in context.joined.items():
        setns(fd, FLAGS[name])
    if "cgroup" in plan.namespaces:
        unshare(CLONE_NEWCGROUP)
    if "uts" in plan.namespaces:
        sethostname(plan.hostname)
        if plan.domainname:
            setdomainname(plan.domainname)


def connect_pipes(stdio: tuple[int, int, int], uid: int) -> None:
    """Make the pipes' ends descriptors 0 to 2, and the container's null device where there is none."""
    null = open_null() if -1 in stdio else -1
    for number, fd in enumerate(stdio):
        if fd >= 0 and uid:
            os.fchown(fd, uid, -1)  # our own pipe; so that the user can open /dev/stdout
        os.dup2(fd if fd >= 0 else null, number)
    if null >= 0:
        os.close(null)


def open_null() -> int:
    """The null device of the root that the caller is in; where that is no longer one, an input that has ended.

    Root in the container may have put a link there, to a descriptor of the engine for one. So no link is followed.
    """
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = openat2(AT_FDCWD, "/dev/null", flags, resolve=RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    except OSError:
        return _ended_input()
    if is_null(fd):
        os.set_blocking(fd, True)
        return fd
    os.close(fd)
    return _ended_input()


def _ended_input() -> int:
    read_end, write_end = os.pipe()
    os.close(write_end)
    return read_end


def connect_terminal(channel_fd: int, uid: int, rows: int, columns: int) -> int:
    """Make a new terminal of the container's descriptors 0 to 2 and the session's own, its master the launcher's."""
    master, slave = open_terminal(rows, columns)
    handshake.send_terminal(channel_fd, master)
    os.close(master)
    os.fchown(slave, uid, -1)
    take_control(slave)
    for number in range(3):
        os.dup2(slave, number)
    return slave


def _bind_console(slave: int) -> None:
    mount = clone_tree("", dir_fd=slave, recursive=False)
    place = os.open("/dev/console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    attach(mount, place, name="/dev/console")


def keep_only(channel_fd: int) -> int:
    """Close all but 0 to 2 and the channel, which becomes 3: no descriptor leads out of the container any more."""
    if channel_fd != 3:
        os.dup2(channel_fd, 3, inheritable=False)
    close_range(4)
    return 3


def _configure_network(plan: LaunchPlan, channel_fd: int) -> None:
    """In a new network namespace: loopback up, and with a bridge the address and the default route."""
    if "net" not in plan.namespaces:
        return
    with Route() as route:
        if plan.network is None:
            route.set_up(1)
            return
        handshake.expect(channel_fd, handshake.NETWORK_READY)
        index = route.link_index(plan.network.interface)
        if index is None:
            raise LaunchError(f"network: {plan.network.interface} did not arrive in the container")
        route.connect(index, plan.network.address, plan.network.gateway)
