# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What `engine.json` sets for all containers: limits and logs that tasks do not give, and subnets of networks.

Defaults are put into a container's spec when it is made, as applied, not as given: no later task is compared with them,
and no later change of the file reaches the container. An option that the task gives is the task's alone.
"""

from __future__ import annotations

from .._base.config_file import checked
from .._base.engine_file import file_path, own_cgroup, read_engine_file
from .._base.errors import Invalid
from .._base.spec import ContainerSpec
from .._base.values import Value, replace
from .comparison import merge
from .options import container_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.config_file import Kind
    from .._base.paths import Paths

_LIMITS: dict[str, Kind] = {
    "memory": (str, int),
    "memory_swap": (str, int),
    "cpus": (str, int, float),
    "cpu_shares": int,
    "pids_limit": int,
    "ulimits": list,
}
# What says the same as an option, or only makes sense beside it: where the task gives one of these, the default is out.
_SAID_BY = {
    "memory_swap": ("memory", "memory_swap"),
    "cpus": ("cpus", "cpu_quota", "cpu_period"),
}


class EngineSettings(Value):
    """The file's content. `defaults` has the default options as what a task gives; the rest of it says nothing."""

    cgroup: str = "hull"  # where the engine's control groups lie
    defaults: ContainerSpec = ContainerSpec("", "")
    limits: dict[str, Any] = {}  # as in the file
    address_pools: tuple[tuple[str, int], ...] = ()  # base and prefix length of the subnets; empty: the engine's own

    def apply(self, spec: ContainerSpec) -> ContainerSpec:
        """The spec of a container that is made now. Idempotent. Raises Invalid where a default does not fit."""
        options = [option for option in self.defaults.given if self._applies(option, spec)]
        if not options:
            return spec
        applied = replace(merge(self.defaults, spec, options), given=spec.given)
        limits = applied.limits
        if limits.memory_reservation_bytes > limits.memory_bytes > 0:
            raise Invalid(
                f"is more than the {limits.memory_bytes} bytes of memory that a container has here by default",
                option="memory_reservation",
                hint="give memory too",
            )
        return applied

    def _applies(self, option: str, spec: ContainerSpec) -> bool:
        if "." in option or not set(_SAID_BY.get(option, (option,))).isdisjoint(spec.given):
            return False
        is_other_driver = "log_driver" in spec.given and spec.log_driver != self.defaults.log_driver
        return option != "log_options" or not is_other_driver


def load_engine_settings(paths: Paths) -> EngineSettings:
    """The settings as the file has them now, all of them checked.

    Raises Invalid, naming the file and the key, Damaged for what is not JSON, Denied.
    """
    return settings_of(paths, read_engine_file(paths))


def settings_of(paths: Paths, document: dict[str, Any]) -> EngineSettings:
    """The settings of a document whose keys were checked. Raises Invalid, naming the file and the key."""
    path = file_path(paths)
    limits = checked(document.get("default_limits", {}), _LIMITS, path, "default_limits")
    return EngineSettings(
        cgroup=own_cgroup(paths, document),
        defaults=_defaults(document, limits, path),
        limits=limits,
        address_pools=_address_pools(document, path),
    )


def _defaults(document: dict[str, Any], limits: dict[str, Any], path: str) -> ContainerSpec:
    options: dict[str, Any] = {name: document[name] for name in ("log_driver", "log_options") if name in document}
    try:
        spec = container_spec({**options, **limits, "name": "defaults"})
    except Invalid as error:
        place = "default_limits." if error.option in limits else ""
        raise Invalid(f"read {path}: {place}{error.message}", hint=error.hint) from error
    return replace(spec, name="")


def _address_pools(document: dict[str, Any], path: str) -> tuple[tuple[str, int], ...]:
    pools = document.get("default_address_pools")
    if not pools:
        return ()
    from .._net.address_pools import check_pool

    found = []
    for index, pool in enumerate(pools):
        where = f"default_address_pools[{index}]"
        fields = checked(pool, {"base": str, "size": int}, path, where)
        if len(fields) < 2:
            raise Invalid(f"read {path}: {where} has no {'size' if 'base' in fields else 'base'}")
        try:
            check_pool(fields["base"], fields["size"])
        except Invalid as error:
            raise Invalid(f"read {path}: {where}: {error.message}", hint=error.hint) from error
        found.append((fields["base"], fields["size"]))
    return tuple(found)
