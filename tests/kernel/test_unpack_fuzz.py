# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The tar reader against generated archives: read as tarfile and GNU tar read them, and safe whatever is broken."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged, Unsupported
from ansible_collections.hull.engine.plugins.module_utils._image.tar import TarReader
from ansible_collections.hull.engine.plugins.module_utils._image.unpack import UnpackLimits, unpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.memory_directory import memory_directory
from tests.support.tars import describe, entry, make_tar

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/"), min_size=1, max_size=120)
paths = (
    st.lists(names, min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda path: not any(part in (".", "..") for part in path.split("/")) and len(path.encode()) < 250)
)
entries = st.builds(
    lambda name, kind, content, fields: entry(
        name,
        content if kind == tarfile.REGTYPE else b"",
        type=kind,
        linkname="target/of it" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "",
        **fields,
    ),
    paths,
    st.sampled_from([tarfile.REGTYPE] * 3 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]),
    st.binary(max_size=2000),
    st.fixed_dictionaries(
        {
            "mode": st.integers(0, 0o7777),
            "uid": st.integers(0, 2**32 - 2),
            "gid": st.integers(0, 2**32 - 2),
            "mtime": st.integers(0, 2**33 - 1),
        }
    ),
)


def read(data: bytes) -> list[tuple[Any, ...]]:
    reader = TarReader(io.BytesIO(data), what="archive")
    return [
        (
            *(found.name.rstrip(b"/"), found.kind, found.mode, found.uid, found.gid, found.mtime_ns),
            *(found.link, reader.read_all(1 << 20)),
        )
        for found in reader
    ]


def read_by_tarfile(data: bytes) -> list[tuple[Any, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        result = []
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            result.append(
                (
                    *(os.fsencode(info.name), info.type, info.mode, info.uid, info.gid, int(info.mtime) * 10**9),
                    *(os.fsencode(info.linkname), file.read() if file else b""),
                )
            )
        return result


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(entries, max_size=6), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_valid_archives_are_read_as_tarfile_reads_them(made: list[tuple[tarfile.TarInfo, bytes]], form: int) -> None:
    data = make_tar(*made, format=form)
    assert read(data) == read_by_tarfile(data)


@pytest.fixture
def place() -> Iterator[Path]:
    with memory_directory() as path:
        yield path


def random_tree(root: Path, rng: random.Random) -> None:
    """Files, links and directories of odd names and sizes."""
    directories = [os.fsencode(root)]
    files: list[bytes] = []
    for _ in range(40):
        raw = bytes(rng.choice(range(1, 256)) for _ in range(rng.choice((1, 3, 30, 101, 200))))
        path = rng.choice(directories) + b"/" + raw.replace(b"/", b"_")
        if len(path) > 900 or raw in (b".", b"..") or os.path.lexists(path):
            continue
        kind = rng.randrange(6)
        if kind == 0:
            os.mkdir(path)
            directories.append(path)
        elif kind == 1:
            os.symlink(raw * rng.randrange(1, 4), path)
        elif kind == 2 and files:
            os.link(rng.choice(files), path)
        else:
            with open(path, "wb") as file:
                for _ in range(rng.randrange(4)):
                    file.seek(rng.randrange(300_000))
                    file.write(rng.randbytes(rng.choice((1, 511, 512, 5000))))
            files.append(path)
        if kind:
            os.chown(path, rng.randrange(70_000), rng.randrange(3_000_000), follow_symlinks=False)
        if kind > 2:
            os.chmod(path, rng.randrange(0o10000))


@pytest.mark.parametrize(
    "options", ["posix", "gnu", "posix --sparse --sparse-version=0.1", "gnu --sparse", "pax --sparse"]
)
@pytest.mark.parametrize("seed", range(3))
def test_what_gnu_tar_packs_is_what_it_was(place: Path, options: str, seed: int) -> None:
    source, fs = place / "source", place / "fs"
    source.mkdir()
    fs.mkdir()
    random_tree(source, random.Random(seed))
    command = ["tar", "-C", str(source), *f"--format={options}".split(), "-c", "."]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    unpack(io.BytesIO(data), str(fs))

    def in_seconds(path: Path) -> dict[bytes, tuple[Any, ...]]:
        tree = describe(path)
        return {name: (*fields[:4], (fields[4] or 0) // 10**9, *fields[5:]) for name, fields in tree.items()}

    assert in_seconds(fs) == in_seconds(source)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The bytes with something wrong in them; often the header's check sum is made right again."""
    broken = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        block = rng.randrange(len(broken) // 512) * 512
        kind = rng.randrange(5)
        if kind == 0:
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        elif kind == 1:
            del broken[rng.randrange(len(broken)) :]
            broken += bytes(1024)
        elif kind == 2:
            source = rng.randrange(len(data) // 512) * 512
            broken[block : block + 512] = data[source : source + 512]
        else:
            start = block + rng.choice((0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 345, 386, 482, 483))
            for place in range(start, start + rng.randrange(1, 12)):
                if place < len(broken):
                    broken[place] = rng.choice((0, 0x20, 0x2F, 0x30, 0x37, 0x41, 0x80, 0xFF, rng.randrange(256)))
            header = bytes(broken[block : block + 512])
            if len(header) == 512:
                total = sum(header[:148]) + 8 * 32 + sum(header[156:])
                broken[block + 148 : block + 156] = b"%06o\0 " % total
    return bytes(broken)


def archives(place: Path) -> list[bytes]:
    """Valid archives to be broken, of each form."""
    source = place / "to-pack"
    source.mkdir()
    random_tree(source, random.Random(7))
    os.symlink("../../canary", source / "out")
    made = []
    for options in ("posix --sparse", "gnu --sparse", "ustar", "posix --sparse --sparse-version=0.0"):
        command = ["tar", "-C", str(source), *f"--format={options}".split(), "-c", "."]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        made.append(done.stdout)
    subprocess.run(["rm", "-r", source], check=True)
    return made


def test_broken_archives_are_refused_and_touch_nothing_outside(place: Path) -> None:
    canary = place / "canary"
    canary.mkdir()
    (canary / "file").write_text("untouched")
    before = describe(canary)
    valid = archives(place)
    limits = UnpackLimits(max_bytes=50_000_000)
    refused = 0
    deadline = time.monotonic() + 6
    rng = random.Random(3)
    for number in range(700):
        data = mutate(rng.choice(valid), rng)
        if number % 10 == 0:
            data = mutate(gzip.compress(data, 1) + bytes(512), rng)
        fs = place / "layer" / str(number)
        fs.mkdir(parents=True)
        started = time.monotonic()
        try:
            unpack(io.BytesIO(data), str(fs), limits=limits)
        except (Damaged, Unsupported):
            refused += 1
        assert time.monotonic() - started < 5
        if time.monotonic() > deadline and refused > 20:
            break
    assert describe(canary) == before
    assert sorted(path.name for path in place.iterdir()) == ["canary", "layer"]
    assert refused > 20
