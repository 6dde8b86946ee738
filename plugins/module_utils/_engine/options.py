# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The container module's options, as they stand in a task, made into a ContainerSpec.

The command line builds the same dict from its flags, so this is the only place that knows the forms. Pure, except that
`~` and `.` in a volume's source are expanded. Every error is Invalid and names the option.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.names import check_name
from .._base.spec import ContainerSpec, DeviceSpec, HealthSpec, Limits
from .._base.units import parse_cpus, parse_duration, parse_size
from .mount_options import check_target, parse_mounts
from .port_options import parse_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG"
        " XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        start=1,
    )
}
RESTART_POLICIES = ("no", "always", "unless-stopped", "on-failure")
_NUMBERED_MODES = ("container:",)
_MIN_MEMORY = 6 * 1024 * 1024


def signal_number(name: str | int, *, option: str) -> int:
    """The number of a signal given as `15`, `TERM`, `SIGTERM` or `SIGRTMIN+3`. Raises Invalid."""
    text = str(name).upper().strip()
    stem = text[3:] if text.startswith("SIG") else text
    base, plus, offset = stem.partition("+")
    number = SIGNALS.get(stem, 0)
    if stem.isascii() and stem.isdigit():
        number = int(stem)
    elif base == "RTMIN" and (not plus or offset.isdigit()):
        number = 34 + int(offset or 0)
    if not 0 < number < 65:
        raise Invalid(f"{name!r} is not a signal", option=option, hint="write a name such as SIGTERM or a number")
    return number


def split_words(value: Any, *, option: str) -> tuple[str, ...] | None:
    """A command given as a list, or as one string that is split like a shell would; None stays None. Raises Invalid."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return tuple(str(word) for word in value)
    from shlex import split  # only for commands given as one string

    try:
        return tuple(split(str(value)))
    except ValueError as error:
        raise Invalid(f"{value!r} can't be split into words: {error}", option=option, hint="give a list") from error


def environment(value: dict[str, Any] | None) -> dict[str, str]:
    """Environment variables. Raises Invalid where a name can't be one or a value is not a string."""
    result = {}
    for name, item in (value or {}).items():
        if not isinstance(item, str):
            raise Invalid(f"the value of {name} is not a string", option="env", hint="put it into quotes")
        if not name or "=" in name or "\0" in name + item:
            raise Invalid(f"{name!r} can't be the name of a variable", option="env")
        result[str(name)] = item
    return result


def _labels(value: dict[str, Any] | None) -> dict[str, str]:
    for name, item in (value or {}).items():
        if isinstance(item, (dict, list, bool)):
            raise Invalid(f"the value of {name} is not a string", option="labels", hint="put it into quotes")
    return {str(name): "" if item is None else str(item) for name, item in (value or {}).items()}


def _size(options: dict[str, Any], option: str, default: int = 0) -> int:
    value = options.get(option)
    return default if value in (None, "") else parse_size(value, option=option)


def _memory(options: dict[str, Any]) -> tuple[int, int, int]:
    memory, swap = _size(options, "memory"), _size(options, "memory_swap")
    reservation = _size(options, "memory_reservation")
    if memory < 0 or reservation < 0:
        memory, reservation = max(memory, 0), max(reservation, 0)
    if 0 < memory < _MIN_MEMORY:
        raise Invalid(f"{memory} bytes are too little", option="memory", hint="the minimum is 6M")
    if swap > 0 and not memory:
        raise Invalid("needs memory too", option="memory_swap", hint="it counts memory plus swap")
    if 0 < swap < memory:
        raise Invalid("is less than memory", option="memory_swap", hint="it counts memory plus swap")
    if memory and reservation > memory:
        raise Invalid("is more than memory", option="memory_reservation")
    return memory, swap, reservation


def _cpu_list(options: dict[str, Any], option: str) -> str:
    text = str(options.get(option) or "").replace(" ", "")
    for part in filter(None, text.split(",")):
        low, dash, high = part.partition("-")
        bounds = [low, high] if dash else [low]
        if not all(bound.isascii() and bound.isdigit() for bound in bounds) or int(bounds[-1]) < int(low):
            raise Invalid(f"{text!r} is not a list of numbers", option=option, hint="write it like 0-2,5")
    return text


def _integer(options: dict[str, Any], option: str, default: int, low: int, high: int) -> int:
    value = options.get(option)
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{value!r} is not a number", option=option) from error
    if not low <= number <= high:
        raise Invalid(f"{number} is not between {low} and {high}", option=option)
    return number


