#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A registry on loopback that serves the scenario's images, as a tar archive for the root of a machine.

    make_registry.py DESTINATION.tar

`demo/web:1` and `demo/web:2` are busybox with another page each; `demo/large:1` has four layers of 6 MB that don't
compress, so that a pull takes long enough to cut the power in the middle of it. `registry.service` serves them at
127.0.0.1:5000.
"""

from __future__ import annotations

import io
import random
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from tests.support.images import File, busybox_image, make_image
from tests.support.registry import running_registry

LAYERS, LAYER_BYTES = 4, 6 * 1024 * 1024
FILES = {
    "srv/registry/config.yml": """\
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /srv/registry/data}}
http: {addr: "127.0.0.1:5000"}
""",
    "etc/systemd/system/registry.service": """\
[Service]
ExecStart=/usr/bin/docker-registry serve /srv/registry/config.yml
[Install]
WantedBy=multi-user.target
""",
}


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
            archive.add(Path(registry.log).parent / "data", "srv/registry/data")
            for name, text in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_registry.py DESTINATION.tar")
    main(sys.argv[1])
