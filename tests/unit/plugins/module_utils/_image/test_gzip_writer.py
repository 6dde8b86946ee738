# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The gzip writer: what other readers make of it, and that nothing but the input shows in its output."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import threading
import time
import zlib

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.gzip_writer import compress_gzip

MIB = 1024 * 1024


def _words(size: int, seed: int = 1) -> bytes:
    """Text that compresses about as programs do."""
    source = random.Random(seed)
    words = [source.randbytes(source.randrange(2, 9)) for _ in range(3000)]
    return b"".join(source.choice(words) for _ in range(size // 5 + 1))[:size]


class Dribble:
    """A stream that gives pieces of odd sizes."""

    def __init__(self, data: bytes, seed: int) -> None:
        self._stream = io.BytesIO(data)
        self._source = random.Random(seed)

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, self._source.randrange(1, 300_000)))


def _compress(data: bytes) -> bytes:
    out = io.BytesIO()
    digest, size = compress_gzip(io.BytesIO(data), out.write)
    assert size == len(out.getvalue())
    assert digest == "sha256:" + hashlib.sha256(out.getvalue()).hexdigest()
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 12345])
def test_gzip_zcat_and_python_read_it(size: int) -> None:
    data = _words(size)
    packed = _compress(data)
    assert gzip.decompress(packed) == data
    subprocess.run(["gzip", "-t"], input=packed, check=True)
    assert subprocess.run(["zcat"], input=packed, stdout=subprocess.PIPE, check=True).stdout == data


def test_it_is_one_member_without_name_or_time() -> None:
    packed = _compress(_words(2 * MIB))
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert len(reader.decompress(packed)) == 2 * MIB
    assert reader.eof and reader.unused_data == b""
    assert packed[3] == 0 and packed[4:8] == b"\0\0\0\0"


def test_data_that_does_not_compress_hardly_grows() -> None:
    data = random.Random(2).randbytes(3 * MIB)
    packed = _compress(data)
    assert gzip.decompress(packed) == data
    assert len(packed) < len(data) * 1.001


def test_pieces_of_the_input_do_not_show() -> None:
    data = _words(4 * MIB + 99)
    expected = _compress(data)
    for seed in range(3):
        out = io.BytesIO()
        compress_gzip(Dribble(data, seed), out.write)
        assert out.getvalue() == expected


def test_the_number_of_cores_does_not_show() -> None:
    data = _words(4 * MIB)
    expected = _compress(data)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert _compress(data) == expected
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_bytes_are_the_same_in_another_process() -> None:
    script = (
        "import io, sys; from ansible_collections.hull.engine.plugins.module_utils._image.gzip_writer import"
        " compress_gzip; print(compress_gzip(sys.stdin.buffer, lambda data: None)[0])"
    )
    data = _words(2 * MIB + 5)
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", script], input=data, stdout=subprocess.PIPE, env=environ, check=True)
    assert told.stdout.decode().strip() == "sha256:" + hashlib.sha256(_compress(data)).hexdigest()


class Failing:
    """A stream that is found damaged at its end."""

    def __init__(self, left: int) -> None:
        self._left = left

    def read(self, size: int) -> bytes:
        if not self._left:
            raise Damaged("the layer is not what it was")
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


def test_an_error_of_the_stream_passes_through_and_the_threads_end() -> None:
    import _thread

    before = _thread._count()
    with pytest.raises(Damaged, match="not what it was"):
        compress_gzip(Failing(3 * MIB), lambda data: None)
    _wait_for_threads(before)


def test_an_error_of_the_output_passes_through_and_the_threads_end() -> None:
    import _thread

    before = _thread._count()

    def full(data: bytes) -> None:
        if len(data) > 100:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        compress_gzip(io.BytesIO(_words(5 * MIB)), full)
    _wait_for_threads(before)


def _wait_for_threads(count: int) -> None:
    import _thread

    deadline = time.monotonic() + 10
    while _thread._count() > count:
        assert time.monotonic() < deadline, f"{_thread._count()} threads, {threading.enumerate()}"
        time.sleep(0.005)


def test_memory_stays_bounded() -> None:
    """100 MiB pass through in a process that may have 32 MiB more than it starts with."""
    script = """if True:
        import resource
        from ansible_collections.hull.engine.plugins.module_utils._image.gzip_writer import compress_gzip
        class Long:
            left = 100 * 1024 * 1024
            def read(self, size):
                size = min(size, self.left); self.left -= size
                return bytes(size)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        compress_gzip(Long(), lambda data: None)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environ, check=True)
    assert int(told.stdout) < 32 * 1024
