# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._cli.stats import binary_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (761_856, "744KiB"),
        (25_275_842_560, "23.54GiB"),
        (1 << 50, "1024TiB"),
    ],
)
def test_memory_is_shown_as_docker_does(size: int, text: str) -> None:
    assert binary_size(size) == text
