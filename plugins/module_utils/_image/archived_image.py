# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What an archive says about the images in it, whatever its format is. Nothing of it was checked against the layers."""

from __future__ import annotations

from .._base.errors import Damaged, Invalid
from .._base.values import Value
from .reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .archive_files import ArchiveFiles
    from .manifest import ImageConfig


class ArchivedLayer(Value):
    """One layer: the file's name in the archive, and what it must hold and be."""

    diff_id: str
    name: str
    digest: str = ""  # of the file as it lies there, empty where the archive does not say
    size: int = -1  # of the file, -1 where the archive does not say
    media_type: str = ""


class ArchivedImage(Value):
    """One image with its layers, lowest first; `manifest` and its digest are empty where the archive has none."""

    config: ImageConfig
    layers: tuple[ArchivedLayer, ...]
    references: tuple[str, ...] = ()  # canonical
    manifest: str = ""
    manifest_digest: str = ""


def canonical_reference(files: ArchiveFiles, text: str, digest: str = "") -> str:
    """The canonical form of a name that an archive gives to an image. Raises Damaged.

    A digest in it has to be the one given, which is checked: whoever names an image by digest relies on that.
    """
    try:
        reference = parse_reference(text)
    except Invalid as error:
        raise Damaged(f"load {files.what}: it names an image {text[:100]!r}: {error.message}") from error
    if reference.digest not in ("", digest):
        raise Damaged(f"load {files.what}: it names an image {text[:300]!r}, which has another digest")
    return reference.canonical
