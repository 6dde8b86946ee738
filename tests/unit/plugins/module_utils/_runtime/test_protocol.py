# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Frames, however they arrive, and errors that cross a socket."""

from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base import errors
from ansible_collections.hull.engine.plugins.module_utils._runtime import protocol


def test_frames_survive_any_cutting() -> None:
    frames = [(protocol.STDOUT, b"x" * 300), (protocol.RESIZE, b"\0\1\0\2"), (protocol.CLOSE_STDIN, b"")]
    data = b"".join(protocol.encode(*frame) for frame in frames)
    for size in (1, 2, 3, 7, 299, 1000):
        decoder = protocol.Decoder()
        got = [frame for at in range(0, len(data), size) for frame in decoder.feed(data[at : at + size])]
        assert got == frames


def test_next_gives_one_frame_and_keeps_the_rest() -> None:
    decoder = protocol.Decoder()
    data = protocol.encode(protocol.REQUEST, b"{}") + protocol.encode(protocol.STDIN, b"a")
    assert decoder.next(data[:3]) is None
    assert decoder.next(data[3:]) == (protocol.REQUEST, b"{}")
    assert decoder.feed(b"") == [(protocol.STDIN, b"a")]


@pytest.mark.parametrize("data", [b"\0\0\0\0\0", b"z\0\0\0\0", b"o\xff\xff\xff\xff"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(errors.Damaged):
        protocol.Decoder().feed(data)


def test_sizes_are_cut_to_what_a_frame_holds() -> None:
    assert protocol.decode_resize(protocol.encode_resize(70000, -1)[5:]) == (65535, 0)
    with pytest.raises(errors.Damaged):
        protocol.decode_resize(b"\0")


@pytest.mark.parametrize(
    "error",
    [
        errors.Conflict("a", hint="b"),
        errors.NotFound("a"),
        errors.LaunchError("a", exit_code=127),
        errors.SyscallError("a", errno=5, hint="c"),
        errors.Timeout("a"),
    ],
)
def test_an_error_arrives_as_it_was(error: errors.HullError) -> None:
    payload = protocol.encode_json(protocol.FAILURE, protocol.failure_payload(error))[5:]
    got = protocol.failure_error(payload)
    assert (type(got), str(got)) == (type(error), str(error))
    assert getattr(got, "exit_code", 0) == getattr(error, "exit_code", 0)
    assert getattr(got, "errno", 0) == getattr(error, "errno", 0)


def test_a_foreign_error_names_its_type() -> None:
    payload = protocol.encode_json(protocol.FAILURE, protocol.failure_payload(ValueError("v")))[5:]
    got = protocol.failure_error(payload, prefix="start x: ")
    assert isinstance(got, errors.LaunchError) and str(got) == "start x: ValueError: v"
