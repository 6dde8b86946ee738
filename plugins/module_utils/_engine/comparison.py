# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Does a container still match its task? Spec against spec, option by option. Pure.

Compared is what the task gives with what was declared when the container was made, completed by its image where neither
said anything, as docker_container does: values and lists must be equal, sets and dicts may have more than the task
wants. `comparisons` changes that per option.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import to_record
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .image_facts import ImageConfig

STRICT, IGNORE, ALLOW_MORE = "strict", "ignore", "allow_more_present"


class Field(Value):
    """How one option is compared: `field` in the spec, `kind` value, list, set or dict, `live` if no recreation."""

    field: str
    kind: str = "value"
    live: bool = False
    default: str = ""  # the comparison, where it isn't the kind's


FIELDS: dict[str, Field] = {
    "command": Field("command", "list"),
    "entrypoint": Field("entrypoint", "list"),
    "env": Field("env", "dict"),
    "user": Field("user"),
    "groups": Field("groups", "set"),
    "working_dir": Field("working_dir"),
    "hostname": Field("hostname"),
    "domainname": Field("domainname"),
    "labels": Field("labels", "dict", live=True),
    "tty": Field("tty"),
    "interactive": Field("interactive"),
    "init": Field("init"),
    "auto_remove": Field("auto_remove"),
    "stop_signal": Field("stop_signal", live=True),
    "stop_timeout": Field("stop_timeout_s", live=True, default=IGNORE),
    "restart_policy": Field("restart_policy", live=True),
    "restart_retries": Field("restart_retries", live=True),
    "healthcheck": Field("health"),
    "volumes": Field("mounts", "set"),
    "mounts": Field("mounts", "set"),
    "tmpfs": Field("mounts", "set"),
    "volumes_from": Field("volumes_from", "set"),
    "network_mode": Field("network_mode"),
    "published_ports": Field("ports", "set"),
    "dns_servers": Field("dns_servers", "list"),
    "etc_hosts": Field("etc_hosts", "dict"),
    "memory": Field("limits.memory_bytes", live=True),
    "memory_swap": Field("limits.memory_swap_bytes", live=True),
    "memory_reservation": Field("limits.memory_reservation_bytes", live=True),
    "cpus": Field("limits.cpu_quota_us", live=True),
    "cpu_shares": Field("limits.cpu_shares", live=True),
    "cpuset_cpus": Field("limits.cpuset_cpus", live=True),
    "cpuset_mems": Field("limits.cpuset_mems", live=True),
    "pids_limit": Field("limits.pids", live=True),
    "privileged": Field("privileged"),
    "capabilities": Field("cap_add", "set"),
    "cap_drop": Field("cap_drop", "set"),
    "security_opts": Field("no_new_privileges"),
    "read_only": Field("read_only"),
    "devices": Field("devices", "set"),
    "sysctls": Field("sysctls", "dict"),
    "ulimits": Field("ulimits", "dict"),
    "shm_size": Field("shm_size_bytes"),
    "pid_mode": Field("pid_mode"),
    "ipc_mode": Field("ipc_mode"),
    "userns_mode": Field("userns_mode"),
    "log_options": Field("log_max_size_bytes"),
}
_IMAGE_OPTION = "image"


class Difference(Value):
    """One option that does not match, in JSON types."""

    option: str
    before: Any
    after: Any
    live: bool


def check_comparisons(comparisons: dict[str, str] | None) -> dict[str, str]:
    """The comparison per option that the task asks for, `'*'` spread out. Raises Invalid."""
    asked = {str(option): str(mode) for option, mode in (comparisons or {}).items()}
    result: dict[str, str] = {}
    everything = asked.pop("*", "")
    if everything:
        if everything not in (STRICT, IGNORE):
            raise Invalid(f"'*' can be strict or ignore, not {everything!r}", option="comparisons")
        result = dict.fromkeys([*FIELDS, _IMAGE_OPTION], everything)
    for option, mode in asked.items():
        if option not in FIELDS and option != _IMAGE_OPTION:
            raise Invalid(f"{option!r} is not an option that is compared", option="comparisons")
        if mode not in (STRICT, IGNORE, ALLOW_MORE):
            raise Invalid(f"{mode!r} is not known", option="comparisons", hint="strict, ignore, allow_more_present")
        if mode == ALLOW_MORE and (option == _IMAGE_OPTION or FIELDS[option].kind == "value"):
            raise Invalid(f"{option} is a single value: it can't be allow_more_present", option="comparisons")
        result[option] = mode
    return result


