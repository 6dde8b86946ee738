# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Names in archives are keys, whatever they look like."""

from __future__ import annotations

import time

import pytest
from ansible_collections.hull.engine.plugins.module_utils._image.archive_files import joined, key_of


@pytest.mark.parametrize(
    ("directory", "name", "key"),
    [
        (b"", b"a/b", b"a/b"),
        (b"", b"./a//b/.", b"a/b"),
        (b"", b"/etc/passwd", b"etc/passwd"),
        (b"", b"../../etc/passwd", b"etc/passwd"),
        (b"two", b"../one/layer.tar", b"one/layer.tar"),
        (b"two", b"/one", b"one"),
        (b"two", b"layer.tar", b"two/layer.tar"),
        (b"", b"", b""),
    ],
)
def test_a_name_leads_to_a_place_in_the_archive(directory: bytes, name: bytes, key: bytes) -> None:
    assert joined(directory, name) == key


def test_a_name_from_json_may_hold_half_of_a_character() -> None:
    assert key_of("a/\ud800") == b"a/\xed\xa0\x80"


def test_a_name_that_goes_up_often_takes_no_longer() -> None:
    count = 200_000
    start = time.process_time()
    assert joined(b"", b"a/" * count + b"../" * count + b"b") == b"b"
    assert time.process_time() - start < 5
