# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options of a volume's driver `local`: `type`, `device` and `o`, which say what is mounted in its place. Pure.

As Docker's: what mount(8) takes as `-t type -o o device`. A volume without options is a directory of the engine's.
"""

from __future__ import annotations

from .._base.errors import Invalid, Unsupported
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER = "local"
_OPTIONS = ("type", "device", "o")
_BIND_TYPES = ("none", "bind")
_BIND_WORDS = frozenset("ro rw bind rbind suid nosuid dev nodev exec noexec noatime relatime strictatime".split())
_NETWORK_TYPES = ("nfs", "nfs4", "cifs", "smb3")
_ADDRESS = frozenset("0123456789abcdefABCDEF.:")
_TYPE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


class VolumeSource(Value):
    """What a volume with options is: a directory of the host (`filesystem` empty) or a file system on a device."""

    device: str
    filesystem: str
    words: tuple[str, ...]

    @property
    def is_bind(self) -> bool:
        """Whether it is a directory that the host has."""
        return not self.filesystem


def check_driver(driver: str | None, *, option: str) -> None:
    """Raises Invalid for any driver but `local`."""
    if driver not in (None, "", DRIVER):
        raise Invalid(
            f"there is no volume driver {driver!r}",
            option=option,
            hint="use local with type, device and o, or leave it",
        )


def volume_source(options: Mapping[str, str], *, option: str) -> VolumeSource | None:
    """What these options mean; None for an ordinary volume. Raises Invalid, Unsupported, naming the option."""
    if not options:
        return None
    if "size" in options:
        raise Unsupported(
            f"{option}: size: a directory has no size of its own",
            hint="use type: tmpfs with o: size=..., or a file system on a device",
        )
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise Invalid(
            f"{unknown[0]!r} is not an option of the driver local", option=option, hint=f"use {', '.join(_OPTIONS)}"
        )
    kind, device = options.get("type", ""), options.get("device", "")
    if not kind or not device:
        missing = "device" if kind else "type"
        raise Invalid(f"{missing} is missing", option=option, hint="type and device go together, o is optional")
    words = tuple(filter(None, options.get("o", "").split(",")))
    if kind in _BIND_TYPES or "bind" in words or "rbind" in words:
        return _bind(device, words, option)
    if not _TYPE.issuperset(kind):
        raise Invalid(f"{kind!r} is not a type of file system", option=option)
    if kind in _NETWORK_TYPES:
        _check_address(words, option)
    return VolumeSource(device, kind, words)


def _bind(device: str, words: tuple[str, ...], option: str) -> VolumeSource:
    if "bind" not in words and "rbind" not in words:
        raise Invalid("type none mounts nothing by itself", option=option, hint="add o: bind")
    if not device.startswith("/"):
        raise Invalid(f"device {device!r} is not an absolute path", option=option)
    unknown = [word for word in words if word not in _BIND_WORDS]
    if unknown:
        raise Invalid(f"{unknown[0]!r} in o is not an option of a bind mount", option=option)
    return VolumeSource(device, "", words)


def _check_address(words: tuple[str, ...], option: str) -> None:
    for word in words:
        name, _, value = word.partition("=")
        if name == "addr" and not (_ADDRESS.issuperset(value) and ("." in value or ":" in value)):
            raise Invalid(
                f"addr={value} is not a numeric address",
                option=option,
                hint="write the server's IP address, not its name",
            )
