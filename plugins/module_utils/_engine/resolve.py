# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From what was asked for and what the image says to a LaunchPlan. Pure but for the host's devices and host name."""

from __future__ import annotations

import os
import stat

from .._base.errors import Invalid, NotFound
from .._base.spec import to_record
from .._base.values import replace
from .._runtime.launch_plan import (
    DevicePlan,
    HealthPlan,
    LaunchPlan,
    LogPlan,
    MountPlan,
    ProcessPlan,
    RestartPlan,
)
from .comparison import complete_health
from .isolation import (
    DEFAULT_PATH,
    ID_COUNT,
    IPV6_DIRECTORY,
    IPV6_OFF,
    MASKED_PATHS,
    NAMESPACED_SYSCTL_PREFIXES,
    NETWORK_SYSCTLS,
    READ_ONLY_PATHS,
    RLIMITS,
)
from .options import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths
    from .._base.spec import ContainerSpec, DeviceSpec, HealthSpec, MountSpec
    from .._store.records import ImageRecord
    from .image_facts import ImageConfig

DEFAULT_STOP_TIMEOUT_S = 10


def resolve(
    paths: Paths, spec: ContainerSpec, container_id: str, image: ImageRecord, config: ImageConfig
) -> LaunchPlan:
    """The plan of a container, without its mounts, network and seccomp program, which need the host's records."""
    directory = paths.container(container_id)
    return LaunchPlan(
        container_id=container_id,
        name=spec.name,
        instance=paths.instance,
        root_directory=directory,
        run_directory=paths.container_run(container_id),
        layers=paths.stack(image.stack),
        process=_process(spec, config, container_id),
        hostname=_hostname(spec, container_id),
        domainname=spec.domainname,
        read_only=spec.read_only,
        devices=_devices(spec),
        masked_paths=() if spec.privileged else MASKED_PATHS,
        read_only_paths=() if spec.privileged else READ_ONLY_PATHS,
        sysctls={**_network_sysctls(spec), **_check_sysctls(spec)},
        namespaces=_namespaces(spec),
        cgroup=f"{paths.cgroup}/{container_id}",
        limits=to_record(spec.limits),
        privileged=spec.privileged,
        init=spec.init,
        stop_signal=signal_number(spec.stop_signal or config.stop_signal or "SIGTERM", option="stop_signal"),
        stop_timeout_s=DEFAULT_STOP_TIMEOUT_S if spec.stop_timeout_s is None else spec.stop_timeout_s,
        restart=RestartPlan(spec.restart_policy, spec.restart_retries),
        health=_health(complete_health(spec.health, config.health)),
        log=LogPlan(f"{directory}/container.log", spec.log_max_size_bytes, spec.log_max_files),
        auto_remove=spec.auto_remove,
        shm_size_bytes=spec.shm_size_bytes,
    )


def _namespaces(spec: ContainerSpec) -> tuple[str, ...]:
    shared = {"pid": spec.pid_mode == "host", "ipc": spec.ipc_mode == "host"}
    shared["net"] = shared["uts"] = spec.network_mode == "host"
    shared["net"] = shared["net"] or spec.network_mode.startswith("container:")
    return tuple(name for name in LaunchPlan.namespaces if not shared.get(name))


def _hostname(spec: ContainerSpec, container_id: str) -> str:
    if spec.network_mode == "host":
        return spec.hostname or os.uname().nodename
    return spec.hostname or container_id[:12]


def _arguments(spec: ContainerSpec, config: ImageConfig) -> tuple[str, ...]:
    if spec.entrypoint is not None:
        arguments = spec.entrypoint + (spec.command or ())
    else:
        arguments = config.entrypoint + (spec.command or config.command)
    if not arguments or not arguments[0]:
        raise Invalid(f"image {spec.image} has no command of its own", option="command", hint="give one")
    if any("\0" in word for word in arguments):
        raise Invalid("a word holds a NUL character", option="command")
    return arguments


