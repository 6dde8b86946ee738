# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What the writer writes is read alike by our reader, by tarfile and by GNU tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.tar import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMLINK,
    Entry,
    TarReader,
)
from ansible_collections.hull.engine.plugins.module_utils._image.tar_writer import (
    END,
    TarWriter,
    make_entry,
    sparse_header_of,
)
from hypothesis import given
from hypothesis import strategies as st

LONG = b"directory/" * 20
ENTRIES = [
    make_entry(b"d", DIRECTORY, mode=0o1777, uid=1, gid=2, mtime_ns=1_700_000_000 * 10**9),
    make_entry(b"plain", mode=0o4755),
    make_entry(b"nanoseconds", mtime_ns=1_700_000_000_123_456_789),
    make_entry(b"before the epoch", mtime_ns=-1_500_000_000),
    make_entry(b"late", mtime_ns=(1 << 40) * 10**9),
    make_entry(b"large ids", uid=3_000_000, gid=0xFFFFFFFE),
    make_entry(b"largest small id", uid=0o7777777, gid=0o7777777),
    make_entry(b"a" * 100),
    make_entry(b"a" * 101),
    make_entry(b"p" * 155 + b"/" + b"n" * 100),
    make_entry(b"p" * 156 + b"/" + b"n" * 100),
    make_entry(b"p/" + b"d" * 99, DIRECTORY),
    make_entry(LONG + b"file"),
    make_entry(LONG[:-1], DIRECTORY),
    make_entry(b"line\nbreak and \xff\xfe"),
    make_entry(LONG + b"\xff not UTF-8"),
    make_entry("grün".encode()),
    make_entry(b"symlink", SYMLINK, link=b"../x", mode=0o777),
    make_entry(b"long symlink", SYMLINK, link=b"t" * 4000, mode=0o777),
    make_entry(b"hard", HARD_LINK, link=b"plain"),
    make_entry(b"long hard", HARD_LINK, link=LONG + b"file"),
    make_entry(b"null", CHARACTER, device=(1, 3), mode=0o666),
    make_entry(b"disk", BLOCK_DEVICE, device=(4095, 0xFFFFF)),
    make_entry(b"fifo", FIFO),
    make_entry(
        b"attributes", xattrs={b"user.b": b"line\nbreak\0\xff", b"user.a": b"=", b"security.capability": b"\1\0"}
    ),
]


def written(*entries: Entry) -> bytes:
    buffer = io.BytesIO()
    writer = TarWriter(buffer.write)
    for entry in entries:
        writer.add(entry)
    writer.finish()
    return buffer.getvalue()


def facts(entry: Entry) -> tuple[object, ...]:
    name = entry.name + b"/" * (entry.kind == DIRECTORY and not entry.name.endswith(b"/"))
    return (
        *(name, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, entry.link),
        *(entry.device, entry.xattrs),
    )


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: repr(entry.name[:20]))
def test_the_reader_gives_back_what_was_written(entry: Entry) -> None:
    (read,) = TarReader(io.BytesIO(written(entry)), what="test")
    assert facts(read) == facts(entry)


def test_tarfile_reads_the_same() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(*ENTRIES)), errors="surrogateescape") as tar:
        members = tar.getmembers()
    assert len(members) == len(ENTRIES)
    for member, entry in zip(members, ENTRIES):
        assert member.name.encode("utf-8", "surrogateescape") == entry.name
        assert member.linkname.encode("utf-8", "surrogateescape") == entry.link
        assert (member.type, member.mode, member.uid, member.gid) == (entry.kind, entry.mode, entry.uid, entry.gid)
        assert member.mtime == pytest.approx(entry.mtime_ns / 1e9)
        assert (member.uname, member.gname) == ("", "")
        if entry.kind in (CHARACTER, BLOCK_DEVICE):
            assert (member.devmajor, member.devminor) == entry.device


def test_gnu_tar_reads_the_same() -> None:
    done = subprocess.run(
        ["tar", "-tvf", "-", "--numeric-owner", "--quoting-style=escape"],
        input=written(*ENTRIES),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(ENTRIES)
    assert lines[5].split()[1] == "3000000/4294967294"
    assert lines[9].endswith("p" * 155 + "/" + "n" * 100) and lines[10].endswith("p" * 156 + "/" + "n" * 100)
    assert "\\377\\376" in lines[14] and lines[21].startswith("crw-rw-rw-") and "1,3" in lines[21]


def test_data_is_padded_and_the_end_is_two_blocks() -> None:
    buffer = io.BytesIO()
    writer = TarWriter(buffer.write)
    writer.add_file(b"one", b"1", mode=0o600)
    writer.add_file(b"full", b"f" * 512)
    writer.add_file(b"empty", b"")
    writer.finish()
    assert len(buffer.getvalue()) == 5 * 512 + 1024 and buffer.getvalue()[-1024:] == bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar_file:
        assert [tar_file.extractfile(member).read() for member in tar_file] == [b"1", b"f" * 512, b""]  # type: ignore[union-attr]


def test_a_file_of_more_than_8_gib_has_its_size_in_a_pax_header(tmp_path: Path) -> None:
    header = written(make_entry(b"huge", size=1 << 34))[:1536]
    (tmp_path / "huge.tar").write_bytes(header)
    with tarfile.open(tmp_path / "huge.tar") as tar:
        assert tar.next().size == 1 << 34  # type: ignore[union-attr]


@given(
    st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"_").rstrip(b"/") or b"n"),
    st.integers(-(1 << 62), 1 << 62),
    st.integers(0, 0xFFFFFFFE),
    st.dictionaries(
        st.from_regex(rb"user\.[a-z\n]{1,200}", fullmatch=True), st.binary(min_size=1, max_size=2000), max_size=3
    ),
)
def test_any_entry_survives(name: bytes, mtime_ns: int, uid: int, xattrs: dict[bytes, bytes]) -> None:
    entry = make_entry(name, mtime_ns=mtime_ns, uid=uid, xattrs=xattrs or None)
    (read,) = TarReader(io.BytesIO(written(entry)), what="test")
    assert facts(read) == facts(entry)


def test_equal_entries_give_equal_bytes() -> None:
    assert written(*ENTRIES) == written(*ENTRIES)
    one = make_entry(b"f", xattrs={b"user.b": b"1", b"user.a": b"2"})
    other = make_entry(b"f", xattrs={b"user.a": b"2", b"user.b": b"1"})
    assert written(one) == written(other)
    assert one.kind == FILE


@pytest.mark.parametrize("pieces", [[], [(0, 700)], [(4096, 10), (1 << 20, 4096)], [((1 << 21) - 5, 5)]])
def test_a_file_with_holes_comes_back_with_them(pieces: list[tuple[int, int]]) -> None:
    size = 1 << 21
    data = [bytes([65 + number]) * length for number, (_, length) in enumerate(pieces)]
    stored = b"".join(data)
    archive = sparse_header_of(make_entry(b"holes", size=size), pieces) + stored + bytes(-len(stored) % 512) + END
    entry = next(iter(TarReader(io.BytesIO(archive), what="test")))
    assert (entry.name, entry.size) == (b"holes", size) and [p for p in entry.segments or [] if p[1]] == pieces
    with tarfile.open(fileobj=io.BytesIO(archive)) as other:
        expected = bytearray(size)
        for (offset, length), part in zip(pieces, data):
            expected[offset : offset + length] = part
        assert other.extractfile("holes").read() == bytes(expected)  # type: ignore[union-attr]
