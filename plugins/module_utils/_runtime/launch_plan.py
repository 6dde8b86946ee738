# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the launch code is told: everything about one container's processes, decided beforehand.

A LaunchPlan is complete: the spawner, monitor and init read no record, no configuration and no image. It is stored by
the monitor's side as JSON (`launch.json` in the container's directory), so a restart policy or a reboot can start the
same container again. Paths are absolute on the host, except targets, which are inside the container's root.
"""

from __future__ import annotations

from .._base.ports import PortPlan as PortPlan
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ProcessPlan(Value):
    """A process to run in a container (its init, an exec, a health check)."""

    args: tuple[str, ...]
    env: tuple[str, ...]  # KEY=value; TERM, HOME and PATH are added by init where missing
    working_dir: str = "/"
    user: str = ""  # as in `USER`: name, uid, name:group, uid:gid; looked up in the container's files
    groups: tuple[str, ...] = ()  # further groups, names or gids
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False  # close stdin when the first attached client goes
    capabilities: tuple[str, ...] = ()  # CAP_X; bounding, and for uid 0 permitted and effective; never inheritable
    no_new_privileges: bool = True
    seccomp_path: str = ""  # file with the assembled BPF program; empty: unconfined
    rlimits: tuple[tuple[str, int, int], ...] = ()  # (nofile, soft, hard); -1 is unlimited
    oom_score_adj: int = 0
    apparmor: str = ""  # the profile to be executed under; empty: none is asked for
    rows: int = 0
    columns: int = 0


class MountPlan(Value):
    """One mount in the container, applied in order."""

    kind: str  # bind, image, filesystem, process (`source` is a pid), tmpfs, proc, sysfs, devpts, mqueue, cgroup, dev
    target: str
    source: str = ""
    read_only: bool = False
    flags: tuple[str, ...] = ()  # nosuid, nodev, noexec, rbind ...
    data: str = ""  # file system options, as in mount(8) -o: mode=1777,size=65536k
    propagation: str = "rprivate"
    subpath: str = ""  # what of the source is shown: a path below its top, found within it
    read_only_recursive: bool = True  # what is mounted below a read-only bind is read-only too
    layers: tuple[str, ...] = ()  # of an image, topmost first
    filesystem: str = ""  # of the kind filesystem: its type; `source` is the device or the server


class DevicePlan(Value):
    """A device node made in /dev (or bound there where mknod is not possible) and allowed by the devices cgroup."""

    path: str
    kind: str  # c or b
    major: int
    minor: int
    access: str = "rwm"
    mode: int = 0o666


class NetworkPlan(Value):
    """How the container's own network namespace is connected to a bridge that exists."""

    bridge: str
    link: str  # name of the host's end of the veth pair
    address: str  # 10.88.0.5/16
    gateway: str
    mac: str = ""
    interface: str = "eth0"
    mtu: int = 1500
    nft_table: str = "hull"
    ports: tuple[PortPlan, ...] = ()


class RestartPlan(Value):
    """Restart policy; `retries` counts for on-failure, 0 is without end."""

    policy: str = "no"
    retries: int = 0


class HealthPlan(Value):
    """Health check, with the command already in exec form."""

    args: tuple[str, ...]
    interval_ns: int
    timeout_ns: int
    start_period_ns: int
    start_interval_ns: int
    retries: int


class LogPlan(Value):
    """Where output goes: JSON lines of Docker's json-file shape, rotated by size. An empty path keeps nothing."""

    path: str
    max_size_bytes: int
    max_files: int
    driver: str = "json-file"  # none, journald, syslog: these two beside the file
    tag: str = ""  # the name in journald and syslog, expanded
    blocking: bool = False
    address: str = ""  # where the driver's receiver listens: unixgram:///path, udp://address:port, tcp://address:port
    facility: int = 3  # syslog's
    format: str = "rfc3164"  # syslog's: or rfc5424
    image: str = ""  # the image's name, for journald
    buffer_bytes: int = 1024 * 1024  # what waits for a slow receiver


