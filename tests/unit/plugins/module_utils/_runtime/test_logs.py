# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The log: what is written can be read back, whatever the bytes, across rotations and a full disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._runtime.launch_plan import LogPlan
from ansible_collections.hull.engine.plugins.module_utils._runtime.log_writer import LogWriter
from ansible_collections.hull.engine.plugins.module_utils._runtime.logs import LogLine, parse_line, read_log


def writer(directory: Path, size: int = 1 << 20, files: int = 3) -> LogWriter:
    return LogWriter(LogPlan(f"{directory}/container.log", size, files))


def lines(directory: Path, **options: int) -> list[bytes]:
    return [line.data for line in read_log(str(directory), **options)]  # type: ignore[arg-type]


def test_a_record_has_dockers_shape(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.write("stdout", "ä\n".encode())
    log.close()
    record = json.loads((tmp_path / "container.log").read_text())
    assert record["log"] == "ä\n" and record["stream"] == "stdout"
    assert len(record["time"]) == 30 and record["time"].endswith("Z")
    assert (tmp_path / "container.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 40000])
def test_every_byte_comes_back_whatever_the_pieces(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * 3 + b"\n\n" + "ä€😀".encode() * 9000 + b"\nend without newline \xed\xa0\x80"
    log = writer(tmp_path, 10 << 20)
    for at in range(0, len(data), size):
        log.write("stdout", data[at : at + size])
    log.close()
    assert b"".join(lines(tmp_path)) == data


def test_streams_do_not_mix_within_a_line(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.write("stdout", b"out-")
    log.write("stderr", b"err\n")
    log.write("stdout", b"put\n")
    log.close()
    assert [(line.stream, line.data) for line in read_log(str(tmp_path))] == [
        ("stderr", b"err\n"),
        ("stdout", b"out-put\n"),
    ]


def test_a_long_line_is_split_and_stays_one(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.write("stdout", b"x" * 100_000 + b"\n")
    log.close()
    found = lines(tmp_path)
    assert max(map(len, found)) <= 16 * 1024 + 1
    assert [data.endswith(b"\n") for data in found] == [False] * (len(found) - 1) + [True]
    assert b"".join(found) == b"x" * 100_000 + b"\n"


def test_rotation_keeps_to_the_bounds_and_to_whole_records(tmp_path: Path) -> None:
    log = writer(tmp_path, 2000, 3)
    for number in range(500):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["container.log", "container.log.1", "container.log.2"]
    assert all(os.path.getsize(tmp_path / name) <= 2000 for name in names)
    numbers = [int(data.split()[1]) for data in lines(tmp_path)]
    assert numbers == list(range(numbers[0], 500))


def test_one_file_is_emptied_in_place_of_rotating(tmp_path: Path) -> None:
    log = writer(tmp_path, 1000, 1)
    for number in range(100):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert os.listdir(tmp_path) == ["container.log"]
    assert lines(tmp_path)[-1] == b"line 99\n"


def test_a_later_run_appends(tmp_path: Path) -> None:
    for word in (b"one\n", b"two\n"):
        log = writer(tmp_path)
        log.write("stdout", word)
        log.close()
    assert lines(tmp_path) == [b"one\n", b"two\n"]


def test_what_a_full_disk_swallowed_is_told(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.write("stdout", b"before\n")
    descriptor = log._fd
    log._fd = os.open("/dev/full", os.O_WRONLY)
    log.write("stdout", b"lost\n")
    assert log.lost_bytes > 0
    os.close(log._fd)
    log._fd = descriptor
    log.write("stdout", b"after\n")
    log.close()
    found = lines(tmp_path)
    assert found[0] == b"before\n" and found[2] == b"after\n"
    assert b"could not be written" in found[1]


@pytest.mark.parametrize("tail", [0, 1, 3, 50, 1000])
def test_tail_takes_the_last_ones_across_files(tmp_path: Path, tail: int) -> None:
    log = writer(tmp_path, 1500, 4)
    for number in range(40):
        log.write("stdout", b"%d\n" % number)
    log.close()
    everything = lines(tmp_path)
    assert lines(tmp_path, tail=tail) == (everything[-tail:] if tail else [])


def test_since_and_until_bound_the_time(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    path.write_text(
        "".join(f'{{"log":"{n}\\n","stream":"stdout","time":"2026-01-02T03:04:0{n}.000000000Z"}}\n' for n in range(5))
    )
    start = parse_line(path.read_bytes().split(b"\n")[0])
    assert start is not None
    second = 10**9
    assert lines(tmp_path, since_ns=start.time_ns + second, until_ns=start.time_ns + 3 * second) == [
        b"1\n",
        b"2\n",
        b"3\n",
    ]


def test_damaged_records_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "container.log").write_bytes(
        b'\0\0\0\n{"log":"a\\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}\n{"log":1}\nhalf a rec'
    )
    assert list(read_log(str(tmp_path))) == [LogLine("stdout", 1767323045 * 10**9, b"a\n")]


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert lines(tmp_path) == []


def test_following_goes_on_across_rotations_until_the_container_ends(tmp_path: Path) -> None:
    log = writer(tmp_path, 400, 3)
    written = 0

    def more() -> bool:
        nonlocal written
        if written < 30:
            log.write("stdout", b"%d\n" % written)
            written += 1
            return True
        return False

    assert [line.data for line in read_log(str(tmp_path), follow=more)] == [b"%d\n" % number for number in range(30)]
    log.close()


def test_s41_a_record_larger_than_a_block_of_the_reader_ends_nothing(tmp_path: Path) -> None:
    data = b"a\n" + b"\0" * 16384 + b"\nb\n"  # each NUL is six characters in the file
    log = writer(tmp_path)
    log.write("stdout", data)
    log.close()
    assert b"".join(lines(tmp_path)) == data
    assert b"".join(line.data for line in read_log(str(tmp_path), follow=lambda: False)) == data


@pytest.mark.parametrize("data", [rb"\n" + b"\n", b"\\\n\\n\n" + rb"\\n\\\n" + b"\n", b'\\"\n\\u000a\n', b"\x01\\n\n"])
def test_s41_what_looks_like_an_escape_stays_what_it_is(tmp_path: Path, data: bytes) -> None:
    log = writer(tmp_path)
    log.write("stdout", data)
    log.close()
    assert b"".join(lines(tmp_path)) == data
    assert len(lines(tmp_path)) == data.count(b"\n")


def test_a_follower_misses_nothing_where_several_rotations_pass_at_once(tmp_path: Path) -> None:
    log = writer(tmp_path, 400, 5)
    written = 0

    def more() -> bool:
        nonlocal written
        if written == 96:
            return False
        for _ in range(12):  # about three files
            log.write("stdout", b"%d\n" % written)
            written += 1
        return True

    found = [line.data for line in read_log(str(tmp_path), follow=more)]
    log.close()
    assert found == [b"%d\n" % number for number in range(len(found))] and len(found) == 96


def test_a_log_that_may_have_fewer_files_from_now_on_has_them_at_once(tmp_path: Path) -> None:
    log = writer(tmp_path, 1000, 4)
    for number in range(200):
        log.write("stdout", b"line %d\n" % number)
    log.configure(LogPlan(f"{tmp_path}/container.log", 500, 2))
    assert sorted(os.listdir(tmp_path)) == ["container.log", "container.log.1"]
    for number in range(200):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert max(entry.stat().st_size for entry in os.scandir(tmp_path)) <= 500
    assert sorted(os.listdir(tmp_path)) == ["container.log", "container.log.1"]


def test_a_blocking_log_waits_for_a_full_disk_and_loses_nothing(tmp_path: Path) -> None:
    log = LogWriter(LogPlan(f"{tmp_path}/container.log", 1 << 20, 3, blocking=True))
    descriptor, log._fd = log._fd, os.open("/dev/full", os.O_WRONLY)
    log.write("stdout", b"kept\n" * 10_000)  # several blocks of one reading
    assert log.holds_up() and log.lost_bytes == 0
    os.close(log._fd)
    log._fd = descriptor
    assert not log.holds_up()
    log.write("stdout", b"after\n")
    log.close()
    assert lines(tmp_path) == [b"kept\n"] * 10_000 + [b"after\n"]
