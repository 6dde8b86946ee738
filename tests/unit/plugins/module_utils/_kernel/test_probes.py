# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.hull.engine.plugins.module_utils._kernel import probes


@pytest.mark.parametrize(
    ("release", "numbers"),
    [("6.1.0-28-amd64", (6, 1)), ("5.14.0-503.el9", (5, 14)), ("6.18", (6, 18)), ("4.19+", (4, 19)), ("7", (7, 0))],
)
def test_releases(release, numbers):
    assert probes.release_numbers(release) == numbers


def test_an_installed_module_counts_until_it_is_loaded(tmp_path):
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/netfilter/nf-tables.ko: kernel/net/netfilter/nfnetlink.ko\n"
    )
    loaded = tmp_path / "sys"
    loaded.mkdir()
    arguments = {"modules": str(tmp_path), "loaded": str(loaded)}
    assert probes.is_unloaded_module("overlay", **arguments)
    assert probes.is_unloaded_module("nf_tables", **arguments)
    assert not probes.is_unloaded_module("bridge", **arguments)
    (loaded / "overlay").mkdir()
    assert not probes.is_unloaded_module("overlay", **arguments)


def test_a_kernel_without_modules_has_none(tmp_path):
    assert not probes.is_unloaded_module("overlay", modules=f"{tmp_path}/none", loaded=str(tmp_path))


def test_an_experiment_ends_with_its_own_process():
    def refused() -> None:
        raise PermissionError(1, "no")

    assert probes.works(lambda: None) is True
    assert probes.works(refused) is False
