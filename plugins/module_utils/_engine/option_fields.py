# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options that describe a container: where each stands in a ContainerSpec, how it is compared, what changes live.

One table, `FIELDS`. The kinds and the default comparisons are docker_container's. Pure.
"""

from __future__ import annotations

from .._base.spec import MountSpec, to_record
from .._base.values import Value, replace
from .health_options import complete_health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._base.spec import ContainerSpec
    from .image_facts import ImageConfig

STRICT, IGNORE, ALLOW_MORE = "strict", "ignore", "allow_more_present"


class Field(Value):
    """One option: the fields of the spec that it sets, and how it is compared.

    `kind` is value, list, set or dict. `parts` are the keys of an option that is a dict, with their fields: of those,
    only what the task gives is compared, see `part_name`.
    """

    names: tuple[str, ...]
    kind: str = "value"
    live: bool = False
    default: str = ""  # the comparison, where it isn't the kind's
    parts: dict[str, str] = {}

    @property
    def comparison(self) -> str:
        """How it is compared where the task does not say."""
        return self.default or (ALLOW_MORE if self.kind in ("set", "dict") else STRICT)


def part_name(option: str, key: str) -> str:
    """How `ContainerSpec.given` names one key of an option that is a dict."""
    return f"{option}.{key}"


_LIMITS = {
    "memory": "memory_bytes",
    "memory_swap": "memory_swap_bytes",
    "memory_reservation": "memory_reservation_bytes",
    "memory_swappiness": "memory_swappiness",
    "kernel_memory": "kernel_memory_bytes",
    "oom_killer": "oom_kill_disable",
    "cpu_quota": "cpu_quota_us",
    "cpu_period": "cpu_period_us",
    "cpu_shares": "cpu_shares",
    "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems",
    "pids_limit": "pids",
    "blkio_weight": "blkio_weight",
}
_RATES = ("read_bps", "write_bps", "read_iops", "write_iops")
_SECURITY = ("no_new_privileges", "seccomp", "seccomp_compat", "apparmor", "selinux", "mask", "unmask")
_HEALTH_PARTS = ("test", "interval", "timeout", "start_period", "start_interval", "retries")
_LOG_PARTS = {
    "max-size": "log_max_size_bytes",
    "max-file": "log_max_files",
    "mode": "log_blocking",
    "max-buffer-size": "log_buffer_bytes",
    "tag": "log_tag",
    "syslog-address": "log_address",
    "syslog-facility": "log_facility",
    "syslog-format": "log_format",
}
FIELDS: dict[str, Field] = {
    "command": Field(("command",), "list"),
    "entrypoint": Field(("entrypoint",), "list"),
    "env": Field(("env",), "dict"),
    "user": Field(("user",)),
    "groups": Field(("groups",), "set"),
    "working_dir": Field(("working_dir",)),
    "hostname": Field(("hostname",)),
    "domainname": Field(("domainname",)),
    "labels": Field(("labels",), "dict", live=True),
    "tty": Field(("tty",)),
    "interactive": Field(("interactive",)),
    "init": Field(("init",)),
    "auto_remove": Field(("auto_remove",)),
    "stop_signal": Field(("stop_signal",), live=True),
    "stop_timeout": Field(("stop_timeout_s",), live=True, default=IGNORE),
    "restart_policy": Field(("restart_policy", "restart_retries"), live=True),
    "restart_retries": Field(("restart_retries",), live=True),
    "healthcheck": Field(("health",), "dict", live=True, parts=dict.fromkeys(_HEALTH_PARTS, "health")),
    "volumes": Field(("mounts",), "set"),
    "mounts": Field(("mounts",), "set"),
    "tmpfs": Field(("mounts",), "set"),
    "volumes_from": Field(("volumes_from",), "set"),
    "network_mode": Field(("network_mode",)),
    "published_ports": Field(("ports",), "set"),
    "dns_servers": Field(("dns_servers",), "list"),
    "etc_hosts": Field(("etc_hosts",), "dict"),
    "cpus": Field(("limits.cpu_quota_us", "limits.cpu_period_us"), live=True),
    **{option: Field((f"limits.{name}",), live=True) for option, name in _LIMITS.items()},
    **{f"device_{name}": Field((f"limits.{name}",), "dict", live=True) for name in _RATES},
    "oom_score_adj": Field(("oom_score_adj",), live=True),
    "cgroup_parent": Field(("cgroup_parent",)),
    "cgroupns_mode": Field(("cgroupns_mode",)),
    "privileged": Field(("privileged",)),
    "capabilities": Field(("cap_add",), "set"),
    "cap_drop": Field(("cap_drop",), "set"),
    "security_opts": Field(_SECURITY, "set"),
    "read_only": Field(("read_only",)),
    "devices": Field(("devices",), "set"),
    "device_cgroup_rules": Field(("device_rules",), "set", live=True),
    "storage_opts": Field(("storage_opts",), "dict"),
    "sysctls": Field(("sysctls",), "dict"),
    "ulimits": Field(("ulimits",), "dict", live=True),
    "shm_size": Field(("shm_size_bytes",)),
    "pid_mode": Field(("pid_mode",)),
    "ipc_mode": Field(("ipc_mode",)),
    "uts": Field(("uts_mode",)),
    "userns_mode": Field(("userns_mode",)),
    "runtime": Field(("runtime",)),
    "log_driver": Field(("log_driver",)),
    "log_options": Field(tuple(_LOG_PARTS.values()), "dict", live=True, parts=_LOG_PARTS),
}


def get(spec: ContainerSpec, path: str) -> Any:
    """A field of the spec, by a name such as `user` or `limits.pids`."""
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value


def view(option: str, spec: ContainerSpec, config: ImageConfig) -> Any:
    """What an option comes to in a container: what the spec says, completed by the image. Compared and shown."""
    complete = _VIEWS.get(option)
    return complete(spec, config) if complete else get(spec, FIELDS[option].names[0])


def _command(spec: ContainerSpec, config: ImageConfig) -> tuple[str, ...]:
    """An entrypoint of its own drops the image's command; an empty command is none."""
    return spec.command or (config.command if spec.entrypoint is None else ())


