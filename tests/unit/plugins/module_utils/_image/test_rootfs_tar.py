# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What of a template becomes the layer."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.rootfs_tar import Template, survey

from tests.support.tars import directory, entry, hard_link, make_tar, symlink


def layer_of(data: bytes, *, piece: int = 1000) -> bytes:
    pieces = []
    with Template(io.BytesIO(data), "a file") as template:
        while data := template.read(piece):
            pieces.append(data)
    return b"".join(pieces)


@pytest.mark.parametrize(
    "tar",
    [
        make_tar(entry("a", b"x")),
        make_tar(directory("./"), entry("./a", b"x")),
        make_tar(directory("etc"), directory("rootfs"), entry("rootfs/x")),
        make_tar(entry("rootfs.txt")),
        make_tar(*[directory("./")] * 9, directory("rootfs")),
        b"no tar at all" * 100,
        b"",
    ],
)
def test_what_holds_the_root_itself_stays_bit_for_bit(tar: bytes) -> None:
    assert layer_of(tar) == tar
    assert layer_of(gzip.compress(tar, mtime=0)) == gzip.compress(tar, mtime=0)


@pytest.mark.parametrize("first", [entry("metadata.yaml", b"a: b"), entry("./metadata.yaml"), directory("rootfs")])
def test_of_an_lxc_image_the_root_file_system_stays(first: tuple[tarfile.TarInfo, bytes]) -> None:
    tar = make_tar(
        first,
        entry("templates/x"),
        directory("rootfs", mode=0o711),
        entry("rootfs/a", b"x" * 1000, mode=0o4755, uid=3, mtime=1.5),
        hard_link("./rootfs/b", "rootfs/a"),
        symlink("rootfs/c", "/rootfs/a"),
    )
    layer = layer_of(gzip.compress(tar))
    assert layer == layer_of(tar, piece=7)
    with tarfile.open(fileobj=io.BytesIO(layer)) as made:
        found = {info.name: info for info in made}
        assert list(found)[-3:] == ["a", "b", "c"] and found["."].mode == 0o711
        assert (found["a"].mode, found["a"].uid, found["a"].mtime) == (0o4755, 3, 1.5)
        assert (found["b"].linkname, found["c"].linkname) == ("a", "/rootfs/a")
        assert made.extractfile("b").read() == b"x" * 1000  # type: ignore[union-attr]


def test_a_survey_tells_what_unpacking_would() -> None:
    tar = make_tar(entry("a", b"x" * 1000, mtime=5), entry("b", mtime=7.5), entry("c", mtime=6))
    found = survey(io.BytesIO(gzip.compress(tar)), "a file")
    assert found.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert (found.stream_bytes, found.entries, found.newest_ns) == (len(tar), 3, 7_500_000_000)
    with pytest.raises(Damaged, match="cut off"):
        survey(io.BytesIO(tar[:700]), "a file")


def test_no_more_is_read_ahead_than_a_template_has_before_its_first_name() -> None:
    read = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    tar = make_tar(entry(".", bytes(20 * 1024 * 1024)), directory("rootfs"))
    with Template(Counted(tar), "a file") as template:
        first = template.read(1000)
        assert read < 5 * 1024 * 1024
        assert first + b"".join(iter(lambda: template.read(1 << 20), b"")) == tar
