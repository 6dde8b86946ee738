# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write for volumes, mounts and tmpfs, as MountSpecs. Pure: nothing is looked up on the host.

Forms as in community.docker's docker_container and Docker's -v, --mount and --tmpfs.
"""

from __future__ import annotations

import os

from .._base.errors import Invalid
from .._base.names import check_name
from .._base.spec import MountSpec
from .._base.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_IGNORED_MODES = ("z", "Z", "consistent", "cached", "delegated")
_RESERVED = ("/", "/proc", "/sys", "/dev")
_TMPFS_FLAGS = ("ro", "rw", "nosuid", "nodev", "noexec", "suid", "dev", "exec")
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")


def check_target(path: str, option: str) -> str:
    """The normalised path in the container. Raises Invalid for a relative one or one that may not be covered."""
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"{path!r} is not an absolute path in the container", option=option)
    normal = os.path.normpath("/" + path.lstrip("/"))
    if normal in _RESERVED or normal.startswith(("/proc/", "/sys/")):
        raise Invalid(f"{path!r} can't be covered by a mount", option=option)
    return normal


def parse_volume(text: str) -> MountSpec:
    """A `volumes` entry: `/target`, `name:/target[:modes]` or `/host/path:/target[:modes]`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise Invalid(
            f"{text!r} is not a volume", option="volumes", hint="write source:/target, source:/target:ro or /target"
        )
    if len(parts) == 1:
        return MountSpec("volume", check_target(parts[0], "volumes"))
    source, target = parts[0], check_target(parts[1], "volumes")
    modes = parts[2].split(",") if len(parts) == 3 else []
    fields: dict[str, Any] = {}
    for mode in modes:
        if mode in ("ro", "rw"):
            fields["read_only"] = mode == "ro"
        elif mode in _PROPAGATION:
            fields["propagation"] = mode
        elif mode == "nocopy":
            fields["copy_up"] = False
        elif mode not in _IGNORED_MODES:
            raise Invalid(f"{mode!r} in {text!r} is not a mode", option="volumes", hint="ro, rw, nocopy, rshared ...")
    if source[0] in "/.~":
        path = os.path.normpath(os.path.abspath(os.path.expanduser(source)))
        return MountSpec("bind", target, path, create_source=True, **fields)
    return MountSpec("volume", target, check_name(source, option="volumes"), **fields)


def _boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes", "on", "")


def parse_mount(entry: dict[str, Any]) -> MountSpec:
    """A `mounts` entry, a dict with `target`, `source`, `type` and docker_container's sub-options."""
    kind = entry.get("type") or "volume"
    target = check_target(str(entry.get("target") or ""), "mounts")
    source = str(entry.get("source") or "")
    if kind not in ("bind", "volume", "tmpfs"):
        raise Invalid(f"type {kind!r} is not known", option="mounts", hint="use bind, volume or tmpfs")
    if kind == "bind" and not source.startswith("/"):
        raise Invalid(f"a bind mount at {target} needs an absolute source, not {source!r}", option="mounts")
    if kind == "tmpfs" and source:
        raise Invalid(f"a tmpfs at {target} takes no source", option="mounts")
    if kind == "volume" and source:
        check_name(source, option="mounts")
    mode = entry.get("tmpfs_mode")
    return MountSpec(
        kind,
        target,
        os.path.normpath(source) if kind == "bind" else source,
        read_only=_boolean(entry.get("read_only") or False),
        propagation=str(entry.get("propagation") or "rprivate"),
        copy_up=not _boolean(entry.get("no_copy") or False),
        recursive=not _boolean(entry.get("non_recursive") or False),
        create_source=_boolean(entry.get("create_mountpoint") or False),
        size_bytes=parse_size(entry["tmpfs_size"], option="mounts") if entry.get("tmpfs_size") else 0,
        mode=_octal(mode, "mounts") if mode else 0o1777,
    )


def _octal(value: Any, option: str) -> int:
    try:
        return int(str(value), 8)
    except ValueError as error:
        raise Invalid(f"{value!r} is not an octal mode", option=option, hint="write it like '1777'") from error


def parse_tmpfs(target: str, text: str) -> MountSpec:
    """A `tmpfs` entry: a path and mount options such as `size=64m,mode=1777,noexec`."""
    path = check_target(target, "tmpfs")
    fields: dict[str, Any] = {}
    others = []
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        if name == "size":
            fields["size_bytes"] = parse_size(value, option="tmpfs")
        elif name == "mode":
            fields["mode"] = _octal(value, "tmpfs")
        elif name == "ro":
            fields["read_only"] = True
        elif name in _TMPFS_FLAGS or (name in _TMPFS_DATA and value):
            others.append(item)
        else:
            raise Invalid(f"{item!r} of {target} is not a tmpfs option", option="tmpfs")
    return MountSpec("tmpfs", path, options=tuple(others), **fields)


def parse_mounts(options: dict[str, Any]) -> tuple[MountSpec, ...]:
    """All mounts of `volumes`, `mounts` and `tmpfs`, by target. Raises Invalid where one target is given twice."""
    found = [parse_volume(str(text)) for text in options.get("volumes") or ()]
    found += [parse_mount(entry) for entry in options.get("mounts") or ()]
    tmpfs = options.get("tmpfs") or ()
    entries = tmpfs.items() if isinstance(tmpfs, dict) else (str(text).partition(":")[::2] for text in tmpfs)
    found += [parse_tmpfs(str(target), str(text or "")) for target, text in entries]
    seen = set()
    for mount in found:
        if mount.target in seen:
            raise Invalid(f"{mount.target} is mounted twice", option="volumes", hint="see volumes, mounts and tmpfs")
        seen.add(mount.target)
    return tuple(sorted(found, key=lambda mount: mount.target))
