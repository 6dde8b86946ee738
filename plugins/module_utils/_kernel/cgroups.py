# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One container's cgroup, whatever hierarchies the host has.

Hosts have version 2 alone (one tree with all controllers), version 1 (a tree per controller or pair of them), or both
("hybrid"), where the version 2 tree has the controllers that version 1 does not hold, often none. `detect` finds out
once; `Cgroup` works on all trees at the same time, so that its callers need not know.

A container's cgroup is a plain directory `hull/<id>` below the root of each tree. On a host with systemd that is
beside its slices: systemd leaves cgroups that it did not make alone, and does not take back a controller that our
`hull` passes on, because the kernel refuses (EBUSY). A container may have another parent (`cgroup_parent`), at any
depth. Missing parents are made, marked with an extended attribute, and removed with the last container below them.
Only what we made is ever emptied or removed; the one thing written elsewhere is `cgroup.subtree_control` of version 2
on the way from the root to the container, where controllers are enabled.

Not here: which limits are sensible (`_engine`), device rules (`cgroup_devices.py`).
"""

from __future__ import annotations

import errno
import os
import time

from .._base.errors import Conflict, Invalid, SyscallError, Timeout, Unsupported
from .._base.values import Value
from . import cgroup_files, cgroup_v1, cgroup_v2
from .cgroup_files import read_or_none, read_table, read_text, wait_until, write_text
from .cgroup_host import CgroupHost, cure, detect, unkept_limits
from .failures import syscall_error
from .frozen import says_frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroup_files import Setting

__all__ = [
    "Cgroup",
    "CgroupHost",
    "Usage",
    "cure",
    "detect",
    "enter_supervisor",
    "leave_supervisor",
    "remove_if_empty",
]

_SIGKILL = 9
_TRIES = 10
_FREEZE_TO_KILL_S = 0.1
DEADLINE_S = 10.0
_MADE_BY_US = "trusted.hull"
_NO_KERNEL_MEMORY = (
    "kernel_memory: kernels no longer have a limit of its own for it, it has no effect; memory counts the kernel's too"
)


class Usage(Value):
    """What a container's processes have used; totals since the cgroup was made, except what can shrink."""

    memory_bytes: int = 0
    memory_inactive_file_bytes: int = 0  # page cache that Docker's stats leave out of the memory
    memory_peak_bytes: int = 0
    memory_limit_bytes: int = 0  # 0: none
    swap_bytes: int = 0
    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled_ns: int = 0
    pids: int = 0
    pids_limit: int = 0  # 0: none
    pids_refused: int = 0
    io_read_bytes: int = 0
    io_write_bytes: int = 0


