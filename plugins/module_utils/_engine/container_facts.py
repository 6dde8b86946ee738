# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container in the shape of `docker inspect`, which is what playbooks read."""

from __future__ import annotations

from .._base.clock import format_time
from .declared import declared_spec, effective_mounts, etc_directory, plan_of
from .health_options import complete_health
from .image_facts import ImageConfig, read_config
from .mount_facts import bind_facts, mount_facts, tmpfs_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord
    from .engine import Engine


def inspect_container(engine: Engine, record: ContainerRecord, now: RunState) -> dict[str, Any]:
    """Everything that is known about a container, with Docker's keys."""
    spec, plan, mounts = declared_spec(record), plan_of(record), effective_mounts(record)
    database = engine.database()
    image = database.image(record.image_id) if database else None
    config = read_config(image) if image else ImageConfig()
    process = plan.process
    return {
        "Id": record.id,
        "Created": format_time(record.created_ns),
        "Path": process.args[0],
        "Args": list(process.args[1:]),
        "State": _state(now),
        "Image": record.image_id,
        "ResolvConfPath": f"{etc_directory(plan)}/resolv.conf",
        "HostnamePath": f"{etc_directory(plan)}/hostname",
        "HostsPath": f"{etc_directory(plan)}/hosts",
        "LogPath": plan.log.path if plan.log else "",
        "Name": "/" + record.name,
        "RestartCount": now.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {"LowerDir": ":".join(plan.layers), "UpperDir": f"{plan.root_directory}/upper"},
        },
        "Mounts": mount_facts(engine.paths, mounts, spec.mounts),
        "Config": _config(record, spec, plan, config),
        "HostConfig": _host_config(spec, plan),
        "NetworkSettings": _network_settings(spec, plan, now),
    }


def _state(now: RunState) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "Status": now.status,
        "Running": now.is_up,
        "Paused": now.status == "paused",
        "Restarting": now.status == "restarting",
        "OOMKilled": now.oom_killed,
        "Dead": now.status == "dead",
        "Pid": now.pid if now.status in ("running", "paused") else 0,
        "ExitCode": now.exit_code or 0,
        "Error": now.error,
        "StartedAt": format_time(now.started_ns),
        "FinishedAt": format_time(now.finished_ns),
    }
    if now.health is not None:
        facts["Health"] = {
            "Status": now.health.status,
            "FailingStreak": now.health.failing_streak,
            "Log": list(now.health.log),
        }
    return facts


def _config(record: ContainerRecord, spec: ContainerSpec, plan: LaunchPlan, config: ImageConfig) -> dict[str, Any]:
    entrypoint = config.entrypoint if spec.entrypoint is None else spec.entrypoint
    command = plan.process.args[len(entrypoint) :]
    exposed = {*config.exposed_ports, *(f"{port.container_port}/{port.protocol}" for port in spec.ports)}
    health = complete_health(spec.health, config.health)
    facts: dict[str, Any] = {
        "Hostname": plan.hostname,
        "Domainname": plan.domainname,
        "User": plan.process.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in sorted(exposed)},
        "Tty": spec.tty,
        "OpenStdin": spec.interactive,
        "StdinOnce": False,
        "Env": list(plan.process.env),
        "Cmd": list(command) or None,
        "Image": record.image_name,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": plan.process.working_dir,
        "Entrypoint": list(entrypoint) or None,
        "Labels": {**config.labels, **spec.labels},
        "StopSignal": spec.stop_signal or config.stop_signal or "SIGTERM",
        "StopTimeout": plan.stop_timeout_s,
    }
    if health is not None:
        facts["Healthcheck"] = {
            "Test": list(health.test),
            "Interval": health.interval_ns,
            "Timeout": health.timeout_ns,
            "StartPeriod": health.start_period_ns,
            "Retries": health.retries,
        }
    return facts


def _binding(address: str, port: int) -> dict[str, str]:
    return {"HostIp": address, "HostPort": str(port) if port else ""}


def _host_config(spec: ContainerSpec, plan: LaunchPlan) -> dict[str, Any]:
    limits = spec.limits
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        key = f"{port.container_port}/{port.protocol}"
        bindings.setdefault(key, []).append(_binding(port.host_address, port.host_port))
    return {
        "Binds": bind_facts(spec.mounts) or None,
        "NetworkMode": spec.network_mode,
        "PortBindings": bindings,
        "RestartPolicy": {"Name": spec.restart_policy, "MaximumRetryCount": spec.restart_retries},
        "AutoRemove": spec.auto_remove,
        "VolumesFrom": list(spec.volumes_from) or None,
        "CapAdd": list(spec.cap_add) or None,
        "CapDrop": list(spec.cap_drop) or None,
        "Capabilities": list(plan.process.capabilities),
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": ([] if plan.process.no_new_privileges else ["no-new-privileges:false"])
        + ([] if spec.seccomp == "default" else [f"seccomp={spec.seccomp}"]),
        "Dns": list(spec.dns_servers),
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.etc_hosts.items()],
        "GroupAdd": list(spec.groups) or None,
        "IpcMode": spec.ipc_mode or "private",
        "PidMode": spec.pid_mode,
        "UsernsMode": spec.userns_mode,
        "CgroupnsMode": "private",
        "CgroupParent": plan.cgroup.rpartition("/")[0],
        "ShmSize": spec.shm_size_bytes,
        "Sysctls": spec.sysctls,
        "Runtime": "native",
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_swap_bytes or 2 * limits.memory_bytes,
        "MemoryReservation": limits.memory_reservation_bytes,
        "NanoCpus": limits.cpu_quota_us * 10**9 // limits.cpu_period_us,
        "CpuShares": limits.cpu_shares,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "PidsLimit": limits.pids,
        "Tmpfs": tmpfs_facts(spec.mounts),
        "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in spec.ulimits.items()],
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path,
                "CgroupPermissions": device.access,
            }
            for device in spec.devices
        ],
        "Init": spec.init,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(spec.log_max_size_bytes), "max-file": str(spec.log_max_files)},
        },
    }


def _network_settings(spec: ContainerSpec, plan: LaunchPlan, now: RunState) -> dict[str, Any]:
    network, live = plan.network, now.status in ("running", "paused")
    ports: dict[str, Any] = {}
    if network is not None and live:
        for port in network.ports:
            key = f"{port.container_port}/{port.protocol}"
            ports.setdefault(key, []).append(_binding(port.host_address, port.host_port))
    address, _, length = network.address.partition("/") if network is not None and live else ("", "", "0")
    gateway = network.gateway if network is not None and live else ""
    mac = network.mac if network is not None and live else ""
    endpoint = {
        "NetworkID": spec.network_mode,
        "Gateway": gateway,
        "IPAddress": address,
        "IPPrefixLen": int(length or 0),
        "MacAddress": mac,
        "Aliases": None,
        "Links": None,
        "IPAMConfig": None,
        "GlobalIPv6Address": "",
    }
    names = () if spec.network_mode.startswith("container:") else (spec.network_mode,)
    return {
        "Bridge": "",
        "SandboxKey": f"/proc/{now.pid}/ns/net" if live else "",
        "Ports": ports,
        "Gateway": gateway,
        "IPAddress": address,
        "IPPrefixLen": int(length or 0),
        "MacAddress": mac,
        "Networks": dict.fromkeys(names, endpoint),
    }
