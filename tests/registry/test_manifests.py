# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Unusual images that are right: other digests, compression that is not the label's, a layer that is there twice."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, NotFound
from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import pull, resolve
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistrySettings
from ansible_collections.hull.engine.plugins.module_utils._store.database import Database, open_database
from ansible_collections.hull.engine.plugins.module_utils._store.records import ImageRecord

from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import (
    OCI,
    File,
    Image,
    as_json,
    compress,
    digest_of,
    directory,
    make_image,
    make_index,
    platform_of,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners, which takes root")

PLATFORM = parse_platform("linux/amd64")
IMAGE = make_image([{"file": b"content" * 1000}])
TAR = IMAGE.layers[0].tar


class Store:
    """A state directory of its own, and the pull into it."""

    def __init__(self, place: Path) -> None:
        self.paths = Paths(f"{place}/root", f"{place}/run", f"{place}/config")
        database = open_database(self.paths, create=True)
        assert database is not None
        self.database: Database = database

    def pull(self, reference: str) -> ImageRecord:
        return pull(self.paths, self.database, parse_reference(reference), PLATFORM, config=RegistrySettings())

    def content(self, record: ImageRecord, name: str) -> bytes:
        """A file of the image as overlayfs shows it."""
        mount = f"{self.paths.root}/shown"
        bottom = f"{self.paths.root}/bottom"  # without an upper directory overlayfs wants two lower ones
        os.makedirs(mount, exist_ok=True)
        os.makedirs(bottom, exist_ok=True)
        lower = ":".join([*self.paths.stack(record.stack), bottom])
        script = 'mount -t overlay overlay -o "ro,lowerdir=$1" "$2" && cat "$2/$3"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", lower, mount, name]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.database.close()


def _with_blob(blob: bytes, media_type: str, **descriptor: Any) -> Image:
    """The image with its layer as these bytes."""
    manifest = json.loads(IMAGE.manifest)
    entry = {"mediaType": media_type, "digest": digest_of(blob), "size": len(blob), **descriptor}
    manifest["layers"] = [entry]
    return Image(as_json(manifest), IMAGE.media_type, IMAGE.config, [], {IMAGE.id: IMAGE.config, entry["digest"]: blob})


BLOBS = {
    "plain": TAR,
    "gzip": compress(TAR, "gzip"),
    "members": gzip.compress(TAR[:5000]) + gzip.compress(b"") + gzip.compress(TAR[5000:]),
    "zstd": compress(TAR, "zstd"),
    "frames": compress(TAR[:5000], "zstd") + compress(TAR[5000:], "zstd"),
}


@pytest.mark.parametrize("label", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("form", BLOBS)
def test_what_a_layer_is_counts_and_not_its_label(store: Store, form: str, label: str) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", _with_blob(BLOBS[form], OCI[label]))
    with server:
        record = store.pull(reference)
    assert record.id == IMAGE.id
    assert store.content(record, "file") == b"content" * 1000


@pytest.mark.parametrize("entries", [{"a": b"1"}, {}], ids=["with a file", "empty"])
def test_a_layer_that_is_there_twice_is_shown_where_it_is_on_top(store: Store, entries: dict[str, bytes]) -> None:
    first: dict[str, File | bytes] = {"d": directory(0o700), "d/file": b"first", **entries}
    second: dict[str, File | bytes] = {"d": directory(), "d/file": b"second", "d/.wh.gone": b"", "other": b"other"}
    image = make_image([first, entries, second, entries, first, entries])  # type: ignore[list-item]
    server = FaultyRegistry()
    reference = server.add("a", "1", image)
    with server:
        record = store.pull(reference)
    assert record.layers == image.diff_ids
    assert store.content(record, "d/file") == b"first"
    assert store.content(record, "other") == b"other"


def _sha512(data: bytes) -> str:
    return "sha512:" + hashlib.sha512(data).hexdigest()


def test_manifests_and_blobs_may_be_named_by_sha512(store: Store) -> None:
    config, blob = IMAGE.config, BLOBS["gzip"]
    manifest = json.loads(IMAGE.manifest)
    manifest["config"].update(digest=_sha512(config))
    manifest["layers"][0].update(digest=_sha512(blob))
    image = Image(as_json(manifest), IMAGE.media_type, config, [], {})
    image.blobs.update({_sha512(config): config, _sha512(blob): blob})
    entry = {**image.descriptor(platform=platform_of("linux/amd64")), "digest": _sha512(image.manifest)}
    index, kind = make_index([entry])
    server = FaultyRegistry()
    server.add("a", "x", image)
    server.add_manifest("a", _sha512(image.manifest), image.manifest, image.media_type)
    reference = server.add_manifest("a", _sha512(index), index, kind)
    with server:
        record = store.pull(reference)
        assert record.id == _sha512(config)
        assert store.content(record, "file") == b"content" * 1000
        assert store.pull(reference) == record


@pytest.mark.parametrize("digest", ["blake3:" + "0" * 64, "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_other_digests_are_refused_before_anything_is_asked_for(digest: str) -> None:
    server = FaultyRegistry()
    entry = {**IMAGE.descriptor(platform=platform_of("linux/amd64")), "digest": digest}
    reference = server.add_manifest("a", "1", *make_index([entry]))
    with server:
        with pytest.raises(Damaged, match="is not a sha256 or sha512 digest"):
            resolve(parse_reference(reference), PLATFORM, config=RegistrySettings())
        assert len(server.requests()) == 1


def test_the_platform_of_an_index_decides_and_the_attestations_beside_it_do_not() -> None:
    server = FaultyRegistry()
    server.add("a", "x", IMAGE)
    unknown = IMAGE.descriptor(
        platform={"os": "unknown", "architecture": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    arm = IMAGE.descriptor(platform=platform_of("linux/arm64/v8"))
    reference = server.add_manifest("a", "1", *make_index([unknown, arm]))
    with server, pytest.raises(NotFound, match=f"linux/amd64 in image {reference}: not on offer; it has linux/arm64;"):
        resolve(parse_reference(reference), PLATFORM, config=RegistrySettings())
