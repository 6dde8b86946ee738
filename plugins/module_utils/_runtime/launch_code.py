# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The launch code: the files that spawner and monitors run from, copied once per version to the run-time directory.

A monitor outlives the module's temporary directory and upgrades of the collection, so its code must too. The version
is a hash over the sources. Sources are read through the module's own loader: from a checkout, from a task's zipped
payload, from the `hull` command's zip file (which may hold compiled files beside them).
"""

from __future__ import annotations

import os
import sys
from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths

PACKAGE = "hull_launch"

# What spawner.py and finisher.py import, directly or not; a unit test compares this list with the import statements.
FILES = (
    "_base/clock.py",
    "_base/codec.py",
    "_base/errors.py",
    "_base/paths.py",
    "_base/ports.py",
    "_base/values.py",
    "_kernel/bpf.py",
    "_kernel/capabilities.py",
    "_kernel/cgroup_devices.py",
    "_kernel/cgroup_files.py",
    "_kernel/cgroup_host.py",
    "_kernel/cgroup_rates.py",
    "_kernel/cgroup_sets.py",
    "_kernel/cgroup_v1.py",
    "_kernel/cgroup_v2.py",
    "_kernel/cgroups.py",
    "_kernel/conntrack.py",
    "_kernel/failures.py",
    "_kernel/frozen.py",
    "_kernel/mount_options.py",
    "_kernel/mount_table.py",
    "_kernel/mounts.py",
    "_kernel/namespaces.py",
    "_kernel/netlink.py",
    "_kernel/nftables.py",
    "_kernel/nftables_rules.py",
    "_kernel/overlay.py",
    "_kernel/own_mounts.py",
    "_kernel/own_proc.py",
    "_kernel/privileges.py",
    "_kernel/processes.py",
    "_kernel/remounting.py",
    "_kernel/rtnetlink.py",
    "_kernel/seccomp_load.py",
    "_kernel/targets.py",
    "_net/port_holders.py",
    "_net/ports.py",
    "_runtime/cgroup_view.py",
    "_runtime/clients.py",
    "_runtime/console.py",
    "_runtime/container_log.py",
    "_runtime/control.py",
    "_runtime/device_nodes.py",
    "_runtime/dormant.py",
    "_runtime/event_loop.py",
    "_runtime/exec_process.py",
    "_runtime/exec_server.py",
    "_runtime/finisher.py",
    "_runtime/handover.py",
    "_runtime/handshake.py",
    "_runtime/health.py",
    "_runtime/health_monitor.py",
    "_runtime/init.py",
    "_runtime/launch_plan.py",
    "_runtime/launch_worker.py",
    "_runtime/launcher.py",
    "_runtime/log_drivers.py",
    "_runtime/log_forwarder.py",
    "_runtime/log_writer.py",
    "_runtime/monitor.py",
    "_runtime/mount_sources.py",
    "_runtime/patience.py",
    "_runtime/pid_one.py",
    "_runtime/plan_file.py",
    "_runtime/process_setup.py",
    "_runtime/protocol.py",
    "_runtime/reconcile.py",
    "_runtime/requests.py",
    "_runtime/restart.py",
    "_runtime/rootfs.py",
    "_runtime/run_directory.py",
    "_runtime/spawner.py",
    "_runtime/standard_mounts.py",
    "_runtime/state.py",
    "_runtime/streams.py",
    "_runtime/users.py",
    "_runtime/wiring.py",
    "_runtime/worker.py",
    "_store/database.py",
    "_store/files.py",
    "_store/locks.py",
    "_store/records.py",
    "_store/removal.py",
    "_sys/bpf_calls.py",
    "_sys/file_calls.py",
    "_sys/heap.py",
    "_sys/libc.py",
    "_sys/mount_calls.py",
    "_sys/mount_flags.py",
    "_sys/open_flags.py",
    "_sys/prctl_options.py",
    "_sys/privilege_calls.py",
    "_sys/process_calls.py",
    "_sys/process_title.py",
    "_sys/sched_flags.py",
)

_SPAWNER = (
    f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {PACKAGE}._runtime.spawner import main; main(*sys.argv[1:])"
)
_FINISHER = (
    f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {PACKAGE}._runtime.finisher import main; main(sys.argv[1:])"
)

_cache: dict[str, bytes] = {}
_known: list[str] = []


def sources() -> dict[str, bytes]:
    """The launch code by `layer/file.py`."""
    if not _cache:
        loader: Any = __loader__  # type: ignore[name-defined]
        base = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for name in FILES:
            _cache[name] = loader.get_data(os.path.join(base, *name.split("/")))
    return _cache


def version() -> str:
    """Sixteen hex digits that stand for the launch code. A loader that keeps what it loads keeps this too."""
    loader: Any = __loader__  # type: ignore[name-defined]
    if not _known:
        _known.append(getattr(loader, "launch_version", "") or version_of(sources()))
        if hasattr(loader, "launch_version"):
            loader.launch_version = _known[0]
    return _known[0]


def version_of(files: dict[str, bytes]) -> str:
    """The version of these sources of the launch code; others among them do not count."""
    state = blake2b(digest_size=8)
    for name in FILES:
        state.update(b"%s %d\n" % (name.encode(), len(files[name])))
        state.update(files[name])
    return state.hexdigest()


def directory(paths: Paths) -> str:
    """Where this version's launch code lies, if it is there."""
    return f"{paths.launch}/{version()}"


def materialise(paths: Paths) -> str:
    """The directory of the launch code, written now if it is missing. Atomic: it is there complete, or not at all."""
    target = directory(paths)
    if os.path.isdir(target):
        return target
    for parent in (paths.run, paths.launch):
        os.makedirs(parent, 0o700, exist_ok=True)
    temporary = f"{paths.launch}/.new-{os.getpid()}-{os.urandom(4).hex()}"
    os.mkdir(temporary, 0o700)
    try:
        _write_all(f"{temporary}/{PACKAGE}")
        os.rename(temporary, target)
    except OSError:
        _remove(temporary)
        if not os.path.isdir(target):  # somebody else was faster
            raise
    return target


def _write_all(package: str) -> None:
    texts = dict(sources())
    for name in FILES:
        texts[name.partition("/")[0] + "/__init__.py"] = b""
    texts["__init__.py"] = b""
    for name, data in texts.items():
        path = f"{package}/{name}"
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)


def _remove(top: str) -> None:
    for path, directories, files in os.walk(top, topdown=False):
        for name in files:
            os.unlink(f"{path}/{name}")
        for name in directories:
            os.rmdir(f"{path}/{name}")
    if os.path.isdir(top):
        os.rmdir(top)


def interpreter() -> str:
    """The path of the running interpreter, links resolved."""
    return os.path.realpath(sys.executable or "/proc/self/exe")


def spawner_command(launch_directory: str, socket_path: str, cgroup_parent: str) -> list[str]:
    """The arguments that run the spawner from the launch code."""
    return [interpreter(), "-I", "-S", "-c", _SPAWNER, launch_directory, socket_path, launch_directory, cgroup_parent]


def finisher_command(paths: Paths, container_id: str) -> tuple[str, ...]:
    """The arguments that run the finisher of a container from the launch code."""
    argv = [interpreter(), "-I", "-S", "-c", _FINISHER, materialise(paths)]
    return (*argv, paths.root, paths.run, paths.config, container_id)


def ship() -> None:
    """Import both entry points. Never called: the statement makes Ansible put their files into a task's payload."""
    from . import finisher, spawner  # noqa: F401