def _env(spec: ContainerSpec, config: ImageConfig) -> dict[str, str]:
    return {**dict(item.partition("=")[::2] for item in config.env), **spec.env}


def _stop_signal(spec: ContainerSpec, config: ImageConfig) -> str:
    text = (spec.stop_signal or config.stop_signal or "TERM").upper()
    return text if text.startswith("SIG") or text.isdigit() else f"SIG{text}"


def _health(spec: ContainerSpec, config: ImageConfig) -> dict[str, Any] | None:
    health = complete_health(spec.health, config.health)
    return (
        None
        if health is None
        else {name.replace("_ns", ""): to_record(value) for name, value in health.fields().items()}
    )


def _mounts(spec: ContainerSpec, config: ImageConfig) -> tuple[MountSpec, ...]:
    """Also the volumes without a name that the image asks for. Whether a directory is made is no part of a mount."""
    taken = {mount.target for mount in spec.mounts}
    own = tuple(replace(mount, create_source=False) for mount in spec.mounts)
    return own + tuple(MountSpec("volume", path) for path in config.volumes if path not in taken)


def _volumes(spec: ContainerSpec, config: ImageConfig) -> tuple[MountSpec, ...]:
    """Without what only `tmpfs` or `mounts` can say."""
    return tuple(mount for mount in _mounts(spec, config) if mount.kind in ("bind", "volume"))


def _tmpfs(spec: ContainerSpec, _config: ImageConfig) -> tuple[MountSpec, ...]:
    return tuple(mount for mount in spec.mounts if mount.kind == "tmpfs")


def _cpus(spec: ContainerSpec, _config: ImageConfig) -> float:
    return spec.limits.cpu_quota_us / (spec.limits.cpu_period_us or 100_000)


def security_entries(spec: ContainerSpec) -> tuple[str, ...]:
    """The entries of `security_opts` that say what the spec says, less those that say what holds anyway."""
    entries = [] if spec.no_new_privileges else ["no-new-privileges:false"]
    entries += [f"seccomp={spec.seccomp}"] if spec.seccomp != "default" else []
    entries += ["seccomp-compat"] if spec.seccomp_compat else []
    entries += [f"apparmor={spec.apparmor}"] if spec.apparmor else []
    entries += [f"label={label}" for label in spec.selinux]
    entries += [f"mask={path}" for path in spec.mask]
    return (*entries, *(f"unmask={path}" for path in spec.unmask))


def _security(spec: ContainerSpec, _config: ImageConfig) -> tuple[str, ...]:
    """What is said of privileges is always among them: that a task no longer lets processes gain them is a change."""
    return (*(["no-new-privileges:true"] if spec.no_new_privileges else []), *security_entries(spec))


def _log_options(spec: ContainerSpec, _config: ImageConfig) -> dict[str, Any]:
    values = {key: getattr(spec, name) for key, name in _LOG_PARTS.items()}
    return {**values, "mode": "blocking" if spec.log_blocking else "non-blocking"}


_VIEWS: dict[str, Callable[[ContainerSpec, ImageConfig], Any]] = {
    "command": _command,
    "entrypoint": lambda spec, config: config.entrypoint if spec.entrypoint is None else spec.entrypoint,
    "env": _env,
    "labels": lambda spec, config: {**config.labels, **spec.labels},
    "user": lambda spec, config: config.user if spec.user is None else spec.user,
    "working_dir": lambda spec, config: spec.working_dir or config.working_dir or "/",
    "stop_signal": _stop_signal,
    "healthcheck": _health,
    "volumes": _volumes,
    "mounts": _mounts,
    "tmpfs": _tmpfs,
    "cpus": _cpus,
    "security_opts": _security,
    "log_options": _log_options,
}