def _process(spec: ContainerSpec, config: ImageConfig, container_id: str) -> ProcessPlan:
    from .._kernel.capabilities import resolve_capabilities

    defaults = {"PATH": DEFAULT_PATH, "HOSTNAME": _hostname(spec, container_id)}
    if spec.tty:
        defaults["TERM"] = "xterm"
    image_env = dict(item.partition("=")[::2] for item in config.env if "=" in item)
    limits = {**RLIMITS, **spec.ulimits}
    return ProcessPlan(
        args=_arguments(spec, config),
        env=tuple(f"{name}={value}" for name, value in {**defaults, **image_env, **spec.env}.items()),
        working_dir=spec.working_dir or config.working_dir or "/",
        user=spec.user if spec.user is not None else config.user,
        groups=spec.groups,
        tty=spec.tty,
        open_stdin=spec.interactive,
        capabilities=resolve_capabilities(("ALL",) if spec.privileged else spec.cap_add, spec.cap_drop),
        no_new_privileges=spec.no_new_privileges and not spec.privileged,
        rlimits=tuple((name, soft, hard) for name, (soft, hard) in limits.items()),
    )


def _health(spec: HealthSpec | None) -> HealthPlan | None:
    if spec is None or spec.test[:1] == ("NONE",) or len(spec.test) < 2:
        return None
    args = ("/bin/sh", "-c", spec.test[1]) if spec.test[0] == "CMD-SHELL" else spec.test[1:]
    return HealthPlan(
        args, spec.interval_ns, spec.timeout_ns, spec.start_period_ns, spec.start_interval_ns, spec.retries
    )


def _network_sysctls(spec: ContainerSpec) -> dict[str, str]:
    if spec.network_mode.startswith(("host", "container:")):
        return {}
    mapped = {"net.ipv4.ping_group_range": f"0 {ID_COUNT - 1}"} if spec.userns_mode == "auto" else {}
    return {**NETWORK_SYSCTLS, **mapped, **(IPV6_OFF if os.path.isdir(IPV6_DIRECTORY) else {})}


def _check_sysctls(spec: ContainerSpec) -> dict[str, str]:
    for name in spec.sysctls:
        if not name.startswith(NAMESPACED_SYSCTL_PREFIXES) or "/" in name or ".." in name:
            raise Invalid(f"{name} is not a setting of a container", option="sysctls", hint="net.*, kernel.shm* ...")
        if name.startswith("net.") and spec.network_mode == "host":
            raise Invalid(f"{name} would change the host's network", option="sysctls")
        if name.startswith("net.") and spec.network_mode.startswith("container:"):
            raise Invalid(f"{name} would change the network of the {spec.network_mode}", option="sysctls")
        if not name.startswith("net.") and spec.ipc_mode == "host":
            raise Invalid(f"{name} would change the host, whose IPC namespace is shared", option="sysctls")
    return spec.sysctls


def _devices(spec: ContainerSpec) -> tuple[DevicePlan, ...]:
    return tuple(_device(device) for device in spec.devices)


def _device(device: DeviceSpec) -> DevicePlan:
    try:
        found = os.stat(device.host_path)
    except OSError as error:
        raise NotFound(f"devices: {device.host_path}: no such device on this host") from error
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        raise Invalid(f"{device.host_path} is not a device", option="devices")
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return DevicePlan(device.container_path, kind, major, minor, device.access, stat.S_IMODE(found.st_mode))


def mount_plan(paths: Paths, mount: MountSpec) -> MountPlan:
    """One effective mount (every volume has its name) as the launch code does it."""
    if mount.kind == "tmpfs":
        data = [f"mode={mount.mode:o}"] + ([f"size={mount.size_bytes}"] if mount.size_bytes else [])
        names = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")
        data += [option for option in mount.options if option.partition("=")[0] in names]
        lifted = {option for option in mount.options if "=" not in option}
        flags = tuple(flag for flag in ("nosuid", "nodev", "noexec") if flag[2:] not in lifted)
        return MountPlan("tmpfs", mount.target, "tmpfs", mount.read_only, flags, ",".join(data))
    source = mount.source if mount.kind == "bind" else paths.volume(mount.source)
    return MountPlan(
        "bind",
        mount.target,
        source,
        mount.read_only,
        ("rbind" if mount.recursive else "bind", "nodev", "nosuid"),
        propagation=mount.propagation,
    )


def with_limits(plan: LaunchPlan, spec: ContainerSpec) -> LaunchPlan:
    """The plan after a live change of the spec: what a later start, of a restart policy too, must know."""
    timeout_s = DEFAULT_STOP_TIMEOUT_S if spec.stop_timeout_s is None else spec.stop_timeout_s
    stop_signal = signal_number(spec.stop_signal, option="stop_signal") if spec.stop_signal else plan.stop_signal
    return replace(
        plan,
        limits=to_record(spec.limits),
        restart=RestartPlan(spec.restart_policy, spec.restart_retries),
        stop_signal=stop_signal,
        stop_timeout_s=timeout_s,
    )
