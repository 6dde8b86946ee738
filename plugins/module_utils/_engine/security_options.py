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
_ACCESS = "rwm"
_MAX_MAJOR, _MAX_MINOR = 4095, 2**20 - 1
_SECURITY = "security_opts"
_TRUTHS = {"": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SECURITY_HINT = "no-new-privileges[:false], seccomp=, seccomp-compat, apparmor=, label=, mask=, unmask=, systempaths="


def parse_security(entries: list[Any] | None) -> dict[str, Any]:
    """Fields of the spec from `security_opts`: `name`, `name=value` or `name:value`."""
    fields: dict[str, Any] = {}
    for entry in entries or ():
        name, value = _split(str(entry))
        if name == "no-new-privileges":
            fields["no_new_privileges"] = _truth(value, entry)
        elif name == "seccomp-compat":
            fields["seccomp_compat"] = _truth(value, entry)
        elif name == "seccomp" and value:
            fields["seccomp"] = _seccomp(value)
        elif name == "apparmor" and value:
            fields["apparmor"] = value
        elif name == "label" and value:
            fields["selinux"] = (*fields.get("selinux", ()), value)
        elif name in ("mask", "unmask") and value:
            fields[name] = (*fields.get(name, ()), *_paths(name, value))
        elif (name, value) == ("systempaths", "unconfined"):
            fields["unmask"] = (*fields.get("unmask", ()), "ALL")
        else:
            raise Invalid(f"{entry!r} is not known", option=_SECURITY, hint=f"use {_SECURITY_HINT}")
    return fields


def _split(text: str) -> tuple[str, str]:
    """Name and value at whichever comes first, `=` or `:`, for the value may have both."""
    name = text.partition("=")[0].partition(":")[0]
    return name, text[len(name) + 1 :]


def _truth(value: str, entry: Any) -> bool:
    """Nothing after the name is true."""
    if value.lower() not in _TRUTHS:
        raise Invalid(f"{entry!r} is neither true nor false", option=_SECURITY)
    return _TRUTHS[value.lower()]


def _seccomp(value: str) -> str:
    """default, unconfined, the path of a profile, or the profile itself, which is how Docker's API gets it."""
    if value == "builtin":  # Docker's word for its default
        return "default"
    if value not in ("default", "unconfined") and value[:1] not in ("/", "{"):
        raise Invalid(
            f"{value!r} is not a seccomp profile",
            option=_SECURITY,
            hint="use default, unconfined, or the absolute path of a profile on this host",
        )
    return value


def _paths(name: str, value: str) -> tuple[str, ...]:
    if name == "unmask" and value.upper() == "ALL":
        return ("ALL",)
    paths = tuple(value.split(":"))
    if not all(path.startswith("/") and "/../" not in f"{path}/" and "\0" not in path for path in paths):
        raise Invalid(
            f"{value!r} of {name} is not a list of absolute paths", option=_SECURITY, hint=f"write {name}=/path:/path"
        )
    return paths


def parse_capabilities(options: dict[str, Any], option: str) -> tuple[str, ...]:
    """Names as the kernel has them, or ALL, each once, from `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN`."""
    if not options.get(option):
        return ()
    from .._kernel.capabilities import normal_name

    return tuple(dict.fromkeys(normal_name(str(name), option) for name in options[option]))


def parse_devices(entries: list[Any] | None) -> tuple[DeviceSpec, ...]:
    """Devices of the host to show: `/dev/x`, `/dev/x:/dev/y`, `/dev/x:rwm`, `/dev/x:/dev/y:rwm`."""
    return tuple(_device(str(entry)) for entry in entries or ())


def _device(entry: str) -> DeviceSpec:
    host, *more = entry.split(":")
    inside = more.pop(0) if more and more[0].startswith("/") else host
    letters = more.pop(0) if more else _ACCESS
    access = _access(letters)
    paths = all(path.startswith("/dev/") and "/../" not in f"{path}/" and "\0" not in path for path in (host, inside))
    if more or not access or not paths:
        raise Invalid(f"{entry!r} is not a device", option="devices", hint="write /dev/x, /dev/x:/dev/y or ...:rwm")
    return DeviceSpec(host, inside, access)


def _access(letters: str) -> str:
    """The letters in the kernel's order, or nothing where one is not known."""
    return "".join(letter for letter in _ACCESS if letter in letters) if set(letters) <= set(_ACCESS) else ""


def parse_device_rules(entries: list[Any] | None) -> tuple[DeviceRuleSpec, ...]:
    """Devices that may be used: `c 42:* rwm`, as the version 1 devices controller writes them."""
    found = []
    for entry in entries or ():
        kind, numbers, access = (*str(entry).split(), "", "", "")[:3]
        major, colon, minor = numbers.partition(":")
        valid = kind in ("a", "b", "c") and colon and _is_number(major, _MAX_MAJOR) and _is_number(minor, _MAX_MINOR)
        letters = _access(access)
        if not valid or not letters or len(str(entry).split()) != 3:
            raise Invalid(f"{entry!r} is not a rule", option="device_cgroup_rules", hint="write it like c 42:* rwm")
        found.append(DeviceRuleSpec(kind, _number(major), _number(minor), letters))
    return tuple(found)


def _is_number(text: str, largest: int) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and int(text) <= largest)


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


def parse_namespaces(options: dict[str, Any]) -> dict[str, Any]:
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
