# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""One layer's tar stream made into the files of a directory, as overlayfs wants them."""

from __future__ import annotations

from .._base.values import Value


class UnpackLimits(Value):
    """What one layer may at most be. Beyond it the layer is refused as damaged."""

    max_entries: int = 5_000_000
    max_bytes: int = 1 << 40  # written to disk; what the file system has free is a limit too
    max_depth: int = 256  # components of a path
    max_xattr_bytes: int = 64 * 1024  # of one value, the kernel's own limit


class Deferred(Value):
    """Something that can only be decided with the lower layers in view. `path` is relative, `target` a link's."""

    kind: str  # hard-link, implicit-parent, whiteout
    path: bytes
    target: bytes = b""


class Unpacked(Value):
    """What was unpacked. `size_bytes` is the sum of the regular files' sizes, each inode once."""

    diff_id: str  # sha256 of the whole uncompressed stream
    size_bytes: int
    entries: int
    deferred: tuple[Deferred, ...] = ()
    skipped_devices: int = 0  # where this process may not make device nodes
