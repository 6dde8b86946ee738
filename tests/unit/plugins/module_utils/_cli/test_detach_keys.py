# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Invalid
from ansible_collections.hull.engine.plugins.module_utils._cli.detach_keys import DEFAULT, DetachKeys, parse_keys

P, Q = b"\x10", b"\x11"


def test_keys_as_docker_writes_them():
    assert parse_keys(DEFAULT) == P + Q
    assert parse_keys("ctrl-@,a,ctrl-_,ctrl-A") == b"\x00a\x1f\x01"
    assert parse_keys("") == b""


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "ctrl-1", "a,,b"])
def test_what_is_not_a_key_is_refused(text):
    with pytest.raises(Invalid, match="--detach-keys"):
        parse_keys(text)


def feed(*pieces, sequence=P + Q):
    keys, passed = DetachKeys(sequence), b""
    for number, piece in enumerate(pieces):
        data, found = keys.feed(piece)
        passed += data
        if found:
            return passed, number
    return passed, None


def test_the_sequence_detaches_in_one_piece_or_in_several():
    assert feed(b"ls" + P + Q + b"rest") == (b"ls", 0)
    assert feed(b"ls" + P, Q) == (b"ls", 1)


def test_a_beginning_that_leads_nowhere_is_passed_on():
    assert feed(P, b"x") == (P + b"x", None)
    assert feed(P, P, Q) == (P, 2)
    assert feed(b"aa", b"ab", sequence=b"aab") == (b"a", 1)


def test_a_held_key_waits_for_the_next():
    assert feed(P) == (b"", None)


def test_without_keys_everything_passes():
    assert feed(P + Q, sequence=b"") == (P + Q, None)
