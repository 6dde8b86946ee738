# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import threading

from ansible_collections.hull.engine.plugins.module_utils._cli.printing import visible, write_all


def test_control_characters_are_escaped_and_text_is_not():
    assert visible("Grüße – 日本") == "Grüße – 日本"
    assert visible("\x1b]0;x\x07\r\x9b\u200b\u202e\U000e0001") == "\\x1b]0;x\\x07\\x0d\\x9b\\u200b\\u202e\\U000e0001"
    assert visible("a\nb\t", keep="\n") == "a\nb\\x09"


def test_everything_is_written_to_a_pipe_that_does_not_block():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)
    got = bytearray()

    def drain():
        while piece := os.read(reader, 65536):
            got.extend(piece)

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writer, data)
    os.close(writer)
    thread.join(10)
    os.close(reader)
    assert bytes(got) == data
