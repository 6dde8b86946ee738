# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""From what was asked for and what the image says to a LaunchPlan. Pure but for the host's devices and host name."""

from __future__ import annotations

import os
import stat

from .._base.engine_file import own_cgroup
from .._base.errors import Invalid, NotFound
from .._runtime.launch_plan import (
    DevicePlan,
    LaunchPlan,
    ProcessPlan,
)
from .confinement import cgroup_path, hostname, masked_paths, namespaces, read_only_paths, sysctls
from .isolation import DEFAULT_PATH, DEFAULT_SHM_BYTES
from .live_plan import live_fields, live_process_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._base.paths import Paths
    from .._base.spec import ContainerSpec, DeviceSpec
    from .._store.records import ImageRecord
    from .image_facts import ImageConfig


def resolve(
    paths: Paths, spec: ContainerSpec, container_id: str, image: ImageRecord, config: ImageConfig
) -> LaunchPlan:
    """The plan of a container, without its mounts, network and seccomp program, which need the host's records."""
    directory = paths.container(container_id)
    return LaunchPlan(
        container_id=container_id,
        instance=paths.instance,
        root_directory=directory,
        run_directory=paths.container_run(container_id),
        layers=paths.stack(image.stack),
        process=_process(spec, config, container_id),
        hostname=hostname(spec, container_id),
        domainname=spec.domainname,
        read_only=spec.read_only,
        devices=_devices(spec),
        masked_paths=masked_paths(spec),
        read_only_paths=read_only_paths(spec),
        sysctls=sysctls(spec),
        namespaces=namespaces(spec),
        cgroup=cgroup_path(own_cgroup(paths), spec, container_id),
        privileged=spec.privileged,
        init=spec.init,
        auto_remove=spec.auto_remove,
        shm_size_bytes=0 if spec.ipc_mode == "none" else spec.shm_size_bytes or DEFAULT_SHM_BYTES,
        **live_fields(spec, config, container_id, directory),
    )


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

    defaults = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname(spec, container_id)}
    if spec.tty:
        defaults["TERM"] = "xterm"
    image_env = dict(item.partition("=")[::2] for item in config.env if "=" in item)
    env = {**defaults, **image_env, **spec.env}
    for name, value in env.items():
        if "\0" in name + value:
            raise Invalid(f"{name!r} holds a NUL character", option="env", hint=f"it may come from image {spec.image}")
    return ProcessPlan(
        args=_arguments(spec, config),
        env=tuple(f"{name}={value}" for name, value in env.items() if name),
        working_dir=spec.working_dir or config.working_dir or "/",
        user=spec.user if spec.user is not None else config.user,
        groups=spec.groups,
        tty=spec.tty,
        open_stdin=spec.interactive,
        capabilities=resolve_capabilities(("ALL",) if spec.privileged else spec.cap_add, spec.cap_drop),
        no_new_privileges=spec.no_new_privileges and not spec.privileged,
        **live_process_fields(spec),
        apparmor="" if spec.apparmor == "unconfined" else spec.apparmor,
    )


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
