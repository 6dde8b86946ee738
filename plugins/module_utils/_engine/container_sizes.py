# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""How much a container has written, and how large its root is with what its image brings."""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISREG

from .._base.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._store.records import ContainerRecord
    from .engine import Engine


class Sizes(Value):
    """Bytes in files: of the writable layer, and of that with the image's layers. What is mounted is neither's."""

    own_bytes: int
    root_bytes: int


def sizes_of(engine: Engine, record: ContainerRecord) -> Sizes:
    """Look at every file of a container's writable layer; links are not followed, a file with two names counts once."""
    seen: dict[int, int] = {}
    waiting = [f"{engine.paths.container(record.id)}/upper"]
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            if S_ISDIR(status.st_mode):
                waiting += [f"{path}/{name}" for name in os.listdir(path)]
            elif S_ISREG(status.st_mode):
                seen[status.st_ino] = status.st_size
        except FileNotFoundError:
            pass  # removed meanwhile
    own = sum(seen.values())
    image = engine.records.image(record.image_id)
    return Sizes(own, own + (image.size_bytes if image else 0))
