# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A container changed without a restart, by a user who names what is to change: `hull update`."""

from __future__ import annotations

from .._base.errors import Invalid
from .._base.values import replace
from . import containers
from .comparison import merge
from .declared import declared_spec
from .options import container_spec
from .security_options import check_together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.spec import ContainerSpec
    from .._store.records import ContainerRecord
    from .engine import Engine

_MEMORY = {
    "memory": "memory_bytes",
    "memory_swap": "memory_swap_bytes",
    "memory_reservation": "memory_reservation_bytes",
}
_RETRIES = {"restart_policy": "restart_retries"}  # `on-failure:5` says both


def change(engine: Engine, record: ContainerRecord, options: dict[str, Any]) -> tuple[str, ...]:
    """Change the given options of the container module, and no others. Warnings.

    A container that does not run has them from its next start on. Raises Invalid, naming the option, before anything is
    changed.
    """
    actual = declared_spec(record)
    spec = changed_spec(actual, options)
    return containers.update(engine, record, spec)


def changed_spec(actual: ContainerSpec, options: dict[str, Any]) -> ContainerSpec:
    """The spec of a container after these options were changed. Pure."""
    if not options:
        raise Invalid("nothing is to be changed", hint="name at least one flag")
    wanted = container_spec({**_context(actual, options), **options, "name": actual.name, "image": actual.image})
    names = [*options, *(also for option, also in _RETRIES.items() if option in options and also not in options)]
    spec = merge(wanted, actual, names)
    spec = replace(spec, given=tuple(sorted({*spec.given, *options})))
    check_together(spec)
    return spec


def _context(actual: ContainerSpec, options: dict[str, Any]) -> dict[str, Any]:
    """What the options are read beside: limits of memory have to fit each other, also where one alone is given."""
    if not any(option in options for option in _MEMORY):
        return {}
    limits = actual.limits.fields()
    return {option: str(limits[field]) for option, field in _MEMORY.items() if limits[field]}
