# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The flags of `run` and `create`, and what they mean as options of the container module.

A flag becomes the module's option unread; `_engine/options.py` is the only place that knows what values mean. Only what
has another shape here is converted: `KEY=value` to a dict, `--mount a=b,c=d` to a dict, health flags to one option.
Files named by flags (`--env-file`) are read.
"""

from __future__ import annotations

import os

from .._base.errors import Invalid
from .flags import many, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .flags import Flag, Parsed

_PROCESS: tuple[Flag, ...] = (
    many("env", "set a variable, or pass on the own one (NAME or NAME=value)", short="e", option="env"),
    many("env-file", "read variables from a file, one a line"),
    text("user", "user of the command, with group (name|uid[:group|gid])", short="u", option="user"),
    many("group-add", "give the command one more group", option="groups"),
    text("workdir", "directory in which the command starts", short="w", option="working_dir"),
    text("entrypoint", "replace the image's entrypoint", option="entrypoint"),
    switch("tty", "give the container a terminal", short="t", option="tty"),
    switch("interactive", "keep standard input open", short="i", option="interactive"),
    switch("init", "run a small init as process 1 that reaps and passes signals on", option="init"),
    text("stop-signal", "signal that asks the command to end", option="stop_signal"),
    text("stop-timeout", "seconds from that signal to SIGKILL", "int", option="stop_timeout"),
)
_IDENTITY: tuple[Flag, ...] = (
    text("name", "name of the container", option="name"),
    text("hostname", "host name inside", short="h", option="hostname"),
    text("domainname", "NIS domain name inside", option="domainname"),
    many("label", "attach a label (NAME or NAME=value)", short="l", option="labels"),
    many("label-file", "read labels from a file, one a line"),
    text("restart", "when it ended: no, on-failure[:n], always, unless-stopped", option="restart_policy"),
    switch("rm", "remove the container when it has ended", option="auto_remove"),
    text("pull", "pull the image first: missing, always, never"),
    text("platform", "platform of the image, such as linux/arm64"),
    text("cidfile", "write the container's id to a new file", "file"),
    text("log-driver", "where output is kept: json-file, none, journald, syslog", option="log_driver"),
    many("log-opt", "option of the log: max-size, max-file, tag, mode", option="log_options"),
    text("runtime", "container format: native", option="runtime"),
)
_FILES: tuple[Flag, ...] = (
    many("volume", "mount a volume or a directory ([source:]target[:ro])", short="v", option="volumes"),
    many("volumes-from", "mount what another container mounts", option="volumes_from"),
    many("mount", "mount by key and value (type=,source=,target=,readonly)", "mount", option="mounts"),
    many("tmpfs", "mount an empty tmpfs (target[:options])", option="tmpfs"),
    switch("read-only", "mount the root file system read-only", option="read_only"),
    many("device", "show a device of the host (path[:path][:rwm])", option="devices"),
    text("shm-size", "size of /dev/shm", "bytes", option="shm_size"),
)
_NETWORK: tuple[Flag, ...] = (
    text("network", "bridge, none, host or container:<name>", option="network_mode", alias="net"),
    many("publish", "publish a port ([[address:]port:]port[/udp])", short="p", option="published_ports"),
    many("dns", "address of a name server", option="dns_servers"),
    many("add-host", "line for /etc/hosts (name:address)", option="etc_hosts"),
)
# What `update` takes, too.
_LIMITS: tuple[Flag, ...] = (
    text("memory", "limit of memory", "bytes", short="m", option="memory"),
    text("memory-swap", "limit of memory and swap together, -1 for no limit", "bytes", option="memory_swap"),
    text("memory-reservation", "memory to keep under pressure", "bytes", option="memory_reservation"),
    text("memory-swappiness", "how willingly it is swapped, 0 to 100", "int", option="memory_swappiness"),
    text("kernel-memory", "limit of the kernel's memory", "bytes", option="kernel_memory"),
    text("cpus", "limit of CPU time, in CPUs", "decimal", option="cpus"),
    text("cpu-shares", "weight among busy containers", "int", short="c", option="cpu_shares"),
    text("cpu-period", "period of --cpu-quota in microseconds", "int", option="cpu_period"),
    text("cpu-quota", "microseconds of CPU time in each period", "int", option="cpu_quota"),
    text("cpuset-cpus", "CPUs to run on (0-3, 0,1)", option="cpuset_cpus"),
    text("cpuset-mems", "memory nodes to use (0-3, 0,1)", option="cpuset_mems"),
    text("pids-limit", "limit of processes and threads, -1 for no limit", "int", option="pids_limit"),
    text("blkio-weight", "weight among those that use the disk, 10 to 1000", "int", option="blkio_weight"),
    many("device-read-bps", "bytes a second from a device (path:rate)", option="device_read_bps"),
    many("device-write-bps", "bytes a second to a device (path:rate)", option="device_write_bps"),
    many("device-read-iops", "reads a second from a device (path:rate)", option="device_read_iops"),
    many("device-write-iops", "writes a second to a device (path:rate)", option="device_write_iops"),
    text("oom-score-adj", "how readily the kernel ends it when memory runs out", "int", option="oom_score_adj"),
    many("ulimit", "limit of a process (name=soft[:hard])", "ulimit", option="ulimits"),
)
_SECURITY: tuple[Flag, ...] = (
    switch("privileged", "all capabilities and devices, nothing masked", option="privileged"),
    many("cap-add", "add a capability", option="capabilities"),
    many("cap-drop", "take a capability away", option="cap_drop"),
    many("security-opt", "no-new-privileges[:false], seccomp=<profile>, unmask=<path>", option="security_opts"),
    many("sysctl", "set a kernel parameter of the container's namespaces", "map", option="sysctls"),
    many("device-cgroup-rule", "let devices be used (c 42:* rwm)", option="device_cgroup_rules"),
    switch("oom-kill-disable", "wait instead of being ended when memory runs out", option="oom_killer"),
    text("cgroup-parent", "control group below which its own is made", option="cgroup_parent"),
    text("cgroupns", "cgroup namespace: private or host", option="cgroupns_mode"),
    text("userns", "user namespace: host or auto", option="userns_mode"),
    text("pid", "process namespace: host or container:<name>", option="pid_mode"),
    text("ipc", "IPC namespace: private, none, host or container:<name>", option="ipc_mode"),
    text("uts", "UTS namespace: host", option="uts"),
    many("storage-opt", "option of the writable layer", "map", option="storage_opts"),
    text("gpus", "not possible: name device nodes with --device", option="device_requests"),
)
_HEALTH: tuple[Flag, ...] = (
    text("health-cmd", "shell command that tells whether the container is healthy", option="healthcheck"),
    text("health-interval", "time between two checks", "duration", option="healthcheck.interval"),
    text("health-timeout", "time that a check may take", "duration", option="healthcheck.timeout"),
    text(
        *("health-start-period", "time to start up, in which failures don't count", "duration"),
        option="healthcheck.start_period",
    ),
    text(
        *("health-start-interval", "time between two checks while it starts up", "duration"),
        option="healthcheck.start_interval",
    ),
    text("health-retries", "failures in a row that make it unhealthy", "int", option="healthcheck.retries"),
    switch("no-healthcheck", "don't check, even if the image says how"),
)
CREATE_FLAGS = (*_PROCESS, *_IDENTITY, *_FILES, *_NETWORK, *_LIMITS, *_SECURITY, *_HEALTH)
_UPDATED = ("restart", "stop-signal", "stop-timeout", "label", "log-opt", "device-cgroup-rule", "oom-kill-disable")
UPDATE_FLAGS = (*_LIMITS, *(flag for flag in CREATE_FLAGS if flag.name in _UPDATED), *_HEALTH)

_CONVERTED = frozenset(
    ("name", "env", "labels", "entrypoint", "mounts", "sysctls", "log_options", "etc_hosts", "storage_opts")
    + tuple(flag.option for flag in _HEALTH)
)
_MOUNT_KEYS = {
    "type": "type",
    "source": "source",
    "src": "source",
    "target": "target",
    "destination": "target",
    "dst": "target",
    "readonly": "read_only",
    "ro": "read_only",
    "consistency": "consistency",
    "bind-propagation": "propagation",
    "bind-create-src": "create_mountpoint",
    "bind-nonrecursive": "non_recursive",
    "volume-nocopy": "no_copy",
    "volume-driver": "volume_driver",
    "volume-subpath": "subpath",
    "image-subpath": "subpath",
    "tmpfs-size": "tmpfs_size",
    "tmpfs-mode": "tmpfs_mode",
}
_MOUNT_PAIRS = {"volume-label": "labels", "volume-opt": "volume_options"}
_BIND_RECURSIVE = {
    "enabled": (),
    "disabled": ("non_recursive",),
    "writable": ("read_only_non_recursive",),
    "readonly": ("read_only_force_recursive",),
}


def container_options(parsed: Parsed, *, name: str) -> dict[str, Any]:
    """The container module's options from the flags and arguments (`IMAGE [COMMAND...]`) of run or create.

    Raises Invalid, naming the flag, and NotFound for a file that is named and missing.
    """
    options = _plain_options(parsed, CREATE_FLAGS)
    image, *command = parsed.arguments
    options.update(
        name=name,
        image=image,
        command=command or None,
        env=environment(parsed) or None,
        labels=_pairs(parsed, "label", _file_lines(parsed.items("label-file"), "--label-file")) or None,
        sysctls=_pairs(parsed, "sysctl") or None,
        storage_opts=_pairs(parsed, "storage-opt") or None,
        log_options=_pairs(parsed, "log-opt") or None,
        etc_hosts=parsed.items("add-host") or None,
        mounts=[_mount(entry) for entry in parsed.items("mount")] or None,
        healthcheck=_healthcheck(parsed),
    )
    entrypoint = parsed.text("entrypoint")
    if entrypoint is not None:
        options["entrypoint"] = [entrypoint] if entrypoint else []
    return options


def update_options(parsed: Parsed) -> dict[str, Any]:
    """The container module's options from the flags of update; only those that were given."""
    options = _plain_options(parsed, UPDATE_FLAGS)
    options.update(
        labels=_pairs(parsed, "label") or None,
        log_options=_pairs(parsed, "log-opt") or None,
        healthcheck=_healthcheck(parsed),
    )
    return {name: value for name, value in options.items() if value is not None}


