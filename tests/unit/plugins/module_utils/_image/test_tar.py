# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The tar reader against Python's tarfile, and against what only an enemy writes."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from typing import Any

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.tar import Entry, TarReader, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tars import directory, entry, hard_link, make_tar, symlink, xattrs

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


class Trickle:
    """A stream that gives pieces of odd sizes."""

    def __init__(self, data: bytes, most: int) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._most))


def read(data: bytes, *, most: int = 1 << 20, **options: Any) -> list[tuple[Entry, bytes]]:
    reader = TarReader(Trickle(data, most), what="test", **options)
    return [(found, reader.read_all(1 << 24)) for found in reader]


def one(data: bytes) -> tuple[Entry, bytes]:
    (found,) = read(data)
    return found


NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=90)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join).filter(lambda name: not name.endswith("/"))
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)


@st.composite
def entries(draw: Any) -> tuple[tarfile.TarInfo, bytes]:
    kind = draw(KINDS)
    content = draw(st.binary(max_size=1500)) if kind == tarfile.REGTYPE else b""
    return entry(
        draw(PATHS),
        content,
        type=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 2)),
        gid=draw(st.integers(0, 2**32 - 2)),
        mtime=draw(st.integers(0, 2**34) | st.integers(-(2**33), 2**34).map(lambda value: value / 2)),
        linkname=draw(PATHS) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "",
        devmajor=draw(st.integers(0, 4095)),
        devminor=draw(st.integers(0, 255)),
        pax_headers={"SCHILY.xattr.user." + name: value for name, value in draw(ATTRIBUTES).items()},
    )


ATTRIBUTES = st.dictionaries(st.text("abc.-", min_size=1, max_size=5), st.text(max_size=8), max_size=2)