class Cgroup:
    """One container's cgroup in all hierarchies. Holds no descriptors; making the object touches nothing.

    `path` is the parent, `Paths.cgroup` or the container's own choice, and the container's id. Any process may make a
    second object for the same path and use it, for instance after the monitor's death.
    """

    def __init__(self, host: CgroupHost, path: str) -> None:
        parts = path.split("/")
        if len(parts) < 2 or not all(parts) or ".." in parts or "." in parts:
            raise Invalid(f"{path!r} is not a cgroup below a parent of ours")
        self.host = host
        self.path = path
        self._roots = tuple(dict.fromkeys([*host.mounts.values(), *([host.unified] if host.unified else [])]))
        self._unified = f"{host.unified}/{path}" if host.unified else ""

    def directory(self, controller: str) -> str:
        """The cgroup's directory in the hierarchy of a controller. Raises Unsupported where the host has none."""
        if controller not in self.host.mounts:
            raise Unsupported(f"this host has no {controller} cgroup controller")
        return f"{self.host.mounts[controller]}/{self.path}"

    def exists(self) -> bool:
        """Whether a directory of it is there in any hierarchy."""
        return any(os.path.isdir(f"{root}/{self.path}") for root in self._roots)

    def create(self, limits: dict[str, Any]) -> tuple[str, ...]:
        """Make the cgroup with its limits, return warnings. After an error nothing of it remains.

        An empty one left by a crash is replaced. A limit that the host can't keep is a warning that names the option
        and the cure. Raises Conflict where processes live in it, Invalid (naming the option) for a value that the
        kernel refuses, Denied without the right to.
        """
        _check(limits)
        if not self._roots:
            raise Unsupported("no cgroup hierarchy is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup")
        made: list[str] = []
        try:
            obstacles = [self._make(root, made) for root in self._roots]
            warnings = self._unkept(limits, "".join(obstacles))
            return warnings + cgroup_files.apply(self._settings(limits, fresh=True), undo=False)
        except BaseException:
            for directory in made:
                cgroup_files.remove_tree(directory, time.monotonic() + 1)
            if self._in_own_parent():
                remove_if_empty(self.host, self.path.partition("/")[0])
            self._remove_parents()
            raise

    def _make(self, root: str, made: list[str]) -> str:
        """Make it in one hierarchy; what keeps version 2 from passing controllers on to it, or empty."""
        directory = f"{root}/{self.path}"
        if not self._make_directory(root, directory):
            self._replace(directory)
        made.append(directory)
        try:
            if root == self.host.unified:
                return cgroup_v2.enable(root, os.path.dirname(directory))
            if root == self.host.mounts.get("cpuset"):
                cgroup_v1.copy_cpuset(root, directory)
        except OSError as error:
            raise syscall_error(f"make cgroup {directory}", error) from error
        return ""

    def _make_directory(self, root: str, directory: str) -> bool:
        """Make it and its parents; False where it exists. Parents may be removed meanwhile, as empty, by another."""
        for _ in range(_TRIES):
            try:
                return cgroup_files.make_directory(directory)
            except FileNotFoundError:
                _make_parents(root, self.path)
        raise Conflict(f"make cgroup {directory}: its parent keeps disappearing")

    def _replace(self, directory: str) -> None:
        pids = cgroup_files.pids_in(directory)
        if pids:
            raise Conflict(
                f"make cgroup {directory}: it has processes ({' '.join(map(str, pids[:10]))})",
                hint="stop the container that they belong to",
            )
        cgroup_files.remove_tree(directory, time.monotonic() + DEADLINE_S)
        cgroup_files.make_directory(directory)

    def _unkept(self, limits: dict[str, Any], obstacle: str = "") -> tuple[str, ...]:
        """Warnings about limits that can't be kept here, whatever files there are."""
        warnings = unkept_limits(self.host, limits, self._withheld(), obstacle)
        return (*warnings, _NO_KERNEL_MEMORY) if limits.get("kernel_memory_bytes", 0) > 0 else warnings

    def _withheld(self) -> list[str]:
        """The version 2 controllers of the host that this cgroup does not have."""
        host = [name for name, root in self.host.mounts.items() if root == self.host.unified]
        if not host:
            return []
        have = (read_or_none(self._unified + "/cgroup.controllers") or "").split()
        return [name for name in host if name not in have]

    def _settings(self, limits: dict[str, Any], *, fresh: bool) -> list[Setting]:
        settings: list[Setting] = []
        withheld = self._withheld()
        for controller, root in self.host.mounts.items():
            if controller in withheld:
                continue
            table = cgroup_v2.SETTINGS if root == self.host.unified else cgroup_v1.SETTINGS
            compute = table.get(controller)
            if compute is not None:
                settings += compute(f"{root}/{self.path}", limits, fresh=fresh)
        return settings

    def set(self, limits: dict[str, Any]) -> tuple[str, ...]:
        """Change limits of the living container, return warnings. Limits that are not in the dict stay as they are.

        0 (or an empty cpuset) lifts a limit. Memory without swap sets swap to Docker's default of twice the memory.
        After an error the old limits are in force. Raises as `create`, and Conflict for a memory limit below what is in
        use that can't be reclaimed.
        """
        _check(limits)
        self._must_exist()
        warnings = self._unkept(limits)
        if limits.get("memory_bytes", 0) > 0 and self._is_v2("memory") and "memory" not in self._withheld():
            cgroup_v2.make_room(self.directory("memory"), limits["memory_bytes"])
        return warnings + cgroup_files.apply(self._settings(limits, fresh=False), undo=True)

    def _must_exist(self) -> None:
        if not self.exists():
            raise Conflict(f"cgroup {self.path}: not there; the container is not running")

    def _is_v2(self, controller: str) -> bool:
        return bool(self.host.unified) and self.host.mounts.get(controller) == self.host.unified

    def attach(self, pid: int, *, cloned_into: bool = False) -> None:
        """Move a process (0: the calling one) into the cgroup, in every hierarchy; its threads follow, children do not.

        `cloned_into`: it was born in the version 2 cgroup by CLONE_INTO_CGROUP, so only the others are written.
        """
        for root in self._roots:
            if cloned_into and root == self.host.unified:
                continue
            _move(pid, f"{root}/{self.path}")

    def enter(self, *, cloned_into: bool = False) -> None:
        """Move the calling process, which must have one thread, into the cgroup in every hierarchy.

        Prefer it to `attach` for what is about to become a container's process: a thread that moves itself needs no
        global lock, and after a quiet moment that lock costs 15 to 20 ms. Together with CLONE_INTO_CGROUP
        (`cloned_into`) nothing of it is left. The host's cgroup mounts must still be visible to the caller.
        Source: kernel/cgroup/cgroup.c, cgroup_procs_write_start.
        """
        for root in self._roots:
            if root != self.host.unified:
                _move(0, f"{root}/{self.path}", "tasks")
            elif not cloned_into:
                _move(0, f"{root}/{self.path}")

    def open_fd(self) -> int:
        """A descriptor of the version 2 directory for clone3's CLONE_INTO_CGROUP, the caller's to close.

        -1 where there is no version 2 hierarchy. Source: clone(2).
        """
        if not self._unified:
            return -1
        try:
            return os.open(self._unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise syscall_error(f"open cgroup {self._unified}", error) from error

    def freeze(self, *, timeout_s: float = DEADLINE_S) -> None:
        """Stop all processes until `thaw`; returns when they are. Raises Timeout, and is undone then."""
        self._must_exist()
        deadline = time.monotonic() + timeout_s
        if not wait_until(self._try_freeze, deadline):
            self.thaw()
            raise Timeout(f"freeze cgroup {self.path}: processes did not stop within {timeout_s:g} s")

    def _try_freeze(self) -> bool:
        # Version 1 wants the word again while it is at it: a process may have been forked in between.
        name, value = self._freezer()
        try:
            write_text(name, value[0])
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                raise Conflict(f"cgroup {self.path}: not there; the container is not running") from error
            raise syscall_error(f"freeze cgroup {self.path}", error) from error
        return self.is_frozen()

    def thaw(self) -> None:
        """Let the processes run again; nothing to do where the cgroup is gone."""
        name, value = self._freezer()
        try:
            write_text(name, value[1])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # removed before or after the file was opened
                raise syscall_error(f"thaw cgroup {self.path}", error) from error

    def is_frozen(self) -> bool:
        """Whether all processes are stopped by `freeze`."""
        path = self.frozen_witness()
        return bool(path) and says_frozen(read_or_none(path) or "")

    def frozen_witness(self) -> str:
        """The file whose text `says_frozen`; empty on a host without a freezer."""
        if "freezer" in self.host.mounts:
            return self.directory("freezer") + "/freezer.state"
        return self._unified + "/cgroup.events" if self._unified else ""

    def _freezer(self) -> tuple[str, tuple[str, str]]:
        if "freezer" in self.host.mounts:
            return self.directory("freezer") + "/freezer.state", ("FROZEN", "THAWED")
        if self._unified:
            return self._unified + "/cgroup.freeze", ("1", "0")
        raise Unsupported("pause: this host has no freezer cgroup controller", hint=cure("freezer"))

    def pids(self) -> list[int]:
        """All processes in the cgroup and below, as this pid namespace numbers them; empty when it is gone."""
        return cgroup_files.pids_in(self._tracker())

    def _tracker(self) -> str:
        """The directory whose members count as the container's: the freezer's on version 1."""
        mounts = self.host.mounts
        root = self.host.unified or mounts.get("freezer") or mounts.get("pids") or next(iter(mounts.values()), "")
        return f"{root}/{self.path}"

    def kill(self, *, timeout_s: float = DEADLINE_S) -> None:
        """SIGKILL to every process, frozen and just forked ones too, until none is left; gone already is well.

        Raises Timeout naming those that stay (a process in uninterruptible sleep).
        """
        deadline = time.monotonic() + timeout_s
        if not wait_until(self._kill_once, deadline):
            raise Timeout(f"kill cgroup {self.path}: processes {' '.join(map(str, self.pids()))} did not end")

    def _kill_once(self) -> bool:
        if not self.pids():
            return True
        if not self._kill_at_once():
            self._kill_each()
        if "freezer" in self.host.mounts:
            self.thaw()
        return not self.pids()

    def _kill_at_once(self) -> bool:
        """cgroup.kill (Linux 5.14) takes the whole version 2 tree, forks included."""
        if not self._unified:
            return False
        try:
            write_text(self._unified + "/cgroup.kill", "1")
        except OSError:
            return False
        return True

    def _kill_each(self) -> None:
        """Signal one by one, frozen meanwhile where possible: who is frozen can't fork, end, or pass its pid on."""
        can_freeze = frozen = True
        try:
            frozen = wait_until(self._try_freeze, time.monotonic() + _FREEZE_TO_KILL_S)
        except (Unsupported, SyscallError):  # no freezer, or the cgroup has just gone
            can_freeze = frozen = False
        for pid in self.pids():
            _kill(pid, None if frozen else self)
        if can_freeze:
            self.thaw()

    def remove(self, *, timeout_s: float = DEADLINE_S) -> None:
        """Remove the cgroup and those below it in every hierarchy. Idempotent. Raises Timeout while processes stay."""
        deadline = time.monotonic() + timeout_s
        for root in self._roots:
            cgroup_files.remove_tree(f"{root}/{self.path}", deadline)
        self._remove_parents()

    def _in_own_parent(self) -> bool:
        """Whether the parent is the engine's (`Paths.cgroup`), which stays as long as its spawner does."""
        parent, _, rest = self.path.partition("/")
        return "/" not in rest and (parent == "hull" or parent.startswith("hull-"))

    def _remove_parents(self) -> None:
        """Remove those parents that were made for containers and have nothing in them any more."""
        if self._in_own_parent():
            return
        for root in self._roots:
            _remove_marked(root, os.path.dirname(self.path))

    def usage(self) -> Usage:
        """What its processes have used; zeros where a controller is missing or the cgroup is gone."""
        fields: dict[str, int] = {}
        for controller, root in self.host.mounts.items():
            table = cgroup_v2.USAGE if root == self.host.unified else cgroup_v1.USAGE
            read = table.get(controller)
            if read is not None:
                fields.update(read(f"{root}/{self.path}"))
        if "cpu_ns" not in fields and self._unified:
            fields.update(cgroup_v2.cpu_usage(self._unified))
        if "pids" not in fields:
            fields["pids"] = len(self.pids())
        return Usage(**fields)

    def oom_kills(self) -> int:
        """How many processes the kernel killed because of the memory limit, since the cgroup was made."""
        if "memory" not in self.host.mounts:
            return 0
        name = "memory.events" if self._is_v2("memory") else "memory.oom_control"
        return read_table(f"{self.directory('memory')}/{name}").get("oom_kill", 0)


def _make_parents(root: str, path: str) -> None:
    directory = root
    for part in path.split("/")[:-1]:
        directory = f"{directory}/{part}"
        try:
            made = cgroup_files.make_directory(directory)
            if made:
                os.setxattr(directory, _MADE_BY_US, b"1")
        except FileNotFoundError:
            return  # the next try begins from the top
        except OSError:  # without the mark it is never removed
            pass


def _remove_marked(root: str, path: str) -> None:
    """Remove a cgroup and those above it, as far as we made them and nothing is in them."""
    while path and _is_made_by_us(f"{root}/{path}"):
        try:
            os.rmdir(f"{root}/{path}")
        except OSError:  # in use, or another has just removed it
            break
        path = os.path.dirname(path)


def _is_made_by_us(directory: str) -> bool:
    try:
        return os.getxattr(directory, _MADE_BY_US) == b"1"
    except OSError:
        return False


def _move(pid: int, directory: str, name: str = "cgroup.procs") -> None:
    try:
        write_text(f"{directory}/{name}", str(pid))
    except OSError as error:
        hint = ""
        if error.errno == errno.EBUSY:
            hint = "the cgroup passes controllers on, so only cgroups below it may have processes"
        elif error.errno == errno.EINVAL:
            hint = "a real-time process can't enter a cgroup without real-time budget"
        raise syscall_error(f"move process {pid} to cgroup {directory}", error, hint=hint) from error


def _kill(pid: int, still_in: Cgroup | None) -> None:
    """Kill a process; with `still_in` only after its membership was seen again under a pidfd that pins the number."""
    try:
        if still_in is None:
            os.kill(pid, _SIGKILL)
            return
        from .._sys.process_calls import pidfd_send_signal  # ctypes; only hosts without a freezer need it

        fd = os.pidfd_open(pid)
        try:
            if pid in still_in.pids():
                pidfd_send_signal(fd, _SIGKILL)
        finally:
            os.close(fd)
    except ProcessLookupError:
        pass


def _check(limits: dict[str, Any]) -> None:
    """What can be refused without asking the kernel. Raises Invalid."""
    memory, swap = limits.get("memory_bytes", 0), limits.get("memory_swap_bytes", 0)
    if memory > 0 and 0 < swap < memory:
        raise Invalid(
            f"{swap} is less than the memory of {memory} bytes",
            option="memory_swap",
            hint="it counts memory and swap together; give it at least the memory's size, or -1 for no limit",
        )


def enter_supervisor(host: CgroupHost, parent: str) -> None:
    """Move the calling process to `<parent>/supervisor`, out of the session or unit that it was started from.

    So a logout or the end of a unit does not end the spawner and the monitors, which are its children, and their limits
    do not count for them. On version 2 it is a leaf beside the containers (a cgroup that passes controllers on may have
    no processes itself).
    """
    for root in _occupied(host):
        _enter(root, f"{parent}/supervisor")


def leave_supervisor(host: CgroupHost, parent: str) -> None:
    """Move the calling process to the roots, and remove the engine's cgroups where nothing else is in them."""
    for root in _occupied(host):
        write_text(f"{root}/cgroup.procs", "0")
    remove_if_empty(host, parent)


def _occupied(host: CgroupHost) -> list[str]:
    """The roots of the hierarchies in which a session or a unit holds the calling process.

    The trackers of processes always; they come last, as systemd takes a unit that is empty in them for empty in all.
    Of version 1's controllers those where it is below the root, but cpuset: systemd makes nothing in it, and what is
    new in it has no CPUs.
    """
    below = []
    for line in read_text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if path != "/" else []
        below += [host.mounts[name] for name in names if name in host.mounts and name != "cpuset"]
    trackers = [root for name, root in host.mounts.items() if name.startswith("name=")]
    if host.unified:
        trackers.append(host.unified)
    return [root for root in dict.fromkeys(below) if root not in trackers] + trackers


def _enter(root: str, path: str) -> None:
    for last in range(_TRIES, 0, -1):
        _make_parents(root, path + "/")
        try:
            return _move(0, f"{root}/{path}")
        except SyscallError as error:  # removed as empty in between
            if error.errno not in (errno.ENOENT, errno.ENODEV) or last == 1:
                raise


def remove_if_empty(host: CgroupHost, parent: str) -> None:
    """Remove the engine's cgroup (`own_cgroup`) and its supervisor's in every hierarchy where nothing is left in them.

    What was made above it goes too.
    """
    for root in dict.fromkeys([*host.mounts.values(), *([host.unified] if host.unified else [])]):
        for directory in (f"{root}/{parent}/supervisor", f"{root}/{parent}"):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
                    raise syscall_error(f"remove cgroup {directory}", error) from error
        _remove_marked(root, os.path.dirname(parent))
