# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Decompression against the compressors themselves: whole, in parts, damaged, and with little memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image import compression, zstd
from ansible_collections.hull.engine.plugins.module_utils._image.compression import DecompressingReader, sniff

HAS_ZSTD = shutil.which("zstd") is not None
CONTENT = random.Random(1).randbytes(300_000) + b"text " * 200_000


def zstd_compress(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd_compress,
    "plain": bytes,
}
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(kind == "zstd" and not HAS_ZSTD, reason="needs zstd"))
    for kind in COMPRESSORS
]
REAL_KINDS = KINDS[:-1]


class Trickle:
    """A stream that gives few bytes at a time, as a socket may."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._most))


def read_all(data: bytes, *, most: int = 1 << 20, size: int = 65536) -> bytes:
    with DecompressingReader(Trickle(data, most)) as reader:
        pieces = []
        while True:
            piece = reader.read(size)
            assert len(piece) <= size
            if not piece:
                assert reader.read(size) == b""
                return b"".join(pieces)
            pieces.append(piece)


@pytest.mark.parametrize("kind", KINDS)
def test_content_comes_back_whatever_the_sizes_of_reads(kind: str) -> None:
    data = COMPRESSORS[kind](CONTENT)
    assert sniff(data) == kind
    assert read_all(data) == CONTENT
    assert read_all(data, most=999, size=10_000_000) == CONTENT
    assert read_all(COMPRESSORS[kind](b"some text"), most=1, size=1) == b"some text"


@pytest.mark.parametrize("kind", REAL_KINDS)
def test_an_empty_content_is_no_error(kind: str) -> None:
    assert read_all(COMPRESSORS[kind](b"")) == b""


@pytest.mark.parametrize("kind", REAL_KINDS)
@pytest.mark.parametrize("most", [1, 7, 100_000])
def test_members_one_after_another_are_one_stream(kind: str, most: int) -> None:
    pack = COMPRESSORS[kind]
    assert read_all(pack(b"one ") + pack(b"") + pack(b"two"), most=most) == b"one two"


@pytest.mark.parametrize("kind", REAL_KINDS)
@pytest.mark.parametrize("most", [3, 100_000])
def test_a_truncated_stream_is_refused(kind: str, most: int) -> None:
    data = COMPRESSORS[kind](b"a text of some length " * 50)
    for length in range(7, len(data)):
        with pytest.raises(Damaged, match=kind):
            read_all(data[:length], most=most)


@pytest.mark.parametrize("kind", REAL_KINDS)
@pytest.mark.parametrize("junk", [b"junk after the end", b"\0", b"\0" * 512 + b"x"])
def test_junk_after_the_end_is_refused(kind: str, junk: bytes) -> None:
    with pytest.raises(Damaged, match=kind):
        read_all(COMPRESSORS[kind](b"text") + junk)


def test_xz_padding_is_allowed_in_fours() -> None:
    data = lzma.compress(b"one") + bytes(8) + lzma.compress(b"two") + bytes(200_000)
    assert read_all(data) == b"onetwo" == read_all(data, most=5)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_a_wrong_check_sum_is_refused(kind: str) -> None:
    data = bytearray(COMPRESSORS[kind](CONTENT[:2000]))
    for position in range(20, len(data), 37):
        changed = data[:]
        changed[position] ^= 1
        try:
            assert read_all(bytes(changed)) == CONTENT[:2000]  # a flag that nothing depends on, as gzip's name
        except Damaged:
            pass
    data[-5] ^= 1
    with pytest.raises(Damaged):
        read_all(bytes(data))


@pytest.mark.skipif(not HAS_ZSTD, reason="needs zstd")
def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"
    frame = zstd_compress(b"text")
    assert sniff(skippable) == "zstd"
    assert read_all(skippable + frame + skippable + frame + skippable) == b"texttext"


@pytest.mark.parametrize("kind", REAL_KINDS)
def test_a_bomb_does_not_grow_memory(kind: str) -> None:
    data = COMPRESSORS[kind](bytes(300_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with DecompressingReader(io.BytesIO(data)) as reader:
        total = 0
        while piece := reader.read(256 * 1024):
            assert len(piece) <= 256 * 1024
            total += len(piece)
    assert total == 300_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000  # KiB


@pytest.mark.skipif(not HAS_ZSTD, reason="needs zstd")
def test_the_zstd_command_is_gone_when_reading_stops_early() -> None:
    data = zstd_compress(bytes(50_000_000))
    stream = zstd.ZstdCommand(io.BytesIO(data))
    assert stream.read(10) == bytes(10)
    pid = stream._pid
    stream.close()
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not HAS_ZSTD, reason="needs zstd")
def test_the_zstd_command_reads_all_and_refuses_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSTD_CLEVEL", "nonsense")
    monkeypatch.setattr(zstd, "decompressor", lambda: None)
    fds = len(os.listdir("/proc/self/fd"))
    data = zstd_compress(CONTENT)
    assert read_all(data) == CONTENT == read_all(data, most=100)
    for damaged in (data[:-3], data + b"junk", data[:1000] + b"\xff" * 9 + data[1009:]):
        with pytest.raises(Damaged, match="zstd"):
            read_all(damaged)
    assert len(os.listdir("/proc/self/fd")) == fds


def test_an_error_of_the_source_is_not_swallowed() -> None:
    class Broken:
        """A stream that breaks."""

        def read(self, _size: int) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        DecompressingReader(Broken())


@pytest.mark.parametrize(
    "head", [b"", b"\x1f", b"\x1f\x8b\x00", b"BZx", b"BZhello?"[:3] + b"x", b"\x28\xb5", b"\0" * 6]
)
def test_what_is_not_compressed_is_plain(head: bytes) -> None:
    assert sniff(head) == "plain"
    assert read_all(head) == head


def test_nothing_heavy_is_imported_for_plain_streams() -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; before = set(sys.modules);"
        f"import {compression.__name__}; print(sorted({{'lzma','bz2','subprocess','zstandard'}} & set(sys.modules)))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, *sys.path]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip() == "[]"


def empty_zstd_frame(window_log: int) -> bytes:
    """A frame without content that asks for a window of this size. Source: RFC 8878, 3.1.1."""
    return b"\x28\xb5\x2f\xfd\0" + bytes(((window_log - 10) << 3,)) + b"\1\0\0"


@pytest.mark.skipif(not HAS_ZSTD, reason="needs zstd")
def test_zstd_frames_with_huge_windows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for by_command in (False, True):
        if by_command:
            monkeypatch.setattr(zstd, "decompressor", lambda: None)
        with DecompressingReader(io.BytesIO(empty_zstd_frame(27))) as reader:
            assert reader.read(10) == b""
        with DecompressingReader(io.BytesIO(empty_zstd_frame(31))) as reader, pytest.raises(Damaged, match="zstd"):
            reader.read(10)
