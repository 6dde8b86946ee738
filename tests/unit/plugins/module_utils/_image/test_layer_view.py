# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Damaged
from ansible_collections.hull.engine.plugins.module_utils._image.layer_view import LayerView, OpenLayers


@pytest.fixture
def layers(tmp_path: Path) -> list[str]:
    """Three layers, topmost first: the second deletes a file and hides a directory's place behind a link."""
    top, middle, bottom = (tmp_path / name for name in ("top", "middle", "bottom"))
    for path in (top / "bin", top / "new", middle / "usr/bin", bottom / "usr/bin", bottom / "usr/lib", bottom / "etc"):
        path.mkdir(parents=True)
    (top / "bin/tool").write_text("tool")
    (middle / "bin").symlink_to("usr/bin")
    (middle / "usr/bin/sh").write_text("another")
    (bottom / "usr/bin/sh").write_text("sh")
    (bottom / "usr/bin/gone").write_text("gone")
    (bottom / "loop").symlink_to("loop")
    (bottom / "up").symlink_to("../../usr/./lib/..")
    os.mknod(middle / "usr/bin/gone", stat.S_IFCHR | 0o600, 0)
    return [str(top), str(middle), str(bottom)]


def test_names_are_looked_up_as_overlayfs_does(layers: list[str]) -> None:
    with OpenLayers(layers) as opened:
        view = LayerView(opened, {})
        shell, both, etc = view.at(b"usr/bin/sh"), view.at(b"usr/bin"), view.at(b"etc")
        assert shell is not None and (shell.seen_in, shell.is_directory) == (1, False)
        assert both is not None and both.layers == (1, 2)
        assert etc is not None and etc.layers == (2,)
        assert view.at(b"usr/bin/gone") is None and view.at(b"bin/sh") is None and view.at(b"usr/bin/sh/x") is None


def test_links_are_resolved_with_the_stack_as_the_root(layers: list[str]) -> None:
    with OpenLayers(layers) as opened:
        lower = LayerView(opened, {}, first=1)
        real, found = lower.resolve(b"bin/../bin/sh", follow=True)
        assert real == b"usr/bin/sh" and found is not None and found.seen_in == 1
        assert lower.resolve(b"up/bin", follow=True)[0] == b"usr/bin"
        assert lower.resolve(b"../../etc/no/where", follow=True) == (b"etc/no/where", None)
        link = lower.resolve(b"bin", follow=False)[1]
        assert link is not None and link.is_link
        with pytest.raises(Damaged, match="too many symbolic links"):
            lower.resolve(b"loop", follow=True)
        with pytest.raises(Damaged, match="usr/bin/sh is not a directory"):
            lower.resolve(b"usr/bin/sh/x", follow=True)


def test_soft_directories_let_lower_layers_speak(layers: list[str]) -> None:
    with OpenLayers(layers) as opened:
        hard, soft = LayerView(opened, {}), LayerView(opened, {b"bin": False, b"new": True})
        for view, is_link in ((hard, False), (soft, True)):
            found = view.at(b"bin")
            assert found is not None and found.is_link == is_link
        new = soft.at(b"new")
        assert new is not None and new.layers == (0,) and new.seen_in == 0
        assert soft.resolve(b"bin/sh", follow=True)[0] == b"usr/bin/sh"


def test_descriptors_are_closed(layers: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with OpenLayers(layers) as opened:
        assert len(list(opened.files(2))) == 4
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        OpenLayers([*layers, layers[0] + "/missing"])
    assert len(os.listdir("/proc/self/fd")) == before