def _limits(options: dict[str, Any]) -> Limits:
    memory, swap, reservation = _memory(options)
    cpus = options.get("cpus")
    shares = _integer(options, "cpu_shares", 0, 0, 262144)
    if shares == 1:
        raise Invalid("1 is too little", option="cpu_shares", hint="the minimum is 2")
    pids = _integer(options, "pids_limit", Limits.pids, -1, 4194304)
    return Limits(
        memory_bytes=memory,
        memory_swap_bytes=swap,
        memory_reservation_bytes=reservation,
        cpu_quota_us=parse_cpus(cpus, option="cpus") if cpus not in (None, "") else 0,
        cpu_shares=shares,
        cpuset_cpus=_cpu_list(options, "cpuset_cpus"),
        cpuset_mems=_cpu_list(options, "cpuset_mems"),
        pids=pids or -1,
    )


def _restart(options: dict[str, Any]) -> tuple[str, int]:
    policy, colon, count = str(options.get("restart_policy") or "no").partition(":")
    retries = _integer(options, "restart_retries", 0, 0, 10**6)
    if policy not in RESTART_POLICIES or (colon and not (count.isascii() and count.isdigit())):
        raise Invalid(f"{policy!r} is not a policy", option="restart_policy", hint=f"use {', '.join(RESTART_POLICIES)}")
    retries = int(count) if colon else retries
    if retries and policy != "on-failure":
        raise Invalid("counts only with restart_policy on-failure", option="restart_retries")
    if policy != "no" and options.get("auto_remove"):
        raise Invalid("can't be combined with auto_remove", option="restart_policy")
    return policy, retries


def _health(value: dict[str, Any] | None) -> HealthSpec | None:
    if not value:
        return None
    test = value.get("test")
    if test in (None, "", [], "NONE", ["NONE"]):
        return HealthSpec(("NONE",))
    words = ("CMD-SHELL", test) if isinstance(test, str) else tuple(str(word) for word in test or ())
    if words[0] not in ("CMD", "CMD-SHELL"):
        words = ("CMD", *words)
    fields: dict[str, Any] = {}
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if value.get(name) is not None:
            fields[f"{name}_ns"] = parse_duration(value[name], option="healthcheck")
    if value.get("retries"):
        fields["retries"] = _integer(value, "retries", 3, 1, 1000)
    return HealthSpec(words, **fields)


def _devices(entries: list[Any] | None) -> tuple[DeviceSpec, ...]:
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


def _ulimits(entries: list[Any] | None) -> dict[str, tuple[int, int]]:
    found = {}
    for entry in entries or ():
        name, _, values = str(entry).replace("=", ":", 1).partition(":")
        parts = values.split(":")
        if not name or not 0 < len(parts) < 3 or not all(part.lstrip("-").isdigit() for part in parts):
            raise Invalid(f"{entry!r} is not a limit", option="ulimits", hint="write it like nofile:1024:2048")
        found[name.lower()] = (int(parts[0]), int(parts[-1]))
    return found


def _network_mode(value: str | None) -> str:
    mode = str(value or "bridge")
    if mode == "default":
        mode = "bridge"
    if mode not in ("bridge", "none", "host") and not mode.startswith(_NUMBERED_MODES):
        raise Invalid(
            f"there is no network {mode!r}", option="network_mode", hint="use bridge, none, host or container:<name>"
        )
    return mode


def _security(entries: list[Any] | None) -> tuple[bool, str]:
    """no_new_privileges and the seccomp profile from `security_opts`."""
    no_new_privileges, seccomp = True, "default"
    for entry in entries or ():
        name, _, value = str(entry).replace("=", ":", 1).partition(":")
        if name == "no-new-privileges":
            no_new_privileges = value.lower() not in ("false", "0", "no")
        elif name == "seccomp" and value:
            seccomp = value
        elif name not in ("label", "apparmor"):
            raise Invalid(f"{entry!r} is not known", option="security_opts", hint="no-new-privileges[:false], seccomp=")
    return no_new_privileges, seccomp


def _choice(options: dict[str, Any], option: str, choices: tuple[str, ...], default: str) -> str:
    value = str(options.get(option) or default)
    if value not in choices:
        raise Invalid(f"{value!r} is not known", option=option, hint=f"use {' or '.join(filter(None, choices))}")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def _hosts(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): str(address) for name, address in value.items()}
    return dict(str(item).replace("=", ":", 1).partition(":")[::2] for item in value or ())


