# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The images of a docker-archive: `manifest.json` lists configurations, layers and names.

Docker before 25 has a directory with `layer.tar` per layer and links where layers are equal, skopeo and podman have
`<digits>.tar`, Docker 25 and later blobs by digest with an OCI layout around them. Where that layout has the manifest
of an image, the image keeps it.

Source: moby image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from .._base.codec import parse
from .._base.digests import is_digest, sha256_of
from .._base.errors import Damaged
from .._base.values import replace
from .archived_image import ArchivedImage, ArchivedLayer, canonical_reference
from .manifest import MAX_DOCUMENT, MAX_LAYERS, parse_config
from .oci_layout import INDEX, MARK, images_by_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .archive_files import ArchiveFiles
    from .manifest import ImageConfig

LIST = "manifest.json"
_NO_NAME = "<none>:<none>"
_MOST_IMAGES = 1000


def find_docker_images(files: ArchiveFiles) -> list[ArchivedImage]:
    """The images of manifest.json. Raises Damaged."""
    entries = parse(files.read(LIST, MAX_DOCUMENT), source=f"{LIST} in {files.what}")
    if isinstance(entries, dict) and "layers" in entries:
        raise Damaged(
            f"load {files.what}: skopeo's form dir:, which podman calls docker-dir",
            hint="save it as docker-archive, oci-archive or oci-dir",
        )
    if not isinstance(entries, list) or not entries:
        raise Damaged(f"load {files.what}: {LIST} lists no images")
    if len(entries) > _MOST_IMAGES:
        raise Damaged(f"load {files.what}: {LIST} lists {len(entries)} images, the limit is {_MOST_IMAGES}")
    configs: dict[str, ImageConfig] = {}
    images = [_image(files, entry, configs) for entry in entries]
    described = images_by_config(files) if files.has(INDEX) and files.has(MARK) else {}
    return [
        replace(described[image.config.digest], references=image.references)
        if image.config.digest in described
        else image
        for image in images
    ]


def _image(files: ArchiveFiles, entry: Any, configs: dict[str, ImageConfig]) -> ArchivedImage:
    """The image of one entry. `configs` are those read so far: many entries may name one that is large."""
    fields = entry if isinstance(entry, dict) else {}
    config_name, layers, tags = fields.get("Config"), fields.get("Layers") or [], fields.get("RepoTags") or []
    if not isinstance(config_name, str) or not _are_texts(layers) or not _are_texts(tags) or len(layers) > MAX_LAYERS:
        raise Damaged(f"load {files.what}: {LIST} has an entry without valid Config, Layers and RepoTags")
    data = files.read(config_name, MAX_DOCUMENT)
    digest = sha256_of(data)
    stated = "sha256:" + config_name.rpartition("/")[2].partition(".")[0]
    if is_digest(stated) and stated != digest:
        raise Damaged(f"load {files.what}: the image configuration {config_name} has the digest {digest}")
    config = configs.get(digest)
    if config is None or len(config.diff_ids) != len(layers):
        config = configs[digest] = parse_config(data, digest, layer_count=len(layers))
    archived = tuple(ArchivedLayer(diff_id, name) for name, diff_id in zip(layers, config.diff_ids))
    references = tuple(canonical_reference(files, tag) for tag in tags if tag != _NO_NAME)
    return ArchivedImage(config, archived, references)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
