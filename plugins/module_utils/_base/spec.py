# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container was asked to be: the normalised form of a task's options or a command's flags.

The spec is stored with the container and compared with the next task's (design decision 5). Everything is in the
engine's own units; nothing here depends on the image or on the host. What the image adds is merged at creation into
`ProcessSpec` (`_engine/resolve.py`), never stored back here.
"""

from __future__ import annotations

from .values import Value
from .values import to_record as to_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class MountSpec(Value):
    """One mount asked for. `source` is a host path (bind), a volume's name (empty: anonymous), an image, or empty."""

    kind: str  # bind, volume, tmpfs or image
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = "rprivate"
    copy_up: bool = True
    recursive: bool = True
    create_source: bool = False  # a bind's missing source directory is made, as `-v` does and `--mount` does not
    size_bytes: int = 0
    mode: int = 0o1777
    options: tuple[str, ...] = ()  # further mount options of a tmpfs
    subpath: str = ""  # a directory or file inside a volume or an image
    read_only_recursive: bool = True  # what is mounted below a read-only bind is read-only too
    volume_labels: tuple[tuple[str, str], ...] = ()  # of a volume that is made for this mount
    volume_options: tuple[tuple[str, str], ...] = ()  # its driver's: type, device, o


class PortSpec(Value):
    """One published port. `host_port` 0: the engine chooses one. `host_address`: `0.0.0.0` or one of the host's."""

    container_port: int
    host_port: int = 0
    host_address: str = "0.0.0.0"
    protocol: str = "tcp"


class DeviceSpec(Value):
    """A host device to show in the container, with the cgroup's access letters."""

    host_path: str
    container_path: str
    access: str = "rwm"


class HealthSpec(Value):
    """A health check. `test` is `("CMD", ...)`, `("CMD-SHELL", "...")` or `("NONE",)`."""

    test: tuple[str, ...]
    interval_ns: int = 30 * 10**9
    timeout_ns: int = 30 * 10**9
    start_period_ns: int = 0
    start_interval_ns: int = 5 * 10**9
    retries: int = 3


class DeviceRuleSpec(Value):
    """Devices that the container may use without their being shown; -1 as a number stands for all."""

    kind: str  # a, b or c
    major: int
    minor: int
    access: str  # letters of rwm


class Limits(Value):
    """Resource limits; 0 means not limited by us, -1 (swap, pids) means explicitly unlimited.

    The rates are by path of a block device on the host, bytes or operations a second.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0  # memory plus swap, as Docker counts; 0: twice the memory, -1: unlimited swap
    memory_reservation_bytes: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 100_000
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int = 2048
    blkio_weight: int = 0
    memory_swappiness: int = -1  # 0 to 100; -1: the host's
    kernel_memory_bytes: int = 0
    oom_kill_disable: bool = False
    read_bps: dict[str, int] = {}
    write_bps: dict[str, int] = {}
    read_iops: dict[str, int] = {}
    write_iops: dict[str, int] = {}


class ContainerSpec(Value):
    """A container as asked for. None means that the task did not say, so the image or the engine's default decides."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    user: str | None = None
    groups: tuple[str, ...] = ()
    working_dir: str | None = None
    hostname: str | None = None
    domainname: str = ""
    labels: dict[str, str] = {}
    tty: bool = False
    interactive: bool = False
    init: bool = False
    auto_remove: bool = False
    stop_signal: str | None = None
    stop_timeout_s: int | None = None
    restart_policy: str = "no"
    restart_retries: int = 0
    health: HealthSpec | None = None
    mounts: tuple[MountSpec, ...] = ()
    volumes_from: tuple[str, ...] = ()
    network_mode: str = "bridge"
    ports: tuple[PortSpec, ...] = ()
    dns_servers: tuple[str, ...] = ()
    etc_hosts: dict[str, str] = {}
    limits: Limits = Limits()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = True
    seccomp: str = "default"  # default, unconfined or the path of a profile
    seccomp_compat: bool = False  # let 32-bit programs (i386, x32, arm) in
    apparmor: str = ""  # a profile's name, unconfined, or empty: the engine's choice
    mask: tuple[str, ...] = ()  # further paths to hide
    unmask: tuple[str, ...] = ()  # paths not to hide and not to protect; ALL is all
    read_only: bool = False
    devices: tuple[DeviceSpec, ...] = ()
    sysctls: dict[str, str] = {}
    ulimits: dict[str, tuple[int, int]] = {}
    shm_size_bytes: int = 64 * 1024 * 1024
    device_rules: tuple[DeviceRuleSpec, ...] = ()
    oom_score_adj: int = 0
    cgroup_parent: str = ""  # empty: the engine's own
    pid_mode: str = ""  # empty: private, host or container:<name>
    ipc_mode: str = ""  # empty: private, host, shareable, none or container:<name>
    uts_mode: str = ""  # empty: private, or host
    cgroupns_mode: str = "private"  # or host
    userns_mode: str = "host"  # host or auto
    runtime: str = "native"  # the container format
    log_driver: str = "json-file"  # none, journald, syslog: these two beside the file
    log_tag: str = ""  # template of the name in journald and syslog; empty: the beginning of the id
    log_blocking: bool = False  # the container waits where its log can't keep up, instead of losing lines
    log_max_size_bytes: int = 10 * 1024 * 1024
    log_max_files: int = 3
    given: tuple[str, ...] = ()  # names of the options that were asked for, sorted; the others are defaults
    log_address: str = ""  # where syslog listens: unixgram:///path, udp://host:port, tcp://host:port; empty: /dev/log
    log_facility: str = "daemon"  # syslog's
    log_format: str = "rfc3164"  # syslog's: or rfc5424
    log_buffer_bytes: int = 1024 * 1024  # what waits for a slow journald or syslog
    selinux: tuple[str, ...] = ()  # label options: disable, type:x ...
    storage_opts: dict[str, str] = {}  # size: where the host has quotas


_NESTED = {"mounts": MountSpec, "ports": PortSpec, "devices": DeviceSpec, "device_rules": DeviceRuleSpec}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def spec_from_record(record: dict[str, Any]) -> ContainerSpec:
    """The ContainerSpec that `to_record` wrote. Fields unknown to this version are ignored, missing ones defaulted."""
    known: dict[str, Any] = {}
    for name in ContainerSpec._fields:
        if name not in record:
            continue
        value = record[name]
        if name in _NESTED:
            value = tuple(_known_fields(_NESTED[name], item) for item in value)
        elif name == "limits":
            value = _known_fields(Limits, value)
        elif name == "health":
            value = value and _known_fields(HealthSpec, value)
        elif name == "ulimits":
            value = {limit: tuple(pair) for limit, pair in value.items()}
        known[name] = _tuples(value)
    return ContainerSpec(**known)


def _known_fields(kind: type[Any], record: dict[str, Any]) -> Any:
    return kind(**{name: _tuples(value) for name, value in record.items() if name in kind._fields})
