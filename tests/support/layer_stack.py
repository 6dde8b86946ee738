# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""An engine's store in a directory of the test's, with layers brought as every image's are, and the stack mounted."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.hull.engine.plugins.module_utils._base.paths import Paths
from ansible_collections.hull.engine.plugins.module_utils._image.layer_store import bring_layer
from ansible_collections.hull.engine.plugins.module_utils._image.settle import settle
from ansible_collections.hull.engine.plugins.module_utils._kernel.overlay import overlay_mount

from tests.support.layer_model import Model, link_groups, without_links
from tests.support.tars import describe, make_tar

Entries = list[tuple[tarfile.TarInfo, bytes]]
Tree = dict[bytes, tuple[Any, ...]]


class LayerStack:
    """Layers in a store of their own. Made by tar, settled and mounted on demand."""

    def __init__(self, place: Path) -> None:
        self.paths = Paths(str(place / "root"), str(place / "run"), str(place / "etc"))
        place.mkdir(parents=True, exist_ok=True)

    def bring(self, *layers: Entries | bytes) -> tuple[str, ...]:
        """The layers' diff IDs."""
        return tuple(
            bring_layer(self.paths, io.BytesIO(layer if isinstance(layer, bytes) else make_tar(*layer))).diff_id
            for layer in layers
        )

    def settle(self, *layers: Entries | bytes) -> tuple[str, ...]:
        """The stack for these layers, lowest first."""
        return settle(self.paths, self.bring(*layers))

    @contextmanager
    def mounted(self, *layers: Entries | bytes, writable: bool = False) -> Iterator[Path]:
        """What the layers show, as overlayfs has it."""
        directories = self.paths.stack(self.settle(*layers))
        upper = work = ""
        if writable:
            upper, work = f"{self.paths.root}/upper", f"{self.paths.root}/work"
            os.makedirs(upper)
            os.makedirs(work)
        fd = overlay_mount(directories, upper, work)
        try:
            yield Path(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def tree(self, *layers: Entries | bytes) -> Tree:
        """What the layers show, described."""
        with self.mounted(*layers) as merged:
            return describe(merged)


def assert_same(actual: Tree, expected: Tree) -> None:
    """Compare two trees with all that is known of each file; the time of the root is no layer's business."""
    actual, expected = dict(actual), dict(expected)
    for tree in (actual, expected):
        tree[b"."] = (*tree[b"."][:4], None, *tree[b"."][5:])
    shown, wanted = without_links(actual), without_links(expected)
    wrong = {name: (shown.get(name), wanted.get(name)) for name in {*shown, *wanted}}
    wrong = {name: both for name, both in wrong.items() if both[0] != both[1]}
    assert not wrong, f"shown and wanted: {wrong}"
    assert link_groups(actual) == link_groups(expected)


def meant(*layers: Entries) -> Tree:
    """What the layers mean by the specification."""
    model = Model()
    for layer in layers:
        model.apply(*layer)
    return model.describe()