def _plain_options(parsed: Parsed, flags: Iterable[Flag]) -> dict[str, Any]:
    """The options whose flags need no conversion."""
    return {
        flag.option: parsed.values[flag.name]
        for flag in flags
        if flag.option and flag.option not in _CONVERTED and flag.name in parsed.values
    }


def environment(parsed: Parsed) -> dict[str, str]:
    """Variables from `--env-file` and `--env`, which wins; a bare NAME takes the own value, if there is one."""
    found: dict[str, str] = {}
    for entry in (*_file_lines(parsed.items("env-file"), "--env-file"), *parsed.items("env")):
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            found.pop(name, None)
    return found


def _pairs(parsed: Parsed, flag: str, before: Iterable[str] = ()) -> dict[str, str]:
    found = {}
    for entry in (*before, *parsed.items(flag)):
        name, _, value = entry.partition("=")
        if not name:
            raise Invalid(f"{entry!r} has no name", option=f"--{flag}", hint="write NAME=value")
        found[name] = value
    return found


def _file_lines(paths: Iterable[str], flag: str) -> list[str]:
    """The lines of the files, without empty ones and those that begin with `#`."""
    from .._engine.options import file_lines

    return [line for path in paths for line in file_lines(path, option=flag)]


def _mount(entry: str) -> dict[str, Any]:
    """`type=bind,source=/a,target=/b,readonly` as an entry of the module's `mounts`.

    A part with commas stands in double quotes: `"volume-opt=o=addr=192.0.2.7,soft"`.
    """
    found: dict[str, Any] = {}
    for part in _comma_separated(entry):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if key in _MOUNT_PAIRS and equals:
            name, _, text = value.partition("=")
            found.setdefault(_MOUNT_PAIRS[key], {})[name] = text
        elif key == "bind-recursive" and value in _BIND_RECURSIVE:
            found.update(dict.fromkeys(_BIND_RECURSIVE[value], True))
        elif key in _MOUNT_KEYS:
            found[_MOUNT_KEYS[key]] = value if equals else True
        else:
            raise Invalid(
                f"{key!r} in {entry!r} is not known",
                option="--mount",
                hint="use type, source, target, readonly, bind-*, volume-*, image-subpath, tmpfs-size, tmpfs-mode",
            )
    return found


def _comma_separated(entry: str) -> list[str]:
    """The parts of a line of CSV, of which those in double quotes may have commas; a doubled quote is one."""
    parts, quoted = [""], False
    for position, piece in enumerate(entry.split('"')):
        quoted = position % 2 == 1
        if quoted or not piece:
            parts[-1] += piece if quoted else '"' if 0 < position < entry.count('"') else ""
        else:
            first, *rest = piece.split(",")
            parts[-1] += first
            parts += rest
    if quoted:
        raise Invalid(f"{entry!r} has a quote without its end", option="--mount")
    return parts


def _healthcheck(parsed: Parsed) -> dict[str, Any] | None:
    """One option from the flags; without a command they change what the image says, as in Docker."""
    details = {
        flag.option.partition(".")[2]: parsed.values[flag.name]
        for flag in _HEALTH
        if "." in flag.option and flag.name in parsed.values
    }
    command = parsed.text("health-cmd")
    if parsed.is_on("no-healthcheck"):
        if details or command:
            raise Invalid("can't be used together with --health-*", option="--no-healthcheck")
        return {"test": ["NONE"]}
    if command:
        return {"test": ["CMD-SHELL", command], **details}
    return {"test_cli_compatible": True, **details} if details else None
