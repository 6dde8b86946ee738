#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a registry has on its disk that serves the scenario's images, as a tar archive for the machines.

    make_registry.py DESTINATION.tar

`demo/web:1` and `demo/web:2` are busybox with another page each; `demo/large:1` has four layers of 6 MB that don't
compress, so that a pull takes long enough to cut the power in the middle of it.
"""

from __future__ import annotations

import random
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from tests.support.images import File, busybox_image, make_image
from tests.support.registry import running_registry

LAYERS, LAYER_BYTES = 4, 6 * 1024 * 1024


def main(destination: str) -> None:
    """Push the images to a registry on loopback and pack what it has stored."""
    noise = random.Random(1)
    large = make_image([{f"data/{number}": File(noise.randbytes(LAYER_BYTES))} for number in range(LAYERS)])
    with running_registry() as registry:
        for version in ("1", "2"):
            page = File(f"page of version {version}\n".encode())
            registry.push("demo/web", version, busybox_image({"srv/www/index.html": page}))
        registry.push("demo/large", "1", large)
        with tarfile.open(destination, "w") as archive:
            archive.add(Path(registry.log).parent / "data", "data")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_registry.py DESTINATION.tar")
    main(sys.argv[1])
