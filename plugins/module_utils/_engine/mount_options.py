# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What users write for volumes, mounts and tmpfs, as MountSpecs. Pure, but for `~` and `.` in a path of the host.

Forms as in community.docker's docker_container and Docker's -v, --mount, --tmpfs and --volumes-from. What means the
same gives equal specs, so that a task is compared with what was declared before, whichever way it is written.
"""

from __future__ import annotations

import os

from .._base.errors import Invalid
from .._base.names import check_name
from .._base.spec import MountSpec
from .._base.units import parse_size
from .tmpfs_options import octal, tmpfs_spec
from .volume_options import check_driver, volume_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
# A mode and what it is about: of each kind there may be one. Labels and consistency mean nothing here.
_MODES = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(_PROPAGATION, "propagation"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(("consistent", "cached", "delegated"), "consistency"),
    "nocopy": "copy",
}
_SHARED_MODES = ("access", "label", "consistency")  # those of volumes_from
_RESERVED = ("/", "/proc", "/sys", "/dev")
_TYPES = ("bind", "volume", "tmpfs", "image")
_ELSEWHERE = {
    "npipe": "named pipes are Windows's",
    "cluster": "cluster volumes are Docker Swarm's",
}
# Suboptions of a mount that are for these types only.
_FOR_TYPES = {
    **dict.fromkeys(("propagation", "create_mountpoint", "non_recursive"), ("bind",)),
    **dict.fromkeys(("read_only_non_recursive", "read_only_force_recursive"), ("bind",)),
    **dict.fromkeys(("no_copy", "labels", "volume_driver", "volume_options"), ("volume",)),
    "subpath": ("volume", "image"),
    **dict.fromkeys(("tmpfs_size", "tmpfs_mode", "tmpfs_options"), ("tmpfs",)),
}
_CONSISTENCIES = ("cached", "consistent", "default", "delegated")


def check_target(path: str, option: str, *, bind: bool = False) -> str:
    """The normalised path in the container. Raises Invalid for a relative one or one that may not be covered.

    A directory of the host may be shown at /sys and below it, as programs that look after the host want it.
    """
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"{path!r} is not an absolute path in the container", option=option)
    normal = os.path.normpath("/" + path.lstrip("/"))
    if bind and (normal == "/sys" or normal.startswith("/sys/")):
        return normal
    if normal in _RESERVED or normal.startswith(("/proc/", "/sys/")):
        raise Invalid(f"{path!r} can't be covered by a mount", option=option)
    return normal


def _host_path(source: str) -> str:
    return os.path.normpath("/" + os.path.abspath(os.path.expanduser(source)).lstrip("/"))


def _is_host_path(source: str) -> bool:
    return source[:1] in ("/", ".", "~")


def _modes(text: str, entry: str, option: str, hint: str) -> dict[str, str]:
    """The modes after the last colon by what they are about. Raises Invalid where two are about the same."""
    found: dict[str, str] = {}
    for mode in text.split(","):
        kind = _MODES.get(mode)
        if kind is None:
            raise Invalid(f"{mode!r} in {entry!r} is not a mode", option=option, hint=hint)
        if kind in found:
            raise Invalid(f"{found[kind]!r} and {mode!r} in {entry!r} don't go together", option=option)
        found[kind] = mode
    return found


def parse_volume(text: str) -> MountSpec:
    """A `volumes` entry: `/target`, `name:/target[:modes]` or `/host/path:/target[:modes]`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise Invalid(
            f"{text!r} is not a volume", option="volumes", hint="write source:/target, source:/target:ro or /target"
        )
    if len(parts) == 1:
        return MountSpec("volume", check_target(parts[0], "volumes"))
    source = parts[0]
    is_bind = _is_host_path(source)
    target = check_target(parts[1], "volumes", bind=is_bind)
    modes = _modes(parts[2], text, "volumes", "ro, rw, nocopy, rshared ...") if len(parts) == 3 else {}
    read_only = modes.get("access") == "ro"
    if is_bind:
        if "copy" in modes:
            raise Invalid(f"'nocopy' in {text!r} is for volumes, not for a path of the host", option="volumes")
        propagation = modes.get("propagation", MountSpec.propagation)
        return MountSpec(
            "bind", target, _host_path(source), read_only=read_only, propagation=propagation, create_source=True
        )
    if "propagation" in modes:
        raise Invalid(f"{modes['propagation']!r} in {text!r} is for paths of the host", option="volumes")
    name = check_name(source, option="volumes")
    return MountSpec("volume", target, name, read_only=read_only, copy_up="copy" not in modes)


