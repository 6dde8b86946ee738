# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a container was asked to be, as `HostConfig` of `docker inspect`: options that say something about the host.

Source: Docker Engine API 1.47, ContainerInspect and HostConfig.
"""

from __future__ import annotations

from .mount_facts import declared_mounts
from .option_fields import security_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec, DeviceRuleSpec, Limits, PortSpec
    from .._runtime.launch_plan import LaunchPlan

_DEFAULT_PERIOD_US = 100_000
_SIZES = (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10))


def host_config(spec: ContainerSpec, plan: LaunchPlan) -> dict[str, Any]:
    """All of `HostConfig`."""
    facts = {
        **_storage(spec),
        "NetworkMode": spec.network_mode,
        "PortBindings": port_bindings(spec.ports),
        "PublishAllPorts": False,
        "Links": None,
        "Dns": list(spec.dns_servers),
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.etc_hosts.items()] or None,
        "RestartPolicy": {"Name": spec.restart_policy, "MaximumRetryCount": spec.restart_retries},
        "AutoRemove": spec.auto_remove,
        "LogConfig": {"Type": spec.log_driver, "Config": _log_config(spec)},
        "Init": spec.init,
        "Runtime": spec.runtime,
        "Isolation": "",
        "ContainerIDFile": "",
        "ConsoleSize": [0, 0],
        **_isolation(spec, plan),
        **_resources(spec),
    }
    return dict(sorted(facts.items()))


def binding(address: str, port: int) -> dict[str, str]:
    """One host port of a published port."""
    return {"HostIp": address, "HostPort": str(port) if port else ""}


def port_bindings(ports: tuple[PortSpec, ...]) -> dict[str, list[dict[str, str]]]:
    """The published ports, as they were asked for."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        key = f"{port.container_port}/{port.protocol}"
        bindings.setdefault(key, []).append(binding(port.host_address, port.host_port))
    return bindings


def _storage(spec: ContainerSpec) -> dict[str, Any]:
    return {
        **declared_mounts(spec),
        "VolumesFrom": list(spec.volumes_from) or None,
        "VolumeDriver": "",
        "ReadonlyRootfs": spec.read_only,
        "StorageOpt": dict(spec.storage_opts) or None,
        "ShmSize": spec.shm_size_bytes,
    }


def _log_config(spec: ContainerSpec) -> dict[str, str]:
    """What was asked for, and the sizes of the files where there are any."""
    if spec.log_driver == "none":
        return {}
    facts = {"max-size": _size(spec.log_max_size_bytes), "max-file": str(spec.log_max_files)}
    said = {
        "mode": "blocking" if spec.log_blocking else "",
        "max-buffer-size": _size(spec.log_buffer_bytes) if spec.log_buffer_bytes != type(spec).log_buffer_bytes else "",
        "tag": spec.log_tag,
        "syslog-address": spec.log_address,
        "syslog-facility": spec.log_facility if spec.log_driver == "syslog" else "",
        "syslog-format": spec.log_format if spec.log_driver == "syslog" else "",
    }
    return {**facts, **{name: value for name, value in said.items() if value}}


def _size(size_bytes: int) -> str:
    """`10m`: as log options are written."""
    for letter, unit in _SIZES:
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{letter}"
    return str(size_bytes)


def _isolation(spec: ContainerSpec, plan: LaunchPlan) -> dict[str, Any]:
    return {
        "CapAdd": list(spec.cap_add) or None,
        "CapDrop": list(spec.cap_drop) or None,
        "Capabilities": list(plan.process.capabilities),
        "Privileged": spec.privileged,
        "SecurityOpt": list(security_entries(spec)) or None,
        "GroupAdd": list(spec.groups) or None,
        "IpcMode": spec.ipc_mode or "private",
        "PidMode": spec.pid_mode,
        "UTSMode": spec.uts_mode,
        "UsernsMode": spec.userns_mode,
        "CgroupnsMode": spec.cgroupns_mode,
        "Cgroup": "",
        "Sysctls": dict(spec.sysctls) or None,
        "MaskedPaths": list(plan.masked_paths),
        "ReadonlyPaths": list(plan.read_only_paths),
    }


def _resources(spec: ContainerSpec) -> dict[str, Any]:
    limits = spec.limits
    return {
        **_cpu_time(spec),
        "CpuShares": limits.cpu_shares,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "CpuCount": 0,
        "CpuPercent": 0,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_swap_bytes or 2 * limits.memory_bytes,
        "MemoryReservation": limits.memory_reservation_bytes,
        "MemorySwappiness": None if limits.memory_swappiness < 0 else limits.memory_swappiness,
        "KernelMemory": limits.kernel_memory_bytes,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": spec.oom_score_adj,
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.blkio_weight,
        "BlkioWeightDevice": [],
        **_rates(limits),
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "CgroupParent": f"/{spec.cgroup_parent}" if spec.cgroup_parent else "",
        "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in spec.ulimits.items()],
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path,
                "CgroupPermissions": device.access,
            }
            for device in spec.devices
        ],
        "DeviceCgroupRules": [_device_rule(rule) for rule in spec.device_rules] or None,
        "DeviceRequests": None,
    }


def _cpu_time(spec: ContainerSpec) -> dict[str, int]:
    """`cpus` or quota and period, whichever was given."""
    quota_us, period_us = spec.limits.cpu_quota_us, spec.limits.cpu_period_us
    by_quota = "cpu_quota" in spec.given or "cpu_period" in spec.given
    if by_quota and "cpus" not in spec.given:
        return {"NanoCpus": 0, "CpuQuota": quota_us, "CpuPeriod": period_us if "cpu_period" in spec.given else 0}
    return {"NanoCpus": quota_us * 10**9 // (period_us or _DEFAULT_PERIOD_US), "CpuQuota": 0, "CpuPeriod": 0}


def _rates(limits: Limits) -> dict[str, list[dict[str, Any]]]:
    rates = {
        "BlkioDeviceReadBps": limits.read_bps,
        "BlkioDeviceWriteBps": limits.write_bps,
        "BlkioDeviceReadIOps": limits.read_iops,
        "BlkioDeviceWriteIOps": limits.write_iops,
    }
    return {key: [{"Path": path, "Rate": rate} for path, rate in by_path.items()] for key, by_path in rates.items()}


def _device_rule(rule: DeviceRuleSpec) -> str:
    major, minor = ("*" if number < 0 else str(number) for number in (rule.major, rule.minor))
    return f"{rule.kind} {major}:{minor} {rule.access}"