class LaunchPlan(Value):
    """A container ready to be started."""

    container_id: str
    name: str
    instance: str  # Paths.instance
    root_directory: str  # Paths.container(id): upper, work, etc, log, exit.json
    run_directory: str  # Paths.container_run(id): state.json, monitor.sock
    layers: tuple[str, ...]  # lower directories, topmost first
    process: ProcessPlan
    hostname: str
    domainname: str = ""
    read_only: bool = False
    mounts: tuple[MountPlan, ...] = ()
    devices: tuple[DevicePlan, ...] = ()
    masked_paths: tuple[str, ...] = ()
    read_only_paths: tuple[str, ...] = ()
    sysctls: dict[str, str] = {}
    namespaces: tuple[str, ...] = ("mount", "pid", "net", "ipc", "uts", "cgroup", "time")  # those that are new
    userns: tuple[int, int] | None = None  # (first host id, how many)
    cgroup: str = ""  # below a hierarchy's root: hull/<id>
    limits: dict[str, Any] = {}  # fields of _base.spec.Limits
    privileged: bool = False
    network: NetworkPlan | None = None
    init: bool = False  # our own PID 1 that reaps and forwards signals
    stop_signal: int = 15
    stop_timeout_s: int = 10
    restart: RestartPlan = RestartPlan()
    health: HealthPlan | None = None
    log: LogPlan | None = None
    auto_remove: bool = False
    shm_size_bytes: int = 64 * 1024 * 1024
    join: dict[str, int] = {}  # namespace that is not new to the pid whose it is; not there: the host's
    device_rules: tuple[tuple[str, int, int, str], ...] = ()  # (a b or c, major, minor, access); -1: all
    finisher: tuple[str, ...] = ()  # executed by the monitor after the final exit, if nobody else cleans up
    providers: dict[str, str] = {}  # namespace to the run directory of the container whose it is: `join` at each launch

    @property
    def allowed_devices(self) -> list[tuple[str, int, int, str]]:
        """What the devices cgroup allows beside the default devices."""
        shown = [(device.kind, device.major, device.minor, device.access) for device in self.devices]
        return [*shown, *self.device_rules]


def with_live_part(plan: LaunchPlan, wanted: LaunchPlan) -> LaunchPlan:
    """The plan of a running container with all that it can take over of another one. Pure."""
    process = replace(plan.process, rlimits=wanted.process.rlimits, oom_score_adj=wanted.process.oom_score_adj)
    log = plan.log
    if log is not None and wanted.log is not None:
        log = replace(wanted.log, path=log.path, driver=log.driver)
    names = ("name", "limits", "device_rules", "stop_signal", "stop_timeout_s", "restart", "health")
    return replace(plan, process=process, log=log, **{name: getattr(wanted, name) for name in names})


_NESTED: dict[str, type[Value]] = {
    "process": ProcessPlan,
    "network": NetworkPlan,
    "restart": RestartPlan,
    "health": HealthPlan,
    "log": LogPlan,
}
_NESTED_LISTS: dict[str, type[Value]] = {"mounts": MountPlan, "devices": DevicePlan, "ports": PortPlan}


def from_record(kind: type[Value], record: dict[str, Any]) -> Any:
    """The value of this type that `_base.spec.to_record` wrote. Fields unknown to this version are ignored."""
    fields: dict[str, Any] = {}
    for name, value in record.items():
        if name not in kind._fields:
            continue
        if name in _NESTED:
            value = value and from_record(_NESTED[name], value)
        elif name in _NESTED_LISTS:
            value = tuple(from_record(_NESTED_LISTS[name], item) for item in value)
        fields[name] = _tuples(value)
    return kind(**fields)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def plan_from_record(record: dict[str, Any]) -> LaunchPlan:
    """The LaunchPlan that `_base.spec.to_record` wrote."""
    plan: LaunchPlan = from_record(LaunchPlan, record)
    return plan
