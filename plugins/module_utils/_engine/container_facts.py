# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container in the shape of `docker inspect`, which is what playbooks read."""

from __future__ import annotations

from .._base.clock import format_time
from .declared import declared_spec, etc_directory, read_launch
from .health_options import complete_health
from .host_config_facts import binding, host_config
from .image_facts import ImageConfig, read_config
from .mount_facts import mount_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec, HealthSpec
    from .._runtime.launch_plan import LaunchPlan
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord
    from .engine import Engine


def inspect_container(engine: Engine, record: ContainerRecord, now: RunState) -> dict[str, Any]:
    """Everything that is known about a container, with Docker's keys."""
    spec = declared_spec(record)
    plan, mounts = read_launch(record)
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
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": process.apparmor,
        "ExecIDs": None,
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {"LowerDir": ":".join(plan.layers), "UpperDir": f"{plan.root_directory}/upper"},
        },
        "Mounts": mount_facts(engine.paths, mounts, spec.mounts),
        "Config": _config(record, spec, plan, config),
        "HostConfig": host_config(spec, plan),
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
        "LostLogBytes": now.lost_log_bytes,
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
    volumes = {*config.volumes, *(mount.target for mount in spec.mounts if mount.kind == "volume" and not mount.source)}
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
        "StdinOnce": plan.process.stdin_once,
        "Env": list(plan.process.env),
        "Cmd": list(command) or None,
        "Image": record.image_name,
        "Volumes": {path: {} for path in sorted(volumes)} or None,
        "WorkingDir": plan.process.working_dir,
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": {**config.labels, **spec.labels},
        "StopSignal": spec.stop_signal or config.stop_signal or "SIGTERM",
        "StopTimeout": plan.stop_timeout_s,
    }
    if health is not None:
        facts["Healthcheck"] = _health(health)
    return facts


def _health(health: HealthSpec) -> dict[str, Any]:
    if health.test == ("NONE",):
        return {"Test": ["NONE"]}
    return {
        "Test": list(health.test),
        "Interval": health.interval_ns,
        "Timeout": health.timeout_ns,
        "StartPeriod": health.start_period_ns,
        "StartInterval": health.start_interval_ns,
        "Retries": health.retries,
    }


def _network_settings(spec: ContainerSpec, plan: LaunchPlan, now: RunState) -> dict[str, Any]:
    network, live = plan.network, now.status in ("running", "paused")
    ports: dict[str, Any] = {}
    if network is not None and live:
        for port in network.ports:
            key = f"{port.container_port}/{port.protocol}"
            ports.setdefault(key, []).append(binding(port.host_address, port.host_port))
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
