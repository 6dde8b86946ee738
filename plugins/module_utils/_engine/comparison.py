# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Does a container still match its task? Spec against spec, option by option. Pure.

`declared`: what the task gives is compared with what was declared when the container was made, completed by the image
where neither said anything, as docker_container does: values and lists must be equal, sets and dicts may have more than
the task wants. `exact`: also what was given before and is no longer counts, and nothing may be more. The image's part
is on both sides, so it never is a difference. `comparisons` changes the rule per option.
"""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.spec import to_record
from .._base.values import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec, HealthSpec
    from .image_facts import ImageConfig

STRICT, IGNORE, ALLOW_MORE = "strict", "ignore", "allow_more_present"


class Field(Value):
    """How one option is compared: fields of the spec, `kind` value, list, set or dict, `live` if no recreation.

    Of an option with several fields only the first `live_fields` change live, where that is not 0.
    """

    names: tuple[str, ...]
    kind: str = "value"
    live: bool = False
    default: str = ""  # the comparison, where it isn't the kind's
    live_fields: int = 0

    def is_live(self, differing: list[str]) -> bool:
        """Whether a difference in these fields is changed live."""
        return self.live and (not self.live_fields or set(differing) <= set(self.names[: self.live_fields]))


def _field(*names: str, kind: str = "value", live: bool = False, default: str = "", live_fields: int = 0) -> Field:
    return Field(names, kind, live, default, live_fields)


_LIMITS = {
    "memory": "memory_bytes",
    "memory_swap": "memory_swap_bytes",
    "memory_reservation": "memory_reservation_bytes",
    "memory_swappiness": "memory_swappiness",
    "kernel_memory": "kernel_memory_bytes",
    "oom_killer": "oom_kill_disable",
    "cpus": "cpu_quota_us",
    "cpu_quota": "cpu_quota_us",
    "cpu_period": "cpu_period_us",
    "cpu_shares": "cpu_shares",
    "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems",
    "pids_limit": "pids",
    "blkio_weight": "blkio_weight",
}
_RATES = ("read_bps", "write_bps", "read_iops", "write_iops")
FIELDS: dict[str, Field] = {
    "command": _field("command", kind="list"),
    "entrypoint": _field("entrypoint", kind="list"),
    "env": _field("env", kind="dict"),
    "user": _field("user"),
    "groups": _field("groups", kind="set"),
    "working_dir": _field("working_dir"),
    "hostname": _field("hostname"),
    "domainname": _field("domainname"),
    "labels": _field("labels", kind="dict", live=True),
    "tty": _field("tty"),
    "interactive": _field("interactive"),
    "init": _field("init"),
    "auto_remove": _field("auto_remove"),
    "stop_signal": _field("stop_signal", live=True),
    "stop_timeout": _field("stop_timeout_s", live=True, default=IGNORE),
    "restart_policy": _field("restart_policy", live=True),
    "restart_retries": _field("restart_retries", live=True),
    "healthcheck": _field("health", live=True),
    "volumes": _field("mounts", kind="set"),
    "mounts": _field("mounts", kind="set"),
    "tmpfs": _field("mounts", kind="set"),
    "volumes_from": _field("volumes_from", kind="set"),
    "network_mode": _field("network_mode"),
    "published_ports": _field("ports", kind="set"),
    "dns_servers": _field("dns_servers", kind="list"),
    "etc_hosts": _field("etc_hosts", kind="dict"),
    **{option: _field(f"limits.{name}", live=True) for option, name in _LIMITS.items()},
    **{f"device_{name}": _field(f"limits.{name}", kind="dict", live=True) for name in _RATES},
    "oom_score_adj": _field("oom_score_adj", live=True),
    "cgroup_parent": _field("cgroup_parent"),
    "cgroupns_mode": _field("cgroupns_mode"),
    "privileged": _field("privileged"),
    "capabilities": _field("cap_add", kind="set"),
    "cap_drop": _field("cap_drop", kind="set"),
    "security_opts": _field("no_new_privileges", "seccomp", "seccomp_compat", "apparmor", "selinux", "mask", "unmask"),
    "read_only": _field("read_only"),
    "devices": _field("devices", kind="set"),
    "device_cgroup_rules": _field("device_rules", kind="set", live=True),
    "storage_opts": _field("storage_opts", kind="dict"),
    "sysctls": _field("sysctls", kind="dict"),
    "ulimits": _field("ulimits", kind="dict", live=True),
    "shm_size": _field("shm_size_bytes"),
    "pid_mode": _field("pid_mode"),
    "ipc_mode": _field("ipc_mode"),
    "uts": _field("uts_mode"),
    "userns_mode": _field("userns_mode"),
    "runtime": _field("runtime"),
    "log_driver": _field("log_driver"),
    "log_options": _field(
        *("log_max_size_bytes", "log_max_files", "log_blocking"),
        *("log_tag", "log_address", "log_facility", "log_format"),
        live=True,
        live_fields=3,
    ),
}
_IMAGE_OPTION = "image"
_ALIASES = {"ports": "published_ports", "log_opt": "log_options"}
# Options of docker_container that say nothing about a container of ours, or nothing that is compared.
_ACCEPTED = frozenset(
    (
        "detach platform paused networks network_links exposed_ports links dns_opts dns_search_domains mac_address "
        "publish_all_ports device_requests volume_driver"
    ).split()
)


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
    for name, mode in asked.items():
        option = _ALIASES.get(name, name)
        if option != name and option in asked:
            raise Invalid(f"{name} and {option} are the same option", option="comparisons", hint="name one of them")
        if option not in FIELDS and option not in (_IMAGE_OPTION, *_ACCEPTED):
            raise Invalid(f"{option!r} is not an option that is compared", option="comparisons")
        if mode not in (STRICT, IGNORE, ALLOW_MORE):
            raise Invalid(f"{mode!r} is not known", option="comparisons", hint="strict, ignore, allow_more_present")
        if mode == ALLOW_MORE and (option == _IMAGE_OPTION or option in FIELDS and FIELDS[option].kind == "value"):
            raise Invalid(f"{option} is a single value: it can't be allow_more_present", option="comparisons")
        result[option] = mode
    return result


def _get(spec: ContainerSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value


def complete_health(health: HealthSpec | None, from_image: HealthSpec | None) -> HealthSpec | None:
    """The health check of a container: its own, one of its own times for the image's test, or the image's."""
    if health is None or health.test or from_image is None:
        return health or from_image
    own = {name: value for name, value in health.fields().items() if value != getattr(type(health), name, None)}
    return replace(from_image, **{name: value for name, value in own.items() if name != "test"})


def _complete(spec: ContainerSpec, config: ImageConfig, path: str) -> Any:
    """A field with what the image adds: all of it, or where the spec says nothing."""
    declared = _get(spec, path)
    if path == "env":
        return {**dict(item.partition("=")[::2] for item in config.env), **declared}
    if path == "labels":
        return {**config.labels, **declared}
    if path == "health":
        return complete_health(declared, config.health)
    if declared is not None:
        return declared
    from_image = {
        "command": config.command,
        "entrypoint": config.entrypoint,
        "user": config.user,
        "working_dir": config.working_dir or "/",
        "stop_signal": config.stop_signal or "SIGTERM",
    }
    return from_image.get(path)


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


def _part(option: str, value: Any) -> Any:
    """Of the mounts, those that the option speaks of, so that a strict `volumes` does not see a tmpfs."""
    if option == "tmpfs":
        return tuple(mount for mount in value if mount.kind == "tmpfs")
    if option in ("volumes", "mounts"):
        return tuple(mount for mount in value if mount.kind != "tmpfs")
    return value


class Rules(Value):
    """What a comparison goes by: the options that the task gives, what it says of single ones, whether it is exact."""

    given: frozenset[str]
    comparisons: dict[str, str] = {}
    exact: bool = False

    def options(self, actual: ContainerSpec) -> list[str]:
        """The options to compare."""
        names = self.given | frozenset(actual.given) if self.exact else self.given
        return sorted(names & FIELDS.keys())

    def mode(self, option: str) -> str:
        """How an option is compared."""
        rule = FIELDS[option]
        if option in self.comparisons:
            return self.comparisons[option]
        if self.exact:
            return STRICT
        return rule.default or (ALLOW_MORE if rule.kind in ("set", "dict") else STRICT)


def compare(
    wanted: ContainerSpec, actual: ContainerSpec, desired: ImageConfig, current: ImageConfig, rules: Rules
) -> list[Difference]:
    """The options whose values do not match. `desired` completes the wanted spec, `current` the container's."""
    found = []
    for option in rules.options(actual):
        mode, rule = rules.mode(option), FIELDS[option]
        if mode == IGNORE:
            continue
        pairs = {
            path: (
                _part(option, _complete(wanted, desired, path)),
                _part(option, _complete(actual, current, path)),
            )
            for path in rule.names
        }
        differing = [path for path, (want, have) in pairs.items() if not matches(want, have, rule.kind, mode)]
        if differing:
            before, after = ({path: _plain(pairs[path][side]) for path in differing} for side in (1, 0))
            if len(rule.names) == 1:
                before, after = before[differing[0]], after[differing[0]]
            found.append(Difference(option, before, after, rule.is_live(differing)))
    return found


def _plain(value: Any) -> Any:
    plain = to_record(value)
    return sorted(plain, key=str) if isinstance(value, (set, frozenset)) else plain


def merge(wanted: ContainerSpec, actual: ContainerSpec, options: list[str], *, exact: bool = False) -> ContainerSpec:
    """The declared spec after these live options were changed.

    Labels, ulimits, rates and rules that the task does not mention stay, unless it is exact.
    """
    limits = actual.limits
    changes: dict[str, Any] = {}
    for option in options:
        rule = FIELDS[option]
        for path in rule.names:
            value = _get(wanted, path)
            if rule.kind == "dict" and not exact:
                value = {**_get(actual, path), **value}
            elif rule.kind == "set" and not exact:
                value = tuple(dict.fromkeys((*_get(actual, path), *value)))
            if path.startswith("limits."):
                limits = replace(limits, **{path.partition(".")[2]: value})
            else:
                changes[path] = value
    given = wanted.given if exact else tuple(sorted({*actual.given, *options}))
    return replace(actual, limits=limits, given=given, **changes)
