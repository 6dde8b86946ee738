# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write about namespaces, devices, filters and labels, as fields of a ContainerSpec. Pure.

Every error is Invalid and names the option.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import DeviceRuleSpec, DeviceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec

_CONTAINER = "container:"
_SECURITY_HINT = "no-new-privileges[:false], seccomp=, seccomp-compat, apparmor=, label=, mask=, unmask=, systempaths="


def _is_true(value: str) -> bool:
    return value.lower() not in ("false", "0", "no")


def parse_security(entries: list[Any] | None) -> dict[str, Any]:
    """Fields of the spec from `security_opts`: `name`, `name=value` or `name:value`."""
    fields: dict[str, Any] = {}
    for entry in entries or ():
        name, _, value = str(entry).replace("=", ":", 1).partition(":")
        if name == "no-new-privileges":
            fields["no_new_privileges"] = _is_true(value)
        elif name == "seccomp" and value:
            fields["seccomp"] = value
        elif name == "seccomp-compat":
            fields["seccomp_compat"] = _is_true(value)
        elif name == "apparmor" and value:
            fields["apparmor"] = value
        elif name == "label" and value:
            fields["selinux"] = (*fields.get("selinux", ()), value)
        elif name in ("mask", "unmask") and value:
            fields[name] = (*fields.get(name, ()), *_paths(name, value))
        elif (name, value) == ("systempaths", "unconfined"):
            fields["unmask"] = ("ALL",)
        else:
            raise Invalid(f"{entry!r} is not known", option="security_opts", hint=_SECURITY_HINT)
    return fields


def _paths(name: str, value: str) -> tuple[str, ...]:
    if name == "unmask" and value.upper() == "ALL":
        return ("ALL",)
    paths = tuple(value.split(":"))
    if not all(path.startswith("/") for path in paths):
        raise Invalid(f"{value!r} of {name} is not a list of absolute paths", option="security_opts")
    return paths


def parse_devices(entries: list[Any] | None) -> tuple[DeviceSpec, ...]:
    """Devices of the host to show: `/dev/x`, `/dev/x:/dev/y`, `/dev/x:rwm`, `/dev/x:/dev/y:rwm`."""
    found = []
    for entry in entries or ():
        parts = str(entry).split(":")
        if len(parts) == 2 and set(parts[1]) <= set("rwm"):
            parts = [parts[0], parts[0], parts[1]]
        host, inside, access = (parts + [parts[0], "rwm"][len(parts) - 1 :])[:3]
        if not host.startswith("/dev/") or not inside.startswith("/dev/") or not set(access) <= set("rwm"):
            raise Invalid(f"{entry!r} is not a device", option="devices", hint="write /dev/x, /dev/x:/dev/y or ...:rwm")
        found.append(DeviceSpec(host, inside, access))
    return tuple(found)


def parse_device_rules(entries: list[Any] | None) -> tuple[DeviceRuleSpec, ...]:
    """Devices that may be used: `c 42:* rwm`, as the version 1 devices controller writes them."""
    found = []
    for entry in entries or ():
        kind, numbers, access = (*str(entry).split(), "", "")[:3]
        major, colon, minor = numbers.partition(":")
        valid = kind in ("a", "b", "c") and colon and _is_number(major) and _is_number(minor)
        if not valid or len(str(entry).split()) != 3 or not access or not set(access) <= set("rwm"):
            raise Invalid(f"{entry!r} is not a rule", option="device_cgroup_rules", hint="write it like c 42:* rwm")
        letters = "".join(letter for letter in "rwm" if letter in access)
        found.append(DeviceRuleSpec(kind, _number(major), _number(minor), letters))
    return tuple(found)


def _is_number(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit())


def _number(text: str) -> int:
    return -1 if text == "*" else int(text)


def network_mode(value: str | None) -> str:
    """bridge, none, host or container:<name>."""
    mode = str(value or "bridge")
    if mode == "default":
        mode = "bridge"
    if mode not in ("bridge", "none", "host") and not _names_container(mode):
        raise Invalid(
            f"there is no network {mode!r}", option="network_mode", hint="use bridge, none, host or container:<name>"
        )
    return mode


def _names_container(mode: str) -> bool:
    return mode.startswith(_CONTAINER) and len(mode) > len(_CONTAINER)


def _mode(options: dict[str, Any], option: str, choices: dict[str, str], *, container: bool = False) -> str:
    """The normal form of one of the choices, or container:<name> where that is possible."""
    value = str(options.get(option) or "")
    if container and _names_container(value):
        return value
    if value not in choices:
        named = [choice for choice in choices if choice] + (["container:<name>"] if container else [])
        raise Invalid(f"{value!r} is not known", option=option, hint=f"use {' or '.join(named)}")
    return choices[value]


def parse_namespaces(options: dict[str, Any]) -> dict[str, str]:
    """The fields of the spec that say which namespaces are shared, and with whom."""
    own = {"": "", "private": "", "host": "host"}
    fields = {
        "network_mode": network_mode(options.get("network_mode")),
        "pid_mode": _mode(options, "pid_mode", own, container=True),
        "ipc_mode": _mode(options, "ipc_mode", {**own, "shareable": "", "none": "none"}, container=True),
        "uts_mode": _mode(options, "uts", own),
        "cgroupns_mode": _mode(options, "cgroupns_mode", {"": "private", "private": "private", "host": "host"}),
        "userns_mode": _mode(options, "userns_mode", {"": "host", "host": "host", "auto": "auto"}),
    }
    if fields["uts_mode"] == "host" and (options.get("hostname") or options.get("domainname")):
        raise Invalid("host does not go with a host name or domain name", option="uts", hint="leave one of them out")
    return fields


def check_together(spec: ContainerSpec) -> None:
    """Refuse what a container whose root is nobody on the host can't have: others' namespaces, the host's powers."""
    if spec.userns_mode != "auto":
        return
    wanted = {
        "privileged": spec.privileged,
        "network_mode host": spec.network_mode == "host",
        "network_mode container": _names_container(spec.network_mode),
        "pid_mode": bool(spec.pid_mode),
        "ipc_mode": spec.ipc_mode not in ("", "none"),
        "uts host": spec.uts_mode == "host",
    }
    for what, is_wanted in wanted.items():
        if is_wanted:
            raise Invalid(f"auto does not go with {what}", option="userns_mode", hint="use host, or leave that out")