def _optional(options: dict[str, Any], option: str, convert: Callable[[Any], Any]) -> Any:
    value = options.get(option)
    return None if value is None else convert(value)


def _hostname(value: str) -> str:
    if not 0 < len(value) <= 64 or not set(value.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._"):
        raise Invalid(f"{value!r} is not a host name", option="hostname")
    return value


def container_spec(options: dict[str, Any]) -> ContainerSpec:
    """The ContainerSpec of a task. `options` has the module's option names; None and absent mean not given.

    Raises Invalid, naming the option.
    """
    policy, retries = _restart(options)
    no_new_privileges, seccomp = _security(options.get("security_opts"))
    stop_signal = options.get("stop_signal")
    if stop_signal is not None:
        signal_number(stop_signal, option="stop_signal")
    spec = ContainerSpec(
        name=check_name(str(options["name"])),
        image=str(options.get("image") or ""),
        command=split_words(options.get("command"), option="command"),
        entrypoint=split_words(options.get("entrypoint"), option="entrypoint"),
        env=environment(options.get("env")),
        user=_optional(options, "user", str),
        groups=_strings(options.get("groups")),
        working_dir=_optional(options, "working_dir", lambda path: _working_dir(str(path))),
        hostname=_optional(options, "hostname", lambda name: _hostname(str(name))),
        domainname=str(options.get("domainname") or ""),
        labels=_labels(options.get("labels")),
        tty=bool(options.get("tty")),
        interactive=bool(options.get("interactive")),
        init=bool(options.get("init")),
        auto_remove=bool(options.get("auto_remove")),
        stop_signal=_optional(options, "stop_signal", str),
        stop_timeout_s=_optional(options, "stop_timeout", lambda _: _integer(options, "stop_timeout", 10, -1, 10**6)),
        restart_policy=policy,
        restart_retries=retries,
        health=_health(options.get("healthcheck")),
        mounts=parse_mounts(options),
        volumes_from=_strings(options.get("volumes_from")),
        network_mode=_network_mode(options.get("network_mode")),
        ports=parse_ports(options.get("published_ports") or []),
        dns_servers=_strings(options.get("dns_servers")),
        etc_hosts=_hosts(options.get("etc_hosts")),
        limits=_limits(options),
        privileged=bool(options.get("privileged")),
        cap_add=_strings(options.get("capabilities")),
        cap_drop=_strings(options.get("cap_drop")),
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        read_only=bool(options.get("read_only")),
        devices=_devices(options.get("devices")),
        sysctls={str(name): str(value) for name, value in (options.get("sysctls") or {}).items()},
        ulimits=_ulimits(options.get("ulimits")),
        shm_size_bytes=_size(options, "shm_size", ContainerSpec.shm_size_bytes),
        pid_mode=_choice(options, "pid_mode", ("", "host"), ""),
        ipc_mode=_choice(options, "ipc_mode", ("", "private", "host"), "").replace("private", ""),
        userns_mode=_choice(options, "userns_mode", ("host", "auto"), "host"),
        **_log_options(options.get("log_options") or {}),
    )
    if spec.userns_mode == "auto":
        _check_user_namespace(spec)
    return spec


def _check_user_namespace(spec: ContainerSpec) -> None:
    """Refuse what a container whose root is nobody on the host can't have: the host's own namespaces and powers."""
    wanted = {
        "privileged": spec.privileged,
        "network_mode host": spec.network_mode == "host",
        "network_mode container": spec.network_mode.startswith("container:"),
        "pid_mode host": spec.pid_mode == "host",
        "ipc_mode host": spec.ipc_mode == "host",
    }
    for what, is_wanted in wanted.items():
        if is_wanted:
            raise Invalid(f"auto does not go with {what}", option="userns_mode", hint="use host, or leave that out")


def _working_dir(path: str) -> str:
    if not path.startswith("/"):
        raise Invalid(f"{path!r} is not an absolute path", option="working_dir")
    return "/" if path.strip("/") == "" else check_target(path, "working_dir") if ".." in path else path


def _log_options(value: dict[str, Any]) -> dict[str, int]:
    known = {"max-size", "max-file"}
    if not known.issuperset(value):
        raise Invalid(
            f"{sorted(set(value) - known)[0]!r} is not known", option="log_options", hint="max-size, max-file"
        )
    fields = {}
    if "max-size" in value:
        fields["log_max_size_bytes"] = parse_size(value["max-size"], option="log_options")
    if "max-file" in value:
        fields["log_max_files"] = _integer(value, "max-file", 3, 1, 1000)
    return fields
