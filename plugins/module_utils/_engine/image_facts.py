# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An image's configuration as the engine reads it, and an image in the shape of `docker image inspect`.

Source: OCI image specification, config.md; Docker Engine API, ImageInspect.
"""

from __future__ import annotations

from .._base.clock import format_time
from .._base.codec import parse
from .._base.errors import Damaged
from .._base.spec import HealthSpec
from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._base.paths import Paths
    from .._store.records import ImageRecord, TagRecord


class ImageConfig(Value):
    """What an image says about the containers made from it. Missing means empty, as `null` does."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    env: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    labels: dict[str, str] = {}
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    health: HealthSpec | None = None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def _health(value: Any) -> HealthSpec | None:
    if not isinstance(value, dict) or not value.get("Test"):
        return None
    fields: dict[str, Any] = {}
    for key, name in (
        ("Interval", "interval_ns"),
        ("Timeout", "timeout_ns"),
        ("StartPeriod", "start_period_ns"),
        ("StartInterval", "start_interval_ns"),
        ("Retries", "retries"),
    ):
        if isinstance(value.get(key), int) and value[key] > 0:
            fields[name] = value[key]
    return HealthSpec(_texts(value["Test"]), **fields)


def read_config(record: ImageRecord) -> ImageConfig:
    """The part of an image's configuration that containers inherit. Raises Damaged where it has the wrong shape."""
    document = parse(record.config, source=f"the configuration of image {record.id}")
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(config or {}, dict):
        raise Damaged(f"read the configuration of image {record.id}: not an image configuration")
    config = config or {}
    return ImageConfig(
        architecture=str(document.get("architecture") or ""),
        os=str(document.get("os") or ""),
        variant=str(document.get("variant") or ""),
        env=_texts(config.get("Env")),
        command=_texts(config.get("Cmd")),
        entrypoint=_texts(config.get("Entrypoint")),
        working_dir=str(config.get("WorkingDir") or ""),
        user=str(config.get("User") or ""),
        labels={str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
        volumes=_texts(config.get("Volumes")),
        exposed_ports=_texts(config.get("ExposedPorts")),
        stop_signal=str(config.get("StopSignal") or ""),
        health=_health(config.get("Healthcheck")),
    )


def is_for(config: ImageConfig, platform: str) -> bool:
    """Whether an image is for a platform such as `linux/arm64`; a variant counts where both name one.

    Raises Invalid.
    """
    from .._image.platform import parse_platform

    wanted = parse_platform(platform)
    same_variant = not wanted.variant or not config.variant or wanted.variant == config.variant
    return (wanted.os, wanted.architecture) == (config.os, config.architecture) and same_variant


def created_ns(record: ImageRecord) -> int:
    """When an image was made, by its own word; 0 where it does not say."""
    from .._base.clock import parse_time
    from .._base.errors import Invalid

    document = parse(record.config, source=f"the configuration of image {record.id}")
    created = document.get("created") if isinstance(document, dict) else None
    try:
        return max(parse_time(str(created), option="created"), 0) if created else 0
    except Invalid:
        return 0


def _repo_digest(name: str, digest: str) -> str:
    """`debian@sha256:...` for a name as people write it; empty where no registry is known to have the image so."""
    if "@" in name:
        return name
    return f"{name.rpartition(':')[0]}@{digest}" if digest else ""


def inspect_image(paths: Paths, record: ImageRecord, tags: list[TagRecord], familiar: Any) -> dict[str, Any]:
    """The image as Docker's inspect shows it. `familiar` shortens a canonical reference: debian:12."""
    document = parse(record.config, source=f"the configuration of image {record.id}")
    names = [tag.reference for tag in tags if "@" not in tag.reference]
    digests = sorted({_repo_digest(familiar(tag.reference), tag.digest) for tag in tags} - {""})
    history = document.get("history") or [{}]
    return {
        "Id": record.id,
        "RepoTags": [familiar(name) for name in names],
        "RepoDigests": digests,
        "Parent": "",
        "Comment": str(history[-1].get("comment") or ""),
        "Created": document.get("created") or format_time(0),
        "Author": str(document.get("author") or ""),
        "Config": document.get("config") or {},
        "Architecture": document.get("architecture") or "",
        "Variant": document.get("variant") or "",
        "Os": document.get("os") or "",
        "Size": record.size_bytes,
        "VirtualSize": record.size_bytes,
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {"LowerDir": ":".join(paths.stack(record.stack))},
        },
        "RootFS": {"Type": "layers", "Layers": list(record.layers)},
        "Metadata": {"LastTagTime": format_time(record.created_ns)},
    }