def _get(spec: ContainerSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _actual(spec: ContainerSpec, config: ImageConfig, path: str) -> Any:
    """What the container has: as declared, else as its image says."""
    declared = _get(spec, path)
    if path == "env":
        return {**dict(item.partition("=")[::2] for item in config.env), **declared}
    if path == "labels":
        return {**config.labels, **declared}
    if declared is not None:
        return declared
    from_image = {
        "command": config.command,
        "entrypoint": config.entrypoint,
        "user": config.user,
        "working_dir": config.working_dir or "/",
        "stop_signal": config.stop_signal or "SIGTERM",
        "health": config.health,
    }
    return from_image.get(path)


def _wanted(spec: ContainerSpec, config: ImageConfig, path: str) -> Any:
    """What the task wants, with what the image adds where a strict comparison would miss it."""
    value = _get(spec, path)
    if path == "env":
        return {**dict(item.partition("=")[::2] for item in config.env), **value}
    if path == "labels":
        return {**config.labels, **value}
    return value


def _is_subsequence(wanted: tuple[Any, ...], actual: tuple[Any, ...]) -> bool:
    rest = iter(actual)
    return all(item in rest for item in wanted)


def matches(wanted: Any, actual: Any, kind: str, mode: str) -> bool:
    """Whether the actual value is what is wanted under this comparison. None and empty are the same."""
    if not wanted and not actual and kind != "value":
        return True
    if kind == "dict" and mode == ALLOW_MORE:
        return all(name in actual and actual[name] == value for name, value in wanted.items())
    if kind == "set":
        return set(wanted) <= set(actual) if mode == ALLOW_MORE else set(wanted) == set(actual)
    if kind == "list" and mode == ALLOW_MORE:
        return _is_subsequence(tuple(wanted or ()), tuple(actual or ()))
    return bool(wanted == actual)


def _part(spec: ContainerSpec, option: str, value: Any) -> Any:
    """Of the mounts, those that the option speaks of, so that a strict `volumes` does not see a tmpfs."""
    if option == "tmpfs":
        return tuple(mount for mount in value if mount.kind == "tmpfs")
    if option in ("volumes", "mounts"):
        return tuple(mount for mount in value if mount.kind != "tmpfs")
    return value


def compare(
    wanted: ContainerSpec,
    actual: ContainerSpec,
    config: ImageConfig,
    given: frozenset[str],
    comparisons: dict[str, str],
) -> list[Difference]:
    """The options among `given` whose values do not match. `config` is that of the container's image."""
    found = []
    for option in sorted(given & FIELDS.keys()):
        rule = FIELDS[option]
        mode = comparisons.get(option) or rule.default or (ALLOW_MORE if rule.kind in ("set", "dict") else STRICT)
        if mode == IGNORE:
            continue
        want = _part(wanted, option, _wanted(wanted, config, rule.field))
        have = _part(actual, option, _actual(actual, config, rule.field))
        if not matches(want, have, rule.kind, mode):
            found.append(Difference(option, _plain(have), _plain(want), rule.live))
    return found


def _plain(value: Any) -> Any:
    plain = to_record(value)
    return sorted(plain, key=str) if isinstance(value, (set, frozenset)) else plain


def merge(wanted: ContainerSpec, actual: ContainerSpec, options: list[str]) -> ContainerSpec:
    """The declared spec after these live options were changed; labels that the task does not mention stay."""
    limits = actual.limits
    changes: dict[str, Any] = {}
    for option in options:
        path = FIELDS[option].field
        value = _get(wanted, path)
        if path.startswith("limits."):
            limits = replace(limits, **{path.partition(".")[2]: value})
        elif path == "labels":
            changes[path] = {**actual.labels, **value}
        else:
            changes[path] = value
    return replace(actual, limits=limits, **changes)