def _boolean(entry: dict[str, Any], name: str) -> bool:
    value = entry.get(name)
    return value if isinstance(value, bool) else str(value or "").lower() in ("1", "true", "yes", "on")


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), "" if text is None else str(text)) for name, text in (value or {}).items()))


def parse_mount(entry: dict[str, Any]) -> MountSpec:
    """A `mounts` entry, a dict with `target`, `source`, `type` and docker_container's sub-options. Raises Invalid."""
    kind = str(entry.get("type") or "volume")
    if kind not in _TYPES:
        raise Invalid(
            f"type {kind!r} is not possible here" + (f": {_ELSEWHERE[kind]}" if kind in _ELSEWHERE else ""),
            option="mounts",
            hint=f"use {', '.join(_TYPES)}",
        )
    target = check_target(str(entry.get("target") or ""), "mounts", bind=kind == "bind")
    for name, kinds in _FOR_TYPES.items():
        if entry.get(name) is not None and kind not in kinds:
            raise Invalid(f"{name} of {target} is for type {' and '.join(kinds)}, not for {kind}", option="mounts")
    if entry.get("consistency") not in (None, *_CONSISTENCIES):
        raise Invalid(f"consistency {entry['consistency']!r} of {target} is not known", option="mounts")
    return {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image}[kind](entry, target)


def _bind(entry: dict[str, Any], target: str) -> MountSpec:
    source = str(entry.get("source") or "")
    if not _is_host_path(source):
        raise Invalid(
            f"a bind mount at {target} needs a path of the host as its source, not {source!r}", option="mounts"
        )
    read_only, recursive = _boolean(entry, "read_only"), not _boolean(entry, "non_recursive")
    weak, strong = _boolean(entry, "read_only_non_recursive"), _boolean(entry, "read_only_force_recursive")
    for name, is_given in (("read_only_non_recursive", weak), ("read_only_force_recursive", strong)):
        if is_given and not read_only:
            raise Invalid(
                f"{name} of {target} says how, but not that it is read-only", option="mounts", hint="set read_only"
            )
    propagation = str(entry.get("propagation") or MountSpec.propagation)
    if propagation not in _PROPAGATION:
        raise Invalid(f"propagation {propagation!r} of {target} is not known", option="mounts")
    if strong and (weak or not recursive or propagation not in ("private", "rprivate")):
        raise Invalid(
            f"read_only_force_recursive of {target} goes with neither non_recursive, read_only_non_recursive nor a "
            "propagation other than rprivate",
            option="mounts",
        )
    return MountSpec(
        "bind",
        target,
        _host_path(source),
        read_only=read_only,
        propagation=propagation,
        recursive=recursive,
        create_source=_boolean(entry, "create_mountpoint"),
        read_only_recursive=not (weak and recursive),
    )


def _volume(entry: dict[str, Any], target: str) -> MountSpec:
    source, subpath = str(entry.get("source") or ""), _subpath(entry, target)
    read_only = _boolean(entry, "read_only")
    if source:
        check_name(source, option="mounts")
    elif subpath or read_only:
        what = "a subpath" if subpath else "read_only"
        raise Invalid(f"{what} at {target} needs a volume with a name: one without is empty", option="mounts")
    check_driver(entry.get("volume_driver"), option="mounts")
    options = _pairs(entry.get("volume_options"))
    volume_source(dict(options), option="mounts")
    return MountSpec(
        "volume",
        target,
        source,
        read_only=read_only,
        copy_up=not _boolean(entry, "no_copy"),
        subpath=subpath,
        volume_labels=_pairs(entry.get("labels")),
        volume_options=options,
    )


