# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The container module's options, as they stand in a task, made into a ContainerSpec.

The command line builds the same dict from its flags, so this and `*_options.py` beside it are the only places that know
the forms. Pure, except that `~` and `.` in a volume's source are expanded and `env_file` is read. Every error is
Invalid and names the option.
"""

from __future__ import annotations

from .._base.errors import Invalid, NotFound
from .._base.names import check_name
from .._base.spec import ContainerSpec
from .health_options import parse_health
from .limit_options import integer, parse_limits, parse_shm_size, parse_ulimits
from .log_options import parse_log
from .mount_options import check_target, parse_mounts, parse_volumes_from
from .port_options import parse_ports
from .security_options import (
    check_together,
    parse_capabilities,
    parse_device_rules,
    parse_devices,
    parse_namespaces,
    parse_security,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
_MAX_FILE = 1024 * 1024
# Where an empty string says as little as nothing: what templates make of a variable that is not set.
_EMPTY_IS_NOT_GIVEN = frozenset(
    ("image", "user", "working_dir", "hostname", "domainname", "stop_signal", "env_file", "runtime", "log_driver")
)
# Options that are dicts with keys of a meaning of their own, so that it counts which of them are given.
_PARTED = ("healthcheck", "log_options")


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


def split_words(value: Any, *, option: str, handling: str = "correct") -> tuple[str, ...] | None:
    """A command given as a list, or as one string that is split like a shell would; None stays None. Raises Invalid.

    With the handling `compatibility` a list is joined by spaces and split again, and what is empty is not given, as
    docker_container once had it.
    """
    if value is None or (handling == "compatibility" and not value):
        return None
    if isinstance(value, dict) or (isinstance(value, (list, tuple)) and _has_collection(value)):
        raise Invalid(f"{value!r} is not a list of words", option=option, hint="give a list of strings, or a string")
    if isinstance(value, (list, tuple)):
        words = tuple(str(word) for word in value)
        if handling == "correct":
            return words
        value = " ".join(words)
    from shlex import split  # only for commands given as one string

    try:
        return tuple(split(str(value)))
    except ValueError as error:
        raise Invalid(f"{value!r} can't be split into words: {error}", option=option, hint="give a list") from error


def _has_collection(values: Iterable[Any]) -> bool:
    return any(isinstance(value, (dict, list, tuple)) or value is None for value in values)


def file_lines(path: str, *, option: str) -> list[str]:
    """The lines of a file that an option names, without empty ones and those that begin with `#`. Raises NotFound."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(_MAX_FILE).split("\n")
    except OSError as error:
        raise NotFound(f"{option}: {path}: {(error.strerror or str(error)).lower()}") from error
    stripped = (line.lstrip().rstrip("\r") for line in lines)
    return [line for line in stripped if line.strip() and not line.startswith("#")]


def _environment(options: dict[str, Any]) -> dict[str, str]:
    """The variables of `env_file` and `env`, which wins."""
    found = {}
    path = options.get("env_file")
    for line in file_lines(str(path), option="env_file") if path else ():
        name, equals, value = line.partition("=")
        if not equals:
            raise Invalid(f"{line!r} in {path} sets no variable", option="env_file", hint="write NAME=value")
        found[name] = value
    return environment({**found, **(options.get("env") or {})})


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
        if isinstance(item, (dict, list, bool, float)):
            raise Invalid(f"the value of {name} is not a string", option="labels", hint="put it into quotes")
    return {str(name): "" if item is None else str(item) for name, item in (value or {}).items()}


def _restart(options: dict[str, Any]) -> tuple[str, int]:
    policy, colon, count = str(options.get("restart_policy") or "no").partition(":")
    retries = integer(options, "restart_retries", 0, 0, 10**6)
    if policy not in RESTART_POLICIES or (colon and not (count.isascii() and count.isdigit())):
        raise Invalid(f"{policy!r} is not a policy", option="restart_policy", hint=f"use {', '.join(RESTART_POLICIES)}")
    retries = int(count) if colon else retries
    if retries and policy != "on-failure":
        raise Invalid("counts only with restart_policy on-failure", option="restart_retries")
    if policy != "no" and options.get("auto_remove"):
        raise Invalid("can't be combined with auto_remove", option="restart_policy")
    return policy, retries


def _sysctls(value: dict[str, Any] | None) -> dict[str, str]:
    for name, item in (value or {}).items():
        if isinstance(item, (dict, list, bool)) or item is None or "\0" in str(item):
            raise Invalid(f"{item!r} can't be the value of {name}", option="sysctls", hint="put it into quotes")
    return {str(name): str(item) for name, item in (value or {}).items()}


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def _hosts(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): str(address) for name, address in value.items()}
    return dict(str(item).replace("=", ":", 1).partition(":")[::2] for item in value or ())


