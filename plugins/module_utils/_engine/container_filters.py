# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The filters of `ps`: which containers are meant.

What the record itself says is looked at first, the kernel and the container's declared options only where a filter is
about them, so that a thousand containers are sifted quickly.
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.errors import Invalid
from .declared import declared_spec
from .filters import fits_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._runtime.state import RunState
    from .._store.records import ContainerRecord
    from .engine import Engine

KNOWN = tuple("name id status label ancestor exited health volume network before since".split())
_STATUSES = tuple("created running paused restarting removing exited dead".split())
_HEALTH = tuple("starting healthy unhealthy none".split())
_OF_STATE = ("status", "exited", "health")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class ContainerFilters:
    """Filters by name, each with its values: any of them will do, but of `label`, where all have to fit.

    name is a part of the name or a regular expression, id the beginning of one, label `key` or `key=value`, ancestor an
    image, exited a status, volume a volume's name or a place where one is mounted, before and since a container. Raises
    Invalid, and NotFound for a container that is not there.
    """

    def __init__(self, engine: Engine, given: dict[str, list[str]]) -> None:
        for name, values in given.items():
            for value in values:
                _check(name, value)
        self._given = given
        self._images = _images(engine, given.get("ancestor", []))
        self._limits = {name: _newest_and_oldest(engine, given.get(name, [])) for name in ("before", "since")}

    @property
    def shows_stopped(self) -> bool:
        """Whether containers that do not run are meant, too, without anybody saying so."""
        return "status" in self._given or "exited" in self._given

    def fits_record(self, record: ContainerRecord) -> bool:
        """Whether a container may be meant, whatever it does now."""
        given = self._given
        return (
            all(_fits(name, values, record) for name, values in given.items() if name not in _OF_STATE)
            and (not self._images or bool(self._images & {record.image_name, record.image_id}))
            and ("before" not in given or record.created_ns < self._limits["before"][0])
            and ("since" not in given or record.created_ns > self._limits["since"][1])
        )

    def fits_state(self, now: RunState) -> bool:
        """Whether a container that does this now is meant."""
        facts = {
            "status": now.status,
            "exited": str(now.exit_code) if now.status == "exited" else "",
            "health": now.health.status if now.health else "none",
        }
        return all(facts[name] in self._given[name] for name in _OF_STATE if name in self._given)


def _check(name: str, value: str) -> None:
    if name not in KNOWN:
        raise Invalid(f"{f'{name}={value}'!r} is not known", option="filter", hint=f"use {', '.join(KNOWN)}")
    allowed = {"status": _STATUSES, "health": _HEALTH}.get(name)
    if allowed and value not in allowed:
        raise Invalid(f"{value!r} is no {name}", option="filter", hint=f"use {', '.join(allowed)}")
    if name == "exited" and not value.isdigit():
        raise Invalid(f"exited={value!r} is not a number", option="filter")


def _images(engine: Engine, names: list[str]) -> set[str]:
    """The images of `ancestor` by name and by id, so that any name of an image is understood."""
    from . import images

    found = [images.lookup(engine, name) for name in names]
    return {*names, *(record.id for record in found if record)}


def _newest_and_oldest(engine: Engine, names: list[str]) -> tuple[int, int]:
    from .containers import find

    times = [find(engine, name).created_ns for name in names]
    return (max(times), min(times)) if times else (0, 0)


def _fits(name: str, values: list[str], record: ContainerRecord) -> bool:
    if name == "name":
        return any(_names(value, record.name) for value in values)
    if name == "id":
        return any(record.id.startswith(value) for value in values)
    if name == "label":
        return fits_labels(declared_spec(record).labels, values, ())
    if name == "volume":
        return any(value in record.volumes for value in values) or not _places(record).isdisjoint(values)
    if name == "network":
        return declared_spec(record).network_mode in values
    return True


def _names(value: str, name: str) -> bool:
    text = value.lstrip("/")
    if _PLAIN.issuperset(text):
        return text in name
    import re  # 5 ms, for `^web$` and the like

    try:
        return re.search(value, name) is not None or re.search(value, f"/{name}") is not None
    except re.error as error:
        raise Invalid(f"name={value!r} is not a regular expression: {error}", option="filter") from error


def _places(record: ContainerRecord) -> set[str]:
    """Where something is mounted in a container, and what."""
    mounts = parse(record.launch, source=f"the record of container {record.name}")["mounts"]
    return {mount[key].rstrip("/") for mount in mounts for key in ("target", "source")}