def _image(entry: dict[str, Any], target: str) -> MountSpec:
    source = str(entry.get("source") or "")
    if not source:
        raise Invalid(f"an image at {target} needs its name as source", option="mounts")
    return MountSpec("image", target, source, read_only=True, subpath=_subpath(entry, target))


def _subpath(entry: dict[str, Any], target: str) -> str:
    """A path below the top of a volume or an image; "" is the top itself."""
    text = str(entry.get("subpath") or "")
    if text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise Invalid(f"subpath {text!r} of {target} is not a path inside", option="mounts", hint="write it like a/b")
    return "" if text in ("", ".") else os.path.normpath(text)


def _tmpfs(entry: dict[str, Any], target: str) -> MountSpec:
    if entry.get("source"):
        raise Invalid(f"a tmpfs at {target} takes no source", option="mounts")
    words = []
    for item in entry.get("tmpfs_options") or ():
        if not isinstance(item, dict) or len(item) != 1:
            raise Invalid(
                f"{item!r} in tmpfs_options of {target} is not one key with a value",
                option="mounts",
                hint="write - uid: '1000' or - exec: null",
            )
        ((name, value),) = item.items()
        words.append(str(name) if value in (None, "") else f"{name}={value}")
    fields: dict[str, Any] = {"read_only": _boolean(entry, "read_only")}
    if entry.get("tmpfs_size"):
        fields["size_bytes"] = parse_size(entry["tmpfs_size"], option="mounts")
    if entry.get("tmpfs_mode"):
        fields["mode"] = octal(entry["tmpfs_mode"], "mounts")
    return tmpfs_spec(target, words, "mounts", **fields)


def parse_tmpfs(target: str, text: str) -> MountSpec:
    """A `tmpfs` entry: a path and mount options such as `size=64m,mode=1777,noexec`."""
    return tmpfs_spec(check_target(target, "tmpfs"), filter(None, text.split(",")), "tmpfs")


def parse_mounts(options: dict[str, Any]) -> tuple[MountSpec, ...]:
    """All mounts of `volumes`, `mounts` and `tmpfs`, by target. Raises Invalid where one target is given twice."""
    check_driver(options.get("volume_driver"), option="volume_driver")
    tmpfs = options.get("tmpfs") or ()
    texts = [tmpfs] if isinstance(tmpfs, str) else tmpfs
    entries = tmpfs.items() if isinstance(tmpfs, dict) else (str(text).partition(":")[::2] for text in texts)
    found = [("volumes", parse_volume(str(text))) for text in options.get("volumes") or ()]
    found += [("mounts", parse_mount(entry)) for entry in options.get("mounts") or ()]
    found += [("tmpfs", parse_tmpfs(str(target), str(text or ""))) for target, text in entries]
    return tuple(sorted(_once(found), key=lambda mount: mount.target))


def _once(found: list[tuple[str, MountSpec]]) -> list[MountSpec]:
    seen: dict[str, str] = {}
    for option, mount in found:
        if mount.target in seen:
            where = option if option == seen[mount.target] else f"{seen[mount.target]} and {option}"
            raise Invalid(f"{mount.target} is mounted twice, in {where}", option=option)
        seen[mount.target] = option
    return [mount for _option, mount in found]


def parse_volumes_from(entries: Any) -> tuple[str, ...]:
    """The entries of `volumes_from`, `name` or `name:ro`; what means the same is written the same. Raises Invalid."""
    found = []
    for entry in map(str, entries or ()):
        name, colon, text = entry.partition(":")
        modes = _modes(text, entry, "volumes_from", "use ro or rw") if colon else {}
        if not name or not set(modes) <= set(_SHARED_MODES):
            raise Invalid(
                f"{entry!r} is not a container with a mode", option="volumes_from", hint="write name or name:ro"
            )
        found.append(f"{name}:ro" if modes.get("access") == "ro" else name)
    return tuple(dict.fromkeys(found))