@settings(deadline=None, max_examples=150)
@given(made=st.lists(entries(), max_size=5), kind=st.sampled_from(FORMATS[1:]), most=st.integers(1, 3000))
def test_entries_are_those_that_tarfile_reads(made: list[Any], kind: int, most: int) -> None:
    data = make_tar(*made, format=kind)
    digest = hashlib.sha256()
    found = read(data, most=most, digest=digest)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        members = tar.getmembers()
        assert len(found) == len(members)
        for (got, content), member in zip(found, members):
            assert got.name.rstrip(b"/") == member.name.encode("utf-8", "surrogateescape").rstrip(b"/")
            assert got.link == member.linkname.encode("utf-8", "surrogateescape")
            assert (got.kind, got.mode, got.uid, got.gid) == (member.type, member.mode, member.uid, member.gid)
            assert got.size == len(content) == (member.size if member.isreg() else 0)
            assert abs(got.mtime_ns - member.mtime * 10**9) <= 10**9 * 2**-18
            if member.isreg():
                taken = tar.extractfile(member)
                assert taken is not None and taken.read() == content
            if member.isdev() and not member.isfifo():
                assert got.device == (member.devmajor, member.devminor)
            expected = {
                key.encode("utf-8")[len("SCHILY.xattr.") :]: value.encode("utf-8")
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.")
            }
            assert (got.xattrs or {}) == expected


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_bytes_give_entries_or_damaged_and_nothing_else(data: st.DataObject) -> None:
    made = make_tar(
        entry("name " * 40, b"x" * 600, pax_headers=xattrs(user__a="b")),
        symlink("l" * 120, "t" * 120),
        directory("d"),
        format=data.draw(st.sampled_from(FORMATS[1:])),
    )
    changed = bytearray(made[: data.draw(st.integers(0, len(made)))])
    for _ in range(data.draw(st.integers(1, 6)) if changed else 0):
        changed[data.draw(st.integers(0, min(len(changed), 6000) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(changed), most=700)
    except Damaged as error:
        assert error.message.startswith("read test: ")


def with_sum(header: bytearray) -> bytes:
    """The header with the check sum that it should have."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def raw(
    name: bytes = b"f", kind: bytes = b"0", size: bytes = b"0", magic: bytes = b"ustar\x0000", **fields: bytes
) -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    places = {"mode": 100, "uid": 108, "gid": 116, "mtime": 136, "link": 157, "prefix": 345, "map": 386}
    header[124 : 124 + len(size)] = size
    header[156:157] = kind
    header[257 : 257 + len(magic)] = magic
    for field, value in fields.items():
        header[places[field] : places[field] + len(value)] = value
    return with_sum(header)


def test_ustar_prefixes_are_joined() -> None:
    data = make_tar(entry("p" * 100 + "/" + "n" * 90, b"x"), format=tarfile.USTAR_FORMAT)
    assert one(data)[0].name == b"p" * 100 + b"/" + b"n" * 90


def test_the_gnu_area_behind_the_name_is_no_prefix() -> None:
    assert one(raw(b"f", magic=b"ustar  \0", prefix=b"12345"))[0].name == b"f"


def test_old_tars_without_magic_tell_directories_by_the_slash() -> None:
    found = read(raw(b"d/", b"\0", magic=b"") + raw(b"f", b"\0", magic=b""))
    assert [(item.name, item.kind) for item, _content in found] == [(b"d/", b"5"), (b"f", b"0")]


def test_a_check_sum_of_signed_bytes_is_accepted() -> None:
    header = bytearray(raw("é".encode() * 3))
    total = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + b" " * 8 + header[156:])
    header[148:156] = b"%06o\0 " % total
    assert one(bytes(header))[0].name == "é".encode() * 3


def test_contiguous_files_are_files() -> None:
    assert one(raw(kind=b"7"))[0].kind == b"0"


def test_global_headers_are_defaults_and_end_nothing() -> None:
    first = make_tar(entry("a"), entry("b", pax_headers={"mtime": "5.5"}))
    header = tarfile.TarInfo.create_pax_global_header({"comment": "a commit", "mtime": "1.25"})
    found = read(header + first)
    assert [item.mtime_ns for item, _content in found] == [1_250_000_000, 5_500_000_000]
    assert read(header) == [] == read(header + bytes(1024))


def test_a_link_s_stated_size_is_no_data() -> None:
    data = raw(b"l", b"1", size=b"1000", link=b"f") + raw(b"f")
    assert [item.name for item, _content in read(data)] == [b"l", b"f"]


def test_an_archive_may_end_without_end_blocks() -> None:
    data = make_tar(entry("a", b"x"))
    assert len(read(data[:1024])) == 1
    assert len(read(data[: 512 + 1])) == 1  # not even with padding, as umoci writes the last file
    assert read(b"") == []


def test_the_digest_covers_all_of_the_stream() -> None:
    data = make_tar(entry("a", b"x")) + b"junk"
    digest = hashlib.sha256()
    reader = TarReader(Trickle(data, 100), what="test", digest=digest)
    assert len(list(reader)) == 1
    reader.drain()
    assert digest.digest() == hashlib.sha256(data).digest()
    assert reader.size_bytes == len(data)


def test_data_that_is_not_read_is_skipped_and_where_it_lies_is_known() -> None:
    files = [(str(number), random.Random(number).randbytes(number * 701)) for number in range(40)]
    data = make_tar(*[entry(name, content) for name, content in files])
    for skip in (False, True):
        file = io.BytesIO(data)
        reader = TarReader(file, what="test", skip=(lambda count, file=file: file.seek(count, 1)) if skip else None)
        for (name, content), found in zip(files, reader):
            assert found.name == name.encode()
            assert data[reader.position : reader.position + found.size] == content


def sparse_pax(path: str, stored: bytes, **fields: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(path, stored, pax_headers={"GNU.sparse." + key: value for key, value in fields.items()})


def test_sparse_maps_of_all_pax_versions() -> None:
    found, content = one(make_tar(sparse_pax("x", b"abcd", size="100", map="10,2,50,2", name="real")))
    assert (found.name, found.size, found.segments, content) == (b"real", 100, [(10, 2), (50, 2)], b"abcd")
    stored = b"2\n10\n2\n50\n2\n".ljust(512, b"\0") + b"abcd"
    found, content = one(make_tar(sparse_pax("x", stored, major="1", minor="0", realsize="100", name="real")))
    assert (found.name, found.size, found.segments, content) == (b"real", 100, [(10, 2), (50, 2)], b"abcd")


@pytest.mark.parametrize(
    "made",
    [
        sparse_pax("x", b"abcd", size="100", map="10,2,5,2"),
        sparse_pax("x", b"abcd", size="100", map="10,4,99,2"),
        sparse_pax("x", b"abcd", size="100", map="10,2"),
        sparse_pax("x", b"abcd", size="100", map="10,2,50"),
        sparse_pax("x", b"abcd", size="100", map="-1,4"),
        sparse_pax("x", b"abcd", size="2", map="0,4"),
        sparse_pax("x", b"9" * 600, major="1", realsize="100"),
        sparse_pax("x", b"1\n", major="1", realsize="100"),
        sparse_pax("x", b"99999999\n".ljust(1024, b"\0"), major="1", realsize="100"),
        sparse_pax("x", b"2\n1\n1\n".ljust(512, b"\0"), major="1", realsize="100"),
    ],
)
def test_sparse_maps_that_can_t_be_are_refused(made: Any) -> None:
    with pytest.raises(Damaged, match="read test: entry x: "):
        read(make_tar(made))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a tar at all " * 100, "the first header is not one of a tar archive"),
        (raw() + b"garbage".ljust(512), "the header after f is not one of a tar archive"),
        (raw(size=b"1000"), "cut off in entry f"),
        (raw()[:300], "cut off in a header"),
        (raw(size=b"9x"), "entry f: size is not a number"),
        (raw(size=b"1_0"), "size is not a number"),
        (raw(size=b"-1"), "size is not a number"),
        (raw(size=b"\xff" * 12), "entry f: the size is -1"),
        (raw(uid=b"\xff" * 8), "user -1"),
        (raw(uid=b"\x80\0\0\0\xff\xff\xff\xff"), "user 4294967295"),
        (raw(kind=b"Z"), "entry f: an entry of unknown type"),
        (raw(kind=b"V"), "unknown type"),
        (raw(kind=b"x", size=b"10") + b"nonsense".ljust(512) + raw(), "pax header"),
        (raw(kind=b"x", size=b"20") + b"11 path=abc\n".ljust(512, b"y") + raw(), "pax header"),
        (raw(kind=b"x", size=b"14") + b"12 mtime=a.b\n".ljust(512, b"\0") + raw(), "pax header"),
        (raw(kind=b"x", size=b"15") + b"13 mtime=a.b\n".ljust(512, b"\0") + raw(), "mtime is not a time"),
        (raw(kind=b"x", size=b"15") + b"13 uid=12345\n".ljust(512, b"\0"), "cut off|ends after an extended header"),
        (raw(kind=b"x", size=b"15") + b"13 uid=12345\n".ljust(1536, b"\0"), "ends after an extended header"),
        (raw(kind=b"x", size=b"77777777"), "extended header of 16777215 bytes"),
        (raw(kind=b"L", size=b"77777777777"), "extended header"),
        (raw(kind=b"S", magic=b"ustar  \0", map=b"7"), "sparse"),
    ],
)
def test_what_is_malformed_is_refused_and_named(data: bytes, message: str) -> None:
    with pytest.raises(Damaged, match=message) as caught:
        read(data)
    assert caught.value.message.startswith("read test: ")


def test_a_stream_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(Damaged, match="limit of 4000 bytes"):
        read(make_tar(entry("a", bytes(5000))), max_bytes=4000)


def test_names_in_messages_can_t_harm_a_terminal() -> None:
    assert shown(b"a\x1b[2J\n\xff") == "a\\x1b[2J\\x0a\\xff"
    assert len(shown(b"x" * 5000)) < 250


def test_hard_links_keep_their_target() -> None:
    found = read(make_tar(entry("a" * 150, b"x"), hard_link("b", "a" * 150)))
    assert (found[1][0].kind, found[1][0].link) == (b"1", b"a" * 150)


def global_header(**records: str) -> bytes:
    info = tarfile.TarInfo("x")
    return info._create_pax_generic_header(records, tarfile.XGLTYPE, "utf-8")  # type: ignore[attr-defined]


def test_global_headers_do_not_fill_the_memory() -> None:
    many = b"".join(global_header(**{f"SCHILY.xattr.user.{number}": "a" * 100_000}) for number in range(20))
    with pytest.raises(Damaged, match="global headers"):
        read(many + make_tar(entry("a")))
    with pytest.raises(Damaged, match="global headers"):
        read(global_header(**{f"SCHILY.xattr.user.{number}": "a" for number in range(300)}) + make_tar(entry("a")))


def test_what_a_global_header_says_of_nothing_here_is_not_kept() -> None:
    comments = global_header(**{f"comment{number}": "a" * 2000 for number in range(400)})
    found, _data = one(comments * 3 + global_header(mtime="7") + make_tar(entry("a")))
    assert found.name == b"a" and found.mtime_ns == 7 * 10**9
