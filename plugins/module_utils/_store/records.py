# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The rows of the database as values. Times are nanoseconds since the epoch, sizes bytes."""

from __future__ import annotations

from .._base.values import Value


class ImageRecord(Value):
    """An image: its id is the digest of `config`, the exact text of the OCI or Docker image configuration."""

    id: str
    config: str
    manifest: str
    manifest_digest: str
    layers: tuple[str, ...]  # diff IDs, lowest first
    size_bytes: int
    created_ns: int  # when it came into this store
    stack: tuple[str, ...] = ()  # directories below the root that overlayfs stacks, lowest first


class TagRecord(Value):
    """A reference that names an image. `digest` is the registry's (of index or manifest), or empty."""

    reference: str  # canonical: docker.io/library/debian:12, or docker.io/library/debian@sha256:...
    image_id: str
    digest: str = ""


class LayerRecord(Value):
    """An unpacked layer that images share."""

    diff_id: str
    size_bytes: int
    created_ns: int


class BlobRecord(Value):
    """A compressed form of a layer, as a manifest describes it. Whether its bytes are kept is asked of the disk."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int


class ContainerRecord(Value):
    """A container as declared: facts about its running state are asked of the kernel, never kept here."""

    id: str
    name: str
    image_id: str
    image_name: str
    created_ns: int
    spec: str  # ContainerSpec as JSON
    launch: str  # LaunchPlan as JSON
    volumes: tuple[str, ...] = ()  # named and anonymous volumes that it uses


class VolumeRecord(Value):
    """A named volume of the local driver."""

    name: str
    created_ns: int
    driver: str = "local"
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False


class NetworkRecord(Value):
    """A bridge network."""

    name: str
    bridge: str
    subnet: str  # 10.88.0.0/16
    gateway: str  # 10.88.0.1


class LeaseRecord(Value):
    """An address that a container holds in a network from its creation to its removal."""

    network: str
    address: str  # 10.88.0.5
    container_id: str
