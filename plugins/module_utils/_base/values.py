# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Frozen value types that cost nothing to import.

`dataclasses` takes 16 ms to import and `typing` 12, each longer than a container start; the command line and the
launch code pay for neither. `Value` is the small part of a frozen dataclass that the engine uses: fields by
annotation, construction by keyword or position, equality, a repr and `replace`. Not for generated validation,
ordering or mutable state.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from typing_extensions import dataclass_transform

    ValueType = TypeVar("ValueType", bound="Value")
else:

    def dataclass_transform(**_options):
        """Stand in for `typing.dataclass_transform`, which only type checkers read."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, eq_default=True)
class Value:
    """Base of every value that crosses a layer. Subclass it, annotate the fields, give defaults where there are any."""

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        inherited = cls._fields
        cls._fields = inherited + tuple(
            name for name in cls.__dict__.get("__annotations__", {}) if name not in inherited and name[0] != "_"
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        if len(args) > len(cls._fields):
            raise TypeError(f"{cls.__name__} takes {len(cls._fields)} fields, {len(args)} were given")
        given = dict(zip(cls._fields, args))
        for name in kwargs:
            if name in given or name not in cls._fields:
                raise TypeError(f"{cls.__name__} has no field {name!r}, or it was given twice")
        given.update(kwargs)
        state = self.__dict__
        for name in cls._fields:
            if name in given:
                state[name] = given[name]
            elif hasattr(cls, name):
                state[name] = getattr(cls, name)
            else:
                raise TypeError(f"{cls.__name__} lacks the field {name!r}")

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} can't be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def fields(self) -> dict[str, Any]:
        """The fields by name, in order of declaration; values as they are, not copied."""
        return dict(self.__dict__)


def replace(value: ValueType, **changes: Any) -> ValueType:
    """A copy of the value with some fields changed."""
    return type(value)(**{**value.__dict__, **changes})


def to_record(value: Any) -> Any:
    """The value as JSON types; see `spec_from_record` and `plan_from_record`."""
    if isinstance(value, Value):
        return {name: to_record(field) for name, field in value.fields().items()}
    if isinstance(value, (tuple, list)):
        return [to_record(item) for item in value]
    if isinstance(value, dict):
        return {name: to_record(item) for name, item in value.items()}
    return value