def _optional(options: dict[str, Any], option: str, convert: Callable[[Any], Any]) -> Any:
    value = options.get(option)
    return None if value is None else convert(value)


def _host_name(value: str, option: str) -> str:
    if not 0 < len(value) <= 64 or not set(value.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._"):
        raise Invalid(
            f"{value!r} can't be a name of a host", option=option, hint="up to 64 of letters, digits, '-', '.' and '_'"
        )
    return value


def container_spec(options: dict[str, Any]) -> ContainerSpec:
    """The ContainerSpec of a task. `options` has the module's option names; None and absent mean not given.

    Raises Invalid, naming the option.
    """
    options = {name: value for name, value in options.items() if value != "" or name not in _EMPTY_IS_NOT_GIVEN}
    policy, retries = _restart(options)
    handling = str(options.get("command_handling") or "correct")
    stop_signal = options.get("stop_signal")
    if stop_signal is not None:
        signal_number(stop_signal, option="stop_signal")
    _refuse_unsupported(options)
    spec = ContainerSpec(
        name=check_name(str(options["name"])),
        image=str(options.get("image") or ""),
        command=split_words(options.get("command"), option="command", handling=handling),
        entrypoint=split_words(options.get("entrypoint"), option="entrypoint", handling=handling),
        env=_environment(options),
        user=_optional(options, "user", str),
        groups=_strings(options.get("groups")),
        working_dir=_optional(options, "working_dir", lambda path: _working_dir(str(path))),
        hostname=_optional(options, "hostname", lambda name: _host_name(str(name), "hostname")),
        domainname=_optional(options, "domainname", lambda name: _host_name(str(name), "domainname")) or "",
        labels=_labels(options.get("labels")),
        tty=bool(options.get("tty")),
        interactive=bool(options.get("interactive")),
        init=bool(options.get("init")),
        auto_remove=bool(options.get("auto_remove")),
        stop_signal=_optional(options, "stop_signal", str),
        stop_timeout_s=_optional(options, "stop_timeout", lambda _: integer(options, "stop_timeout", 10, -1, 10**6)),
        restart_policy=policy,
        restart_retries=retries,
        health=parse_health(options.get("healthcheck")),
        mounts=parse_mounts(options),
        volumes_from=parse_volumes_from(options.get("volumes_from")),
        ports=parse_ports(options.get("published_ports") or []),
        dns_servers=_strings(options.get("dns_servers")),
        etc_hosts=_hosts(options.get("etc_hosts")),
        limits=parse_limits(options),
        privileged=bool(options.get("privileged")),
        cap_add=parse_capabilities(options, "capabilities"),
        cap_drop=parse_capabilities(options, "cap_drop"),
        read_only=bool(options.get("read_only")),
        devices=parse_devices(options.get("devices")),
        device_rules=parse_device_rules(options.get("device_cgroup_rules")),
        sysctls=_sysctls(options.get("sysctls")),
        ulimits=parse_ulimits(options.get("ulimits")),
        oom_score_adj=integer(options, "oom_score_adj", 0, -1000, 1000),
        cgroup_parent=_cgroup_parent(str(options.get("cgroup_parent") or "")),
        shm_size_bytes=parse_shm_size(options),
        storage_opts={str(name): str(value) for name, value in (options.get("storage_opts") or {}).items()},
        given=_given(options),
        **parse_namespaces(options),
        **parse_security(options.get("security_opts")),
        **parse_log(options.get("log_driver"), options.get("log_options")),
    )
    check_together(spec)
    return spec


def _given(options: dict[str, Any]) -> tuple[str, ...]:
    """The names of the options that say something about the container, `env_file` as what it is part of.

    Of a health check and the log's options also which keys are given: `healthcheck.interval`.
    """
    names = {"env" if name == "env_file" else name for name, value in options.items() if value is not None}
    for option in _PARTED:
        parts = options.get(option) or {}
        names |= {f"{option}.{key}" for key, value in parts.items() if value is not None}
    return tuple(sorted(names - {"name", "command_handling", "healthcheck.test_cli_compatible"}))


def _refuse_unsupported(options: dict[str, Any]) -> None:
    """What other engines have and this one has not, or not yet."""
    runtime = options.get("runtime")
    if runtime not in (None, "native"):
        raise Invalid(f"{runtime!r} is not a container format here", option="runtime", hint="use native")
    if options.get("device_requests"):
        raise Invalid(
            "there is no driver that hands devices out",
            option="device_requests",
            hint="name the device nodes in devices",
        )


def _cgroup_parent(path: str) -> str:
    """A cgroup below each hierarchy's root, without slashes around it."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Invalid(f"{path!r} is not the path of a control group", option="cgroup_parent", hint="write it like /a/b")
    return "/".join(parts)


def _working_dir(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"{path!r} is not an absolute path", option="working_dir")
    return "/" if path.strip("/") == "" else check_target(path, "working_dir") if ".." in path else path
